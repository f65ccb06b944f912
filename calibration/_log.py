"""Damage in the log that a killed process leaves beside a run store.

SQLite reads its log up to the first frame that is not what was written, and drops the rest without
a word: a log that is torn at its end is what a crash leaves. Committed frames behind a damaged one
are another matter; what they held is lost, and somebody has to say so.
"""

import struct
from pathlib import Path

__all__ = ["log_damage"]

_HEADER, _FRAME = 32, 24
_LITTLE, _BIG = 0x377F0682, 0x377F0683


def log_damage(path: Path) -> int | None:
    """Return the place in a store's log behind which committed samples are lost.

    Args:
        path: The store's file.

    Returns:
        The offset of the first damaged frame in bytes, or 0 for the header; `None` if there is no
        log, it is whole, or nothing but its torn end is missing.

    Source: "Database File Format" of SQLite, sections 4.1 and 4.2: header, frames, checksums.
    """
    log = path.with_name(f"{path.name}-wal")
    data = log.read_bytes() if log.is_file() else b""
    if len(data) < _HEADER + _FRAME:
        return None
    magic, _, size, _ = struct.unpack(">4I", data[:16])
    salts, sums = data[16:24], struct.unpack(">2I", data[24:32])
    order = {_LITTLE: "<", _BIG: ">"}.get(magic)
    if order is None or _checksum(data[:24], order, (0, 0)) != sums:
        return 0
    for start in range(_HEADER, len(data) - _FRAME - size + 1, _FRAME + size):
        if data[start + 8 : start + 16] != salts:
            break  # Left over from before the log began anew, or damaged.
        page = data[start + _FRAME : start + _FRAME + size]
        sums = _checksum(data[start : start + 8] + page, order, sums)
        if sums != struct.unpack(">2I", data[start + 16 : start + 24]):
            break
    else:
        return None
    following = range(start + _FRAME + size, len(data) - _FRAME + 1, _FRAME + size)
    is_lost = any(
        data[next_ + 8 : next_ + 16] == salts and data[next_ + 4 : next_ + 8] != bytes(4)
        for next_ in following
    )
    return start if is_lost else None


def _checksum(data: bytes, order: str, before: tuple[int, ...]) -> tuple[int, int]:
    first, second = before
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
