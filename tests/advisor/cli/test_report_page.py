"""`advisor report PATH [PATH] --out FILE.html`."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.advisor.conftest import Advisor

pytest.importorskip("vl_convert", reason="needs the extra report")


class Text(HTMLParser):
    """The headings of a page and its texts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.headings: list[str] = []
        self._tag = ""
        self.text = ""
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "bdi":
            self._tag = tag

    def handle_data(self, data: str) -> None:
        if self._tag in ("h1", "h2") and data.strip():
            self.headings.append(data.strip())
        if self._tag not in ("script", "style"):
            self.text += data


def test_a_run_is_shown_with_a_router_judged_on_it(
    advisor: Advisor, measured_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run.html"
    document = advisor("report", measured_run, "--out", out, "--json").json()
    shown = Text(out)
    assert document["kinds"] == ["run"]
    assert shown.headings == [document["title"], *document["sections"], "Sources"]
    assert document["sections"][:4] == [
        "What was measured",
        "Accuracy over cost",
        "Accuracy over the thinking budget",
        "How long thoughts are",
    ]
    assert document["sections"][-1] == "Every cell"
    alone = advisor("report", measured_run, "--out", out, "--no-evaluate", "--json").json()
    assert set(alone["sections"]) < set(document["sections"])


def test_a_router_and_a_shipped_study_are_shown(
    advisor: Advisor, router_folder: Path, tmp_path: Path
) -> None:
    for place, kind in ((router_folder, "router"), ("pocket-study", "study")):
        out = tmp_path / f"{kind}.html"
        document = advisor("report", place, "--out", out, "--json").json()
        assert document["kinds"] == [kind]
        assert Text(out).headings == [document["title"], *document["sections"], "Sources"]


def test_a_run_beside_itself_differs_in_nothing(
    advisor: Advisor, measured_run: Path, tmp_path: Path
) -> None:
    done = advisor("report", measured_run, measured_run, "--out", tmp_path / "both.html")
    assert done.code == 0, done.err
    assert done.out.startswith("No difference: all ")
    assert "+0.000 [" in Text(tmp_path / "both.html").text


def test_the_usual_name_of_a_page_is_told(
    advisor: Advisor, measured_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = advisor("report", "page", measured_run, "--no-evaluate")
    assert done.code == 0, done.err
    assert "page: report.html (" in done.out
    assert (tmp_path / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nowhere",), 3, "there is nothing at nowhere"),
        (("a", "b", "c"), 2, "3 paths are given"),
        (("pocket-study", "--out", "page.pdf"), 2, "'page.pdf' is no page"),
        (("pocket-study", "nowhere"), 3, "there is nothing at nowhere"),
    ],
)
def test_what_cannot_be_shown_is_told_in_a_line(
    advisor: Advisor,
    arguments: tuple[str, ...],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = advisor("report", *arguments)
    assert done.code == code, done.err
    assert said in " ".join(done.err.split())
    assert list(tmp_path.iterdir()) == []
