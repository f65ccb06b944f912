"""The little YAML that configurations need, written without a library."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias, Union, cast

__all__ = ["YamlValue", "yaml_document"]

YamlValue: TypeAlias = Union[
    str, int, float, bool, "list[YamlValue]", "tuple[YamlValue, ...]", "dict[str, YamlValue]", None
]
"""What a configuration may hold."""

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "nan", "inf"}
"""Words that some reader of YAML 1.1 takes for something else than text."""
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def yaml_document(values: Mapping[str, YamlValue], comments: Iterable[str] = ()) -> str:
    """Return a YAML mapping that version 1.1 and 1.2 readers understand alike, one key per line.

    Floats always have a point, because YAML 1.1 reads `5e-06` as text. Nested values are written
    in flow style on one line.

    Args:
        values: What to write, in this order.
        comments: Lines that come first, each behind a `#`.
    """
    lines = [f"# {line}".rstrip() for comment in comments for line in comment.splitlines()]
    for key, value in values.items():
        if isinstance(value, list | tuple) and value and all(isinstance(v, dict) for v in value):
            lines.append(f"{_flow(key)}:")
            lines += [f"  - {_flow(item)}" for item in value]
        else:
            lines.append(f"{_flow(key)}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def _flow(value: YamlValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        is_plain = _PLAIN.fullmatch(value) is not None and value.lower() not in _WORDS
        return value if is_plain else _quoted(value)
    if isinstance(value, dict):
        items = cast("dict[str, YamlValue]", value).items()
        return "{" + ", ".join(f"{_flow(key)}: {_flow(item)}" for key, item in items) + "}"
    return "[" + ", ".join(_flow(item) for item in value) + "]"


def _quoted(value: str) -> str:
    """Return text in double quotes; JSON's own escapes are not all YAML's (surrogate pairs)."""
    return '"' + "".join(_ESCAPES.get(char) or _escaped(char) for char in value) + '"'


def _escaped(char: str) -> str:
    code = ord(char)
    if char.isprintable() and code < 0xD800:
        return char
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _float(value: float) -> str:
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    text = repr(value)
    mantissa, exponent_mark, exponent = text.partition("e")
    if exponent_mark and "." not in mantissa:
        return f"{mantissa}.0e{exponent}"
    return text
