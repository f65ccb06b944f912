"""Translations and repeats of one question share a group, and the file's reader is told."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration import load_outcomes

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "outcomes"
ROW: dict[str, Any] = {"model": "m", "mode": "direct", "correct": 1}


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(ROW | dict(row)) + "\n" for row in rows), "utf-8")
    return path


def groups(tmp_path: Path, *rows: Mapping[str, Any]) -> tuple[dict[str, str], str]:
    """Return the group of each question, and what was said about it."""
    loaded = load_outcomes(write(tmp_path / "t.jsonl", rows))
    return {record.question_id: record.group for record in loaded.records}, loaded.notes[0]


@pytest.mark.parametrize(
    "form", ["{lang}/17", "mgsm/{lang}/17", "17_{lang}", "17-{lang}", "{lang}.17", "mgsm_{lang}/17"]
)
def test_ids_that_differ_in_the_language_alone_are_one_group(tmp_path: Path, form: str) -> None:
    rows = [{"question_id": form.format(lang=lang), "lang": lang} for lang in ("de", "bn", "en")]
    found, told = groups(tmp_path, *rows)
    assert len(set(found.values())) == 1
    assert "3 languages (bn, de, en)" in told


@pytest.mark.parametrize("code", ["zh-CN", "zh_cn", "ZH-cn"])
def test_spellings_of_a_language_are_one(tmp_path: Path, code: str) -> None:
    rows = [{"question_id": f"{code}/1", "lang": "zh-cn"}, {"question_id": "en/1", "lang": "en"}]
    assert set(groups(tmp_path, *rows)[0].values()) == {"1"}


def test_the_original_may_go_without_a_language_in_its_id(tmp_path: Path) -> None:
    rows = [{"question_id": "1", "lang": "en"}, {"question_id": "de/1", "lang": "de"}]
    assert set(groups(tmp_path, *rows)[0].values()) == {"1"}


def test_only_one_place_of_an_id_is_its_language(tmp_path: Path) -> None:
    rows = [
        {"question_id": "es/que_es", "lang": "es"},
        {"question_id": "en/que_es", "lang": "en"},
    ]
    assert set(groups(tmp_path, *rows)[0].values()) == {"que_es"}


def test_a_task_in_many_languages_is_one_family(tmp_path: Path) -> None:
    # Both tasks count from 0 in every language: without the family the sums and the stories
    # would be one group.
    rows = [
        {"question_id": f"{lang}/{i}", "lang": lang, "task": f"{family}_{lang}"}
        for lang in ("de", "en")
        for family in ("mgsm", "xcopa")
        for i in range(3)
    ]
    found, told = groups(tmp_path, *rows)
    assert len(set(found.values())) == 6
    assert found["mgsm_de/de/0"] == found["mgsm_en/en/0"] != found["xcopa_de/de/0"]
    assert "and the task" in told


def test_tasks_whose_names_do_not_tell_are_grouped_by_number(tmp_path: Path) -> None:
    rows = [
        {"question_id": f"{lang}/{i}", "lang": lang, "task": f"{family} {name}"}
        for lang, name in (("de", "German"), ("en", "English"))
        for family in ("sums", "stories")
        for i in range(3)
    ]
    # Too large a group costs little, a leak the whole evaluation.
    assert set(groups(tmp_path, *rows)[0].values()) == {"0", "1", "2"}


@pytest.mark.parametrize("lang", ["en", None])
def test_one_language_groups_nothing(tmp_path: Path, lang: str | None) -> None:
    found, told = groups(tmp_path, *({"question_id": f"en/{i}", "lang": lang} for i in range(3)))
    assert list(found) == list(found.values())
    assert "group of its own" in told


def test_languages_without_shared_questions_group_nothing(tmp_path: Path) -> None:
    rows = [{"question_id": "en/1", "lang": "en"}, {"question_id": "de/2", "lang": "de"}]
    found, _ = groups(tmp_path, *rows)
    assert list(found) == list(found.values())


def test_items_of_one_source_are_one_group(tmp_path: Path) -> None:
    rows = [
        {"question_id": "exam/1", "source_dataset": "aqua", "source_id": 7},
        {"question_id": "mix/4", "source_dataset": "aqua", "source_id": 7},
        {"question_id": "exam/2", "source_dataset": "sat", "source_id": 7},
        {"question_id": "own/1", "source_dataset": None, "source_id": None},
    ]
    found, told = groups(tmp_path, *rows)
    assert found["exam/1"] == found["mix/4"] != found["exam/2"]
    assert found["own/1"] == "own/1"
    assert "'source_dataset' and 'source_id'" in told


def test_the_files_own_groups_come_first(tmp_path: Path) -> None:
    rows = [
        {"question_id": "de/1", "lang": "de", "group": "a"},
        {"question_id": "en/1", "lang": "en", "group": "b"},
        {"question_id": "en/2", "lang": "en", "group": None},
    ]
    found, told = groups(tmp_path, *rows)
    assert found == {"de/1": "a", "en/1": "b", "en/2": "en/2"}
    assert "column 'group'; 1 questions without one" in told


IDS = st.sampled_from(["1", "de/1", "1_de", "en/1", "a/en/2", "mgsm_de/1", "de", "/", "de/de/1"])
ROWS = st.fixed_dictionaries(
    {
        "question_id": IDS,
        "lang": st.sampled_from(["de", "en", "", None, "DE"]),
        "task": st.sampled_from(["mgsm_de", "mgsm_en", "t"]),
        "source_dataset": st.sampled_from([None, "s"]),
        "source_id": st.sampled_from([None, 1, "1", 1.0, True, [1], {"a": 1}]),
        "group": st.sampled_from([None, None, "g"]),
    }
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROWS, min_size=1, max_size=12), data=st.data())
def test_the_order_of_rows_does_not_matter(
    tmp_path: Path, rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(rows))
    first, second = (load_outcomes(write(tmp_path / "t.jsonl", each)) for each in (rows, shuffled))
    assert first.notes[0] == second.notes[0]

    def placed(records: list[Any]) -> set[tuple[str, str, str]]:
        return {(record.task, record.question_id, record.group) for record in records}

    assert placed(first.records) == placed(second.records)


@pytest.mark.parametrize(
    ("name", "n_groups", "told"),
    [
        ("mgsm_sizes", 250, "11 languages"),
        ("gmmlu_s1_budget", 400, "7 languages"),
        ("renze_ccot", 1000, "1,000 items of 1,100 questions"),
        ("renze_9models_cot", 1000, "1,000 items of 1,100 questions"),
        ("gsm8k_openai_2021", 1319, "group of its own"),
    ],
)
def test_recorded_sets_are_grouped(name: str, n_groups: int, told: str) -> None:
    path = DATA / name / "long.parquet"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    pytest.importorskip("pyarrow")
    loaded = load_outcomes(path)
    assert len({record.group for record in loaded.records}) == n_groups
    assert told in loaded.notes[0]
