"""`advisor recommend --table STUDY` and `advisor tables` of studies."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.advisor.study.synthetic import N_PARAMS, synthetic_study

Run = Callable[..., Any]
ASKED = ("recommend", "--table", "pocket-study", "--size", "pocket-m", "--task", "math-oe")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with shipped studies, one of them."""
    folder = tmp_path_factory.mktemp("tables")
    synthetic_study(n_questions=100, name="pocket-study").save(folder / "pocket-study")
    return folder


@pytest.fixture(autouse=True)
def shipped(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ship the made-up study under the name of the real one; work in an empty folder."""
    monkeypatch.setattr("advisor.study._catalog._SHIPPED", saved)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def test_ls_lists_studies_shipped_and_under_a_folder(advisor: Run, tmp_path: Path) -> None:
    mine = synthetic_study(sizes=("pocket-xs",), seeds=(1,), n_questions=9, name="mine")
    mine.save(tmp_path / "runs" / "mine")
    entries = advisor("tables", "ls", "--json").json()["tables"]
    studies = {entry["name"]: entry for entry in entries if entry["kind"] == "study"}
    assert list(studies) == ["pocket-study", "runs/mine"]
    assert studies["pocket-study"]["runs"] == 180
    assert studies["pocket-study"]["sizes"] == list(N_PARAMS)
    assert studies["runs/mine"]["seeds"] == [1]
    out = advisor("tables", "ls").out
    assert "pocket-study" in out
    assert "runs/mine" in out


def test_show_has_the_fields_of_a_study(advisor: Run) -> None:
    document = advisor("tables", "show", "pocket-study", "--json").json()
    assert (document["schema_version"], document["kind"], document["runs"]) == (1, "study", 180)
    table = synthetic_study(n_questions=100, name="pocket-study")
    assert document["tokens"] == sum(one.train_tokens for one in table.results)
    assert document["train_flops"] == pytest.approx(sum(one.train_flops for one in table.results))
    assert len(document["cells"]) == 180 * 4 * 2
    wanted = {"size", "corpus", "ratio", "order", "seed", "task_type", "mode", "accuracy"}
    wanted |= {"ci_low", "ci_high", "n", "mean_tokens", "train_flops"}
    assert all(wanted <= set(cell) for cell in document["cells"])
    assert document["design"]["seeds"] == [1, 2, 3]
    pooled = document["recipes"][0]
    assert pooled["n"] == 300
    assert advisor("tables", "show", pooled["id"]).code == 0


@pytest.mark.parametrize(
    ("option", "value", "field", "kept"),
    [
        ("--size", "pocket-s", "size", "pocket-s"),
        ("--corpus", "math", "corpus", "math"),
        ("--ratio", "0.25", "ratio", 0.25),
        ("--order", "mixed", "order", "mixed"),
        ("--seed", "2", "seed", 2),
        ("--task", "math-mc", "task_type", "math-mc"),
        ("--policy", "direct", "policy", "direct"),
    ],
)
def test_show_filters(advisor: Run, option: str, value: str, field: str, kept: object) -> None:
    document = advisor("tables", "show", "pocket-study", option, value, "--json").json()
    assert document["cells"]
    assert {cell[field] for cell in document["cells"]} == {kept}
    assert advisor("tables", "show", "pocket-study", option, value).code == 0


@pytest.mark.parametrize("option", ["--size", "--corpus", "--order", "--task", "--policy"])
def test_a_filter_that_nothing_has_names_what_there_is(advisor: Run, option: str) -> None:
    result = advisor("tables", "show", "pocket-study", option, "no-such")
    assert result.code == 2
    assert "unknown" in result.err
    assert "known: " in result.err


def test_filters_are_for_studies_only(advisor: Run) -> None:
    result = advisor("tables", "show", "scale_or_reason_table1", "--size", "3B")
    assert result.code == 2
    assert "--size chooses cells of a study" in result.err


def test_show_is_readable_at_100_columns(advisor: Run) -> None:
    arguments = ("tables", "show", "pocket-study", "--size", "pocket-m", "--corpus", "general")
    lines = advisor(*arguments).out.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 100
    assert any("ift_then_reasoning@0.75" in line for line in lines)


def test_a_cell_is_shown_with_its_seeds(advisor: Run) -> None:
    name = "pocket-study/general/math-oe/pocket-m/mixed@0.5/reasoning@max"
    document = advisor("tables", "show", name, "--json").json()
    assert (document["kind"], document["id"], document["n"]) == ("study-cell", name, 300)
    assert [cell["seed"] for cell in document["cells"]] == [1, 2, 3]
    assert document["n_correct"] == sum(cell["n_correct"] for cell in document["cells"])
    out = advisor("tables", "show", name).out
    assert name in out
    assert "seeds and questions" in out
    result = advisor("tables", "show", name.replace("mixed@0.5", "mixed@0.9"))
    assert result.code == 2
    assert "mixed@0.5" in result.err
    two_stage = "pocket-study/general_then_math/math-oe/pocket-m/general_ift_then_math_ift/direct"
    assert advisor("tables", "show", two_stage).code == 0


def test_a_pocket_size_is_asked_by_its_name(advisor: Run) -> None:
    result = advisor(*ASKED, "--json")
    document = result.json()
    assert document["request"]["size"] == str(N_PARAMS["pocket-m"])
    assert document["verdict"]["confidence"] in {"measured", "none"}
    assert result.code == (6 if document["verdict"]["action"] == "abstain" else 0)
    assert "general corpus, which was not said" in result.err
    size = next(one for one in document["assumptions"] if one["name"] == "size")
    assert "pocket-m" in size["text"]
    by_number = advisor(
        *(str(N_PARAMS["pocket-m"]) if a == "pocket-m" else a for a in ASKED), "--json"
    )
    assert by_number.json() == document


def test_every_cell_that_is_cited_can_be_looked_up(advisor: Run) -> None:
    document = advisor(*ASKED, "--objective", "accuracy", "--json").json()
    assert document["evidence"]
    for item in document["evidence"]:
        shown = advisor("tables", "show", item["id"], "--json").json()
        assert shown["accuracy"] == pytest.approx(item["value"], abs=1e-6)
        assert shown["n"] == item["n"]
    commands = [stage["command"] for stage in document["plan"]]
    assert commands
    for command in commands:
        assert advisor(*command.split()[1:]).code == 0


@pytest.mark.parametrize("detail", [(), ("--short",), ("--full",)])
def test_the_answer_is_printed(advisor: Run, detail: tuple[str, ...]) -> None:
    out = advisor(*ASKED, "--corpus", "math", *detail).out
    assert "VERDICT" in out
    assert "pocket-study" in out
    assert "extrapolated from" not in out


def test_a_study_in_a_folder_is_cited_by_its_folder(advisor: Run, tmp_path: Path) -> None:
    mine = synthetic_study(sizes=("pocket-s",), n_questions=100, name="mine")
    mine.save(tmp_path / "runs" / "mine")
    document = advisor(
        "recommend", "--table", "runs/mine", "--size", "pocket-s", "--task", "math-oe", "--json"
    ).json()
    assert all(item["id"].startswith("runs/mine/general/") for item in document["evidence"])
    assert advisor("tables", "show", document["evidence"][0]["id"]).code == 0


def test_a_study_and_cells_of_ones_own_add_up(advisor: Run, tmp_path: Path) -> None:
    rows = io.StringIO()
    writer = csv.writer(rows)
    writer.writerow(["task_type", "size", "recipe", "accuracy", "n"])
    writer.writerow(["general-oe", "3B", "ift", 0.5, 500])
    (tmp_path / "mine.csv").write_text(rows.getvalue())
    alone = advisor(*ASKED, "--json").json()
    both = advisor(*ASKED, "--table", "mine.csv", "--json").json()
    assert both["verdict"] == alone["verdict"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--size", "pocket-l"), "pocket-xs, pocket-s, pocket-m"),
        (("--size", "30K"), "pocket-xs (101K)"),
        (("--size", "50M"), "between 0.1B and 100B"),
        (("--corpus", "code"), "known: general, math"),
        (("--max-size", "pocket-s"), "max_size"),
        (("--task", "math-os"), "did you mean"),
        (("--table", "again"), "2 studies"),
    ],
)
def test_bad_questions_are_one_clear_line(
    advisor: Run, saved: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    synthetic_study(sizes=("pocket-xs",), seeds=(1,), n_questions=9).save(tmp_path / "again")
    asked = list(ASKED)
    if arguments[0] in asked and arguments[0] != "--table":
        at = asked.index(arguments[0])
        del asked[at : at + 2]
    result = advisor(*asked, *arguments)
    assert result.code == 2
    assert said in result.err
    assert "Traceback" not in result.err


def test_a_small_size_needs_cells_that_reach_it(advisor: Run) -> None:
    for more in (("--size", "50M"), ("--size", "any", "--max-size", "50M")):
        result = advisor("recommend", *more, "--task", "math-oe")
        assert result.code == 2
        assert "error[size-out-of-range]" in result.err
        assert "between 0.1B and 100B" in result.err


def test_a_size_by_name_needs_its_study(advisor: Run) -> None:
    result = advisor("recommend", "--size", "pocket-m", "--task", "math-oe")
    assert result.code == 2
    assert "'pocket-m' is not a size" in result.err


def test_a_damaged_study_is_one_clear_line(advisor: Run, tmp_path: Path) -> None:
    mine = synthetic_study(sizes=("pocket-s",), seeds=(1,), n_questions=9, name="mine")
    mine.save(tmp_path / "mine")
    (tmp_path / "mine" / "study.csv").write_text("size\n")
    for command in (
        ("tables", "show", "mine"),
        ("recommend", "--table", "mine", "--size", "pocket-s", "--task", "math-oe"),
    ):
        result = advisor(*command)
        assert result.code == 3
        assert "study.csv is not the file its manifest describes" in result.err
    manifest = json.loads((tmp_path / "mine" / "study.json").read_text())
    manifest["schema_version"] = 9
    (tmp_path / "mine" / "study.json").write_text(json.dumps(manifest))
    result = advisor("tables", "show", "mine")
    assert result.code == 3
    assert "upgrade thinkroute" in result.err


def test_one_damaged_study_does_not_hide_the_others(advisor: Run, tmp_path: Path) -> None:
    for name in ("bad", "good"):
        mine = synthetic_study(sizes=("pocket-xs",), seeds=(1,), n_questions=9, name=name)
        mine.save(tmp_path / "runs" / name)
    (tmp_path / "runs" / "bad" / "study.csv").write_text("size\n")
    result = advisor("tables", "ls", "--json")
    entries = {one["name"]: one for one in result.json()["tables"]}
    assert "runs" in entries["runs/good"]
    assert "manifest describes" in entries["runs/bad"]["error"]
    assert "runs/bad cannot be read" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pocket-study/general/math-oe/pocket-m/ift",), "CORPUS/TASK/SIZE/RECIPE/POLICY"),
        (("pocket-study", "--ratio", "0", "--order", "ift_then_reasoning"), "no student of"),
        (("pocket-stdy",), "did you mean 'pocket-study'"),
    ],
)
def test_what_a_study_does_not_hold_is_said(
    advisor: Run, arguments: tuple[str, ...], said: str
) -> None:
    result = advisor("tables", "show", *arguments)
    assert result.code == 2
    assert said in result.err
    assert result.out == ""


def test_a_table_that_is_not_there_is_named_before_its_sizes(advisor: Run) -> None:
    result = advisor("recommend", "--table", "no-such", "--size", "pocket-m", "--task", "math-oe")
    assert result.code == 3
    assert "there is no table at no-such" in result.err


def test_a_size_between_those_of_a_study_is_not_called_printed(advisor: Run) -> None:
    asked = ("recommend", "--table", "pocket-study", "--size", "1M", "--task", "math-oe", "--json")
    document = advisor(*asked).json()
    assert document["verdict"]["confidence"] == "interpolated"
    gain = document["verdict"]["reasons"][0]["text"]
    assert "between sizes that you measured" in gain
    assert "arXiv" not in gain
    assert "between-study-sizes" in {one["code"] for one in document["warnings"]}


def test_the_note_tells_a_study_that_was_not_used_and_one_seed(
    advisor: Run, tmp_path: Path
) -> None:
    assert "was not used" in advisor(*ASKED, "--size", "7B", "--short").err
    one = synthetic_study(sizes=("pocket-m",), seeds=(1,), n_questions=40, name="one")
    one.save(tmp_path / "one")
    err = advisor(*(str(a).replace("pocket-study", "one") for a in ASKED)).err
    assert "one seed;" in err


@pytest.mark.parametrize(("loss", "cheap"), [(0.004, True), (0.024, False)])
def test_a_leaning_says_so_where_it_is_expected_to_lose_more_than_tolerated(
    loss: float, cheap: bool
) -> None:
    from advisor import RecommendationRequest, recommend
    from advisor.cli._recommend_views import recommendation_page
    from policies import ModelSize

    answer = recommend(RecommendationRequest(size=ModelSize.parse("3B"), task_type="math-oe"))
    verdict = answer.verdict.model_copy(update={"is_leaning": True, "expected_regret": loss})
    page = recommendation_page(answer.model_copy(update={"verdict": verdict}), width=100)
    text = " ".join(" ".join(page.lines).split())
    assert ("acting now costs little" in text) is cheap
    assert ("expected to lose 2.4 points" in text) is not cheap
