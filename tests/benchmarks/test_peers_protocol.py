"""Questions go to a process of its own and come back as scores; outcomes of tests stay here."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from benchmarks import peers
from benchmarks._report import Report
from benchmarks.peers import _data, _document, _peers, _protocol, _run
from benchmarks.peers._protocol import Answer, Mode, Question, RunnerError, Split, ask

RUNNER = """
import json, sys
first, second = sys.argv[1:]
pairs = json.load(open(first))
assert [sorted(row) for row in pairs["test"]] == [["q", "task"]] * len(pairs["test"])
scores = [float(len(row["q"])) for row in pairs["test"]]
variant = {"score": scores, "is_strong": [score > 3 for score in scores], "fit_s": 0.5}
result = {"protocol": 1, "variants": {"by length": variant}}
CHANGE
print("noise on standard output")
json.dump(result, open(second, "w"))
"""


def question(index: int) -> Question:
    return Question(
        q=f"how many are {index} and {index * 7 % 11}" + (" in words" if index % 2 else ""),
        task=("sums", "words")[index % 2],
        group=str(index),
        weak=float(index % 3 == 0),
        strong=float(index % 3 != 1 or index % 2),
        weak_tokens=5.0,
        strong_tokens=50.0 + index,
    )


def split(n_train: int = 3, texts: tuple[str, ...] = ("a", "bbbb")) -> Split:
    train = tuple(question(index) for index in range(n_train))
    test = tuple(Question(text, "sums", text, 0.0, 1.0, 1.0, 2.0) for text in texts)
    return Split("made up", (("m", "direct"), ("m", "cot")), train, test, n_timed=0)


def runner(folder: Path, change: str = "") -> list[str]:
    script = folder / "runner.py"
    script.write_text(RUNNER.replace("CHANGE", change), encoding="utf-8")
    return [sys.executable, str(script)]


def asked(
    command: list[str],
    cache: Path,
    *,
    identity: str = "fake 1.0",
    timeout_s: float = 60.0,
    mode: Mode = "resume",
) -> dict[str, Answer] | None:
    answers = ask(
        command, [split()], cache=cache, identity=identity, timeout_s=timeout_s, mode=mode
    )
    return None if answers is None else answers[0]


def test_scores_and_decisions_come_back_from_another_process(tmp_path: Path) -> None:
    answers = asked(runner(tmp_path), tmp_path / "cache")
    assert answers is not None
    answer = answers["by length"]
    assert answer == Answer([1.0, 4.0], None, [False, True], None, 0.5, "")


def test_a_result_is_kept_for_the_same_router_and_questions(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    command = runner(tmp_path)
    assert asked(command, cache, mode="cached") is None
    first = asked(command, cache)
    Path(command[1]).unlink()
    assert asked(command, cache) == first
    assert asked(command, cache, mode="cached") == first
    with pytest.raises(RunnerError, match="exit status"):
        asked(command, cache, mode="fresh")
    with pytest.raises(RunnerError, match="exit status"):
        asked(command, cache, identity="fake 1.1")
    with pytest.raises(RunnerError, match="exit status"):
        ask(command, [split(texts=("a", "b"))], cache=cache, identity="fake 1.0", timeout_s=60.0)


def test_what_was_finished_before_a_failure_is_kept(tmp_path: Path) -> None:
    loop = RUNNER.replace("first, second = sys.argv[1:]", "for first, second in FILES:")
    head, body = loop.split("for first, second in FILES:\n")
    indented = "".join(f"    {line}\n" for line in body.splitlines())
    files = "zip(sys.argv[1::2], sys.argv[2::2])"
    script = tmp_path / "runner.py"
    program = f"{head}for first, second in {files}:\n{indented}"
    fails_later = 'assert "ccc" not in [row["q"] for row in pairs["test"]]'
    script.write_text(program.replace("CHANGE", fails_later), encoding="utf-8")
    command = [sys.executable, str(script)]
    cache, identity = tmp_path / "cache", "fake 1.0"
    splits = [split(), split(texts=("ccc",))]
    with pytest.raises(RunnerError, match="AssertionError"):
        ask(command, splits, cache=cache, identity=identity, timeout_s=60.0)
    assert (
        ask(command, splits, cache=cache, identity=identity, timeout_s=60.0, mode="cached") is None
    )
    (first,) = (
        ask(command, splits[:1], cache=cache, identity=identity, timeout_s=60.0, mode="cached")
        or []
    )
    assert first["by length"].score == [1.0, 4.0]
    script.write_text(program.replace("CHANGE", ""), encoding="utf-8")
    both = ask(command, splits, cache=cache, identity=identity, timeout_s=60.0) or []
    assert [answers["by length"].score for answers in both] == [[1.0, 4.0], [3.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("raise ValueError('no such module')", "no such module"),
        ("sys.exit(0)", "wrote no result"),
        ("scores[0] = float('nan')", "finite"),
        ("scores[0] = 'high'", "finite"),
        ("scores.pop()", "1 values of 'score', not 2"),
        ("variant['is_strong'].append(True)", "3 values of 'is_strong', not 2"),
        ("result['protocol'] = 2", "protocol 1"),
    ],
)
def test_a_runner_that_fails_says_why_and_leaves_no_result(
    tmp_path: Path, change: str, message: str
) -> None:
    command = runner(tmp_path, change)
    with pytest.raises(RunnerError, match=message):
        asked(command, tmp_path / "cache")
    assert asked(command, tmp_path / "cache", mode="cached") is None


def test_a_runner_that_hangs_is_ended(tmp_path: Path) -> None:
    command = runner(tmp_path, "import time; time.sleep(600)")
    with pytest.raises(RunnerError, match="ended after 1 s"):
        asked(command, tmp_path / "cache", timeout_s=1.0)


def test_an_interpreter_that_is_missing_is_a_failure_of_that_router(tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match="did not start"):
        asked([str(tmp_path / "none" / "bin" / "python")], tmp_path / "cache")


@pytest.mark.parametrize("peer", [_peers.REFERENCES, _peers.OURS], ids=lambda peer: peer.name)
def test_our_own_runners_answer_like_any_other(tmp_path: Path, peer: _peers.Peer) -> None:
    rows = tuple(question(index) for index in range(80))
    pairs = _data.PairSet(
        "made-up",
        "made up",
        (Split("made-up", (("m", "direct"), ("m", "cot")), rows[:60], rows[60:], n_timed=2),),
    )
    found = _run.ask_all(pairs, peer, mode="resume", cache=tmp_path)
    assert not isinstance(found, str)
    result = _run.judge(pairs, [(peer, found)])
    names = {row.variant for row in result.rows}
    assert {"oracle", "task name given"} <= names
    hinted = result.row((peer.name, "task name given"))
    assert hinted is not None
    assert hinted.metrics is not None
    assert 0.0 <= hinted.metrics.point.strong_share <= 1.0


def recorded(folder: Path) -> Path:
    rows = [
        {
            "question_id": f"{lang}/{number}",
            "prompt": f"{lang}: {number} and {number}?",
            "task": f"mgsm_{lang}",
            "model": "qwen2.5-14B",
            "mode": mode,
            "correct": float(number % 2),
            "completion_tokens": 100 if mode == "direct" else 900,
        }
        for number in range(40)
        for lang in ("de", "sw")
        for mode in ("direct", "think_1000", "think_2000")
        if (lang, number, mode) != ("sw", 7, "direct")
    ]
    (folder / "mgsm_sizes").mkdir()
    parquet.write_table(pa.Table.from_pylist(rows), folder / "mgsm_sizes" / "long.parquet")
    return folder


def test_translations_lie_in_one_fold_and_every_question_is_tested_once(tmp_path: Path) -> None:
    pairs = _data.load_set("mgsm-14B", recorded(tmp_path))
    tested = [question.q for question in pairs.tested]
    assert len(tested) == len(set(tested)) == 79  # one was not measured with both arms
    for part in pairs.splits:
        assert not {q.group for q in part.train} & {q.group for q in part.test}
        assert len(part.train) + len(part.test) == 79
    assert pairs == _data.load_set("mgsm-14B", tmp_path)
    assert len(pairs.labels.weak) == 79
    assert len(set(pairs.labels.groups.tolist())) == 40


def test_questions_of_both_parts_of_a_given_split_are_learned_from_no_more(tmp_path: Path) -> None:
    folder = tmp_path / "weak_strong_pairs"
    folder.mkdir()
    rows = [{"q": f"q{i}", "task": "t", "weak": 0.0, "strong": 1.0} for i in range(4)]
    document = {"weak": "s", "strong": "l", "train": rows[:3], "test": rows[2:]}
    (folder / "data_A.json").write_text(json.dumps(document), encoding="utf-8")
    (part,) = _data.load_set("pair-A", tmp_path).splits
    assert [question.q for question in part.train] == ["q0", "q1"]
    assert [question.q for question in part.test] == ["q2", "q3"]


def test_tables_replace_only_what_stands_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n\n{_document.BEGIN}\nold\n{_document.END}\n\nbelow\n", "utf-8")
    _document.write_between_markers(page, "new")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("above")
    assert text.endswith("below\n")
    assert "new" in text
    assert "old" not in text
    page.write_text("no markers", encoding="utf-8")
    with pytest.raises(ValueError, match="once each"):
        _document.write_between_markers(page, "new")


def test_the_report_shows_ours_beside_the_best_peer_or_how_to_measure(tmp_path: Path) -> None:
    report = Report()
    peers.run(report, tmp_path / "table.json")
    assert report.rows[0].value is None
    assert "make bench-peers" in report.rows[0].note
    assert not report.has_failures
    scores = [("litellm", 0.1), ("semantic-router", 0.3), ("references", 1.0), ("thinkroute", 0.2)]
    rows = [{"router": name, "variant": "v", "headroom": value} for name, value in scores]
    failed = {"router": "llmrouter-lib", "variant": "", "problem": "not installed"}
    (tmp_path / "table.json").write_text(json.dumps({"set": [*rows, failed]}), encoding="utf-8")
    peers.run(report, tmp_path / "table.json")
    (row,) = report.rows[1:]
    assert (row.value, row.baseline_value) == (0.2, 0.3)
    assert row.baseline == "semantic-router, v"


def test_a_peer_without_a_recipe_is_not_installed() -> None:
    script = _protocol.ROOT / "scripts" / "make_venv_peers.sh"
    done = subprocess.run(["bash", script, "nobody"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "llmrouter-lib" in done.stderr


def test_what_is_not_installed_is_reported_and_not_skipped() -> None:
    nobody = _peers.Peer("nobody", "nobody", "nobody", "references", is_trained=False)
    assert nobody.version == "-"
    with pytest.raises(RunnerError, match="not installed"):
        _peers.footprint(nobody)
