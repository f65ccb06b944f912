"""scripts/check_site.py: what is wrong with a site is found, and nothing else."""

import json
import sys
from pathlib import Path

import pytest

from tests.docs.scripts import load_script

SCRIPT = load_script("check_site")
GOOD = """<!doctype html><html><head>
<link rel="stylesheet" href="assets/site.css"><link rel="next" href="deep/other.html">
<style>b { background: url('data:image/png;base64,AA') }</style></head>
<body><h1 id="top">Home</h1><a href="#top">up</a><a href="deep/other.html#caf%C3%A9">other</a>
<a href="https://example.com/">elsewhere</a><a href="mailto:a@example.com">mail</a>
<svg><use href="#top"/></svg><img src="picture.svg" srcset="picture.svg 2x">
<script src="assets/a.js"></script></body></html>"""
OTHER = '<a name="café" href="../index.html">back</a><a href="?q=1#café">here</a>'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    files = {
        "index.html": GOOD,
        "deep/other.html": OTHER,
        "assets/site.css": "/* url(https://a.test/) */ @import 'more.css'; a { b: url(#c) }",
        "assets/a.js": "",
        "picture.svg": '<svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>',
        "search/search_index.json": json.dumps({"docs": [{"location": "deep/other.html#café"}]}),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def test_a_whole_site_has_no_faults(site: Path) -> None:
    assert SCRIPT.check_site(site) == []


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<a href="gone.html">x</a>', "gone.html: there is no such file"),
        ('<a href="deep/">x</a>', "deep/: there is no such file"),
        ('<a href="#gone">x</a>', "#gone: there is no such anchor"),
        ('<a href="deep/other.html#gone">x</a>', "no such anchor"),
        ('<a href="/index.html">x</a>', "begins at the root of a server"),
        ('<a href="../../etc/passwd">x</a>', "leaves the site"),
        ('<link rel="prev" href="gone.html">', "gone.html: there is no such file"),
        ('<img src="gone.png">', "gone.png: there is no such file"),
        ('<img srcset="picture.svg 1x, https://a.test/b.png 2x">', "loads https://a.test/b.png"),
        ('<script src="https://a.test/x.js"></script>', "loads https://a.test/x.js"),
        ('<script src="//a.test/x.js"></script>', "loads //a.test/x.js"),
        ('<link rel="stylesheet" href="http://a.test/x.css">', "loads http://a.test/x.css"),
        ('<link rel="preconnect" href="https://a.test">', "loads https://a.test"),
        ('<iframe src="https://a.test/"></iframe>', "loads https://a.test/"),
        ('<p style="background: url(https://a.test/x.png)">x</p>', "loads https://a.test/x.png"),
        ("<style>@import url('https://a.test/x.css');</style>", "loads https://a.test/x.css"),
        ('<style>@import "https://a.test/x.css";</style>', "loads https://a.test/x.css"),
    ],
)
def test_a_fault_of_a_page_is_named(site: Path, html: str, fault: str) -> None:
    (site / "new.html").write_text(html, "utf-8")
    (found,) = SCRIPT.check_site(site)
    assert found.startswith("new.html: ")
    assert fault in found


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("a.css", "a { b: url( 'https://a.test/f.woff2' ) }", "loads https://a.test/f.woff2"),
        ("a.css", '@import "//a.test/x.css";', "loads //a.test/x.css"),
        ("a.svg", '<svg><image href="https://a.test/x.png"/></svg>', "loads https://a.test/x.png"),
        ("search/search_index.json", '{"docs": [{"location": "x.html"}]}', "x.html: there is no"),
        ("search/search_index.json", '{"docs": [{"location": "index.html#x"}]}', "no such anchor"),
    ],
)
def test_a_fault_of_another_file_is_named(site: Path, name: str, text: str, fault: str) -> None:
    (site / name).write_text(text, "utf-8")
    (found,) = SCRIPT.check_site(site)
    assert fault in found


def test_no_site_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["check", str(tmp_path)])
    assert SCRIPT.main() == 1
    assert "no page: run make docs" in capsys.readouterr().err
