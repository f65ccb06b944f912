"""Write calibration/published/SOURCE.md from the register; `--check` only compares.

`--hashes` first takes the number of rows and the sha256 of every file anew, after a table has
been corrected; raise the version of the table in `index.json` by hand.
"""

import csv
import hashlib
import json
import re
import sys
from pathlib import Path

from calibration.published import TableEntry, load_published, published_tables

FOLDER = Path(__file__).parent.parent / "calibration" / "published"
TARGET = FOLDER / "SOURCE.md"
INDEX = FOLDER / "index.json"
HEAD = """# Published tables

Generated from `index.json` by `python scripts/write_published_sources.py`.

Figures printed in papers and reports, one file per table, and what was computed or recorded
beside them. The files hold figures and short notes in our own words; texts and pictures of the
sources are not reproduced. `index.json` is the register: source, version read, grade, unit and
meaning of every column, number of rows and sha256 of every file.

| grade | meaning |
|---|---|
| `printed` | a number printed in the source, which was read itself |
| `rule` | a statement, or a figure without printed numbers; never becomes an accuracy |
| `third-party` | a number read only in somebody else's text about the source |
| `derived` | computed here from printed or recorded numbers |
| `contested` | in circulation, but not printed by the source it is ascribed to; never evidence |
| `mixed` | every row carries its own grade |

Every row has an id, and so has every figure that is cited alone: where it is printed, then the
words that tell its row apart, such as `2509.22193v2/T1/general/math-oe/3B/ift`.
`advisor tables show ID` prints it.
"""
TAIL = """
Read before you trust a number of arXiv 2509.22193v2:

- Students are Qwen2.5 **base** models named by their rounded size; the teacher is
  Qwen3-235B-A22B. Corpora: `general-purpose` = 1.3M pairs of Infinity-Instruct, `math-centric` =
  300K pairs of Llama-Nemotron-Post-Training.
- The paper prints no seeds, no error bars and no number of questions.
- Checked here: all 40 printed differences of Table 1 recompute from the two accuracies within
  rounding, and 28 of the 40 are positive, as its text says. The running text prints 53.7 where
  the table has 53.6 (14B IFT, general-purpose, Math-OE); the table's figure is kept.
- Accuracies at 25, 50 and 75% reasoning, of mixed training, per benchmark, and above 16k tokens
  are figures only in the paper. They are not in these files and must not be invented.
- Figure 14: which panel belongs to which family is inferred (the file's `source` column says
  how), and the implied token counts for General-MC are too small to include the prompt. A weak
  prior, never ground truth.
- An earlier version of the paper (v1, September 2025) and texts about it give other numbers.
  None of those is used; `contested_figures` names them, so that they are recognised.
"""


def source_page() -> str:
    """Return the whole page."""
    lines = [HEAD, "| file | what it holds | source | read | grade |", "|---|---|---|---|---|"]
    lines += [_line(entry) for entry in published_tables()]
    lines += ["", "Notes:", ""]
    lines += [f"- `{entry.name}`: {entry.note}" for entry in published_tables() if entry.note]
    lines += ["", "Licences:", ""]
    for licence in dict.fromkeys(entry.licence for entry in published_tables()):
        names = [f"`{entry.name}`" for entry in published_tables() if entry.licence == licence]
        lines.append(f"- {licence}: {', '.join(names)}")
    return "\n".join(lines) + "\n" + TAIL


def _line(entry: TableEntry) -> str:
    grades = ", ".join(f"{n} {one}" for one, n in load_published(entry.name).n_by_grade.items())
    cells = (f"`{entry.file}`", f"{entry.title} ({entry.n_rows} rows)", entry.source)
    return f"| {' | '.join((*cells, entry.retrieved, grades))} |"


def take_hashes() -> None:
    """Write the number of rows and the sha256 of every file into the register."""
    text = INDEX.read_text(encoding="utf-8")
    for record in json.loads(text)["tables"]:
        content = (FOLDER / record["file"]).read_bytes()
        n_rows = len(list(csv.DictReader(content.decode("utf-8").splitlines())))
        start = text.index(f'"name": "{record["name"]}"')
        head, rest = text[:start], text[start:]
        rest = re.sub(r'"n_rows": \d+', f'"n_rows": {n_rows}', rest, count=1)
        digest = hashlib.sha256(content).hexdigest()
        text = head + re.sub(r'"sha256": "\w*"', f'"sha256": "{digest}"', rest, count=1)
    INDEX.write_text(text, encoding="utf-8")


def main() -> int:
    """Write the page, or compare it with `--check`."""
    if "--hashes" in sys.argv[1:]:
        take_hashes()
    page = source_page()
    if "--check" in sys.argv[1:]:
        if TARGET.read_text(encoding="utf-8") == page:
            return 0
        print("SOURCE.md is out of date: run python scripts/write_published_sources.py")
        return 1
    TARGET.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
