"""Writing measured tables into a page that is otherwise written by hand."""

from pathlib import Path

__all__ = ["write_between_markers"]

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def write_between_markers(page: Path, text: str) -> None:
    """Replace what stands between the two markers of a page.

    Raises:
        ValueError: The page does not have both markers, once and in this order.
    """
    content = page.read_text(encoding="utf-8")
    before, begin, rest = content.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in after or END in after or END in before:
        raise ValueError(f"{page} needs the lines {BEGIN} and {END}, once each")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
