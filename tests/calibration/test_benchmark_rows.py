"""How each benchmark reads a row, in the hub's layout and in that of flat files.

The rows are made up (`benchmark_rows.json`); none is from a benchmark.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration import Question, Task, load_tasks
from calibration.graders import get_grader
from calibration.tasks import get_benchmark, question_id
from calibration.tasks._row import Row
from calibration.tasks.benchmarks import Draft
from policies import DataFileError

# Made-up rows by benchmark: `hub` and `flat` are the two layouts of one question.
EXAMPLES: dict[str, Any] = json.loads(
    Path(__file__).with_name("benchmark_rows.json").read_text("utf-8")
)
COQA_ROW: dict[str, Any] = EXAMPLES["coqa"]["hub"]
FLAT: dict[str, dict[str, Any]] = {n: e["flat"] for n, e in EXAMPLES.items() if "flat" in e}
HUB: dict[str, dict[str, Any]] = {name: example["hub"] for name, example in EXAMPLES.items()}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def load(name: str, path: Path) -> Task:
    [task] = load_tasks([name], limit=None, seed=0, data=[f"{name}={path}"])
    return task


def read_one(name: str, path: Path, row: dict[str, Any]) -> Question:
    [question] = load(name, write(path, row)).questions
    return question


def gold_of(question: Question) -> Any:
    return json.loads(question.gold) if question.gold[:1] in "[{" else question.gold


@pytest.mark.parametrize("name", FLAT)
def test_both_layouts_give_the_same_question(tmp_path: Path, name: str) -> None:
    question = read_one(name, tmp_path / "hub.jsonl", HUB[name])
    assert read_one(name, tmp_path / "flat.jsonl", FLAT[name]) == question
    assert gold_of(question) == EXAMPLES[name]["gold"]
    for word in EXAMPLES[name]["words"]:
        assert word in question.prompt


@pytest.mark.parametrize("name", FLAT)
def test_parquet_gives_the_same_question_as_json_lines(tmp_path: Path, name: str) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for row in (HUB[name], FLAT[name]):
        parquet.write_table(arrow.Table.from_pylist([row]), tmp_path / "p.parquet")
        [question] = load(name, tmp_path / "p.parquet").questions
        assert question == read_one(name, tmp_path / "j.jsonl", row)


@pytest.mark.parametrize("name", FLAT)
def test_answers_are_asked_for_in_a_box_except_for_code_and_instructions(
    tmp_path: Path, name: str
) -> None:
    prompt = read_one(name, tmp_path / "r.jsonl", HUB[name]).prompt
    is_boxed = name not in {"ifeval", "humaneval", "mbpp"}
    assert ("\\boxed{}" in prompt) == is_boxed
    assert ("one fenced block" in prompt) == (name in {"humaneval", "mbpp"})


@pytest.mark.parametrize("name", HUB)
def test_the_task_says_where_it_comes_from(tmp_path: Path, name: str) -> None:
    task = load(name, write(tmp_path / "r.jsonl", HUB[name]))
    benchmark = get_benchmark(name)
    assert (task.name, task.task_type, task.grader, task.version, task.source, task.licence) == (
        name,
        benchmark.task_type,
        benchmark.grader,
        benchmark.version,
        benchmark.source,
        benchmark.licence,
    )
    assert task.source
    assert task.licence
    assert get_grader(task.grader).runs_code == (task.task_type == "code-oe")


def test_the_solution_is_not_in_the_prompt(tmp_path: Path) -> None:
    assert "reference" not in read_one("humaneval", tmp_path / "h.jsonl", HUB["humaneval"]).prompt
    assert "return a" not in read_one("mbpp", tmp_path / "m.jsonl", HUB["mbpp"]).prompt
    assert "1200" not in read_one("gsm8k", tmp_path / "g.jsonl", HUB["gsm8k"]).prompt


def test_math_500_keeps_the_level(tmp_path: Path) -> None:
    for row in (HUB["math-500"], FLAT["math-500"]):
        assert read_one("math-500", tmp_path / "m.jsonl", row).level == 3


def test_the_version_of_aime_states_its_years() -> None:
    assert str(get_benchmark("aime").version).startswith("2425")


def test_questions_about_one_passage_are_one_group(tmp_path: Path) -> None:
    rows = [
        {"context": context, "question": f"{n}?", "gold": ["2"]}
        for context in ("Ann has 2 cats.", "Eve has 2 dogs.")
        for n in range(3)
    ]
    questions = load("squad", write(tmp_path / "s.jsonl", *rows)).questions
    groups = {
        q.group: {p.group for p in questions if p.prompt[:150] == q.prompt[:150]} for q in questions
    }
    assert len(questions) == 6
    assert len(groups) == 2
    assert not set(groups) & {q.id for q in questions}
    assert {sum(q.group == group for q in questions) for group in groups} == {3}


def test_a_question_without_a_passage_is_its_own_group(tmp_path: Path) -> None:
    rows = [{"question": f"{n}?", "gold": "1"} for n in range(3)]
    questions = load("gsm8k", write(tmp_path / "g.jsonl", *rows)).questions
    assert all(q.group == q.id for q in questions)


def test_coqa_asks_every_turn_with_the_turns_before_it(tmp_path: Path) -> None:
    questions = load("coqa", write(tmp_path / "c.jsonl", COQA_ROW)).questions
    by_gold = {q.gold: q.prompt for q in questions}
    assert set(by_gold) == {'["Ann"]', '["two"]', '["Tom"]'}
    assert by_gold['["Ann"]'].endswith("Conversation:\nQ: Who has cats?\nA:")
    assert by_gold['["two"]'].endswith("Q: Who has cats?\nA: Ann\nQ: How many?\nA:")
    assert by_gold['["Tom"]'].endswith("A: two\nQ: Who sleeps?\nA:")
    assert all("Story: Ann has two cats. Tom sleeps." in prompt for prompt in by_gold.values())
    assert len({q.group for q in questions}) == 1


def test_coqa_accepts_what_other_annotators_said(tmp_path: Path) -> None:
    more = {
        "0": {"input_text": ["Ann does", "2", "Tom"]},
        "1": {"input_text": ["Ann", "two cats", "Tom"]},
    }
    row = COQA_ROW | {"additional_answers": more}
    golds = {q.gold for q in load("coqa", write(tmp_path / "c.jsonl", row)).questions}
    assert golds == {'["Ann", "Ann does"]', '["two", "2", "two cats"]', '["Tom"]'}


def test_only_the_test_questions_of_the_subjects_are_asked(tmp_path: Path) -> None:
    rows = [
        FLAT["mmlu-misc"] | {"question": f"{subject} {split}", "subject": subject, "split": split}
        for subject in ("miscellaneous", "high_school_statistics", "anatomy")
        for split in ("test", "dev", "val")
    ]
    path = write(tmp_path / "mmlu.jsonl", *rows)
    for name, expected in [
        ("mmlu-misc", "miscellaneous test"),
        ("mmlu-math", "high_school_statistics test"),
    ]:
        [question] = load(name, path).questions
        assert question.prompt.startswith(expected)


def test_mbpp_asks_its_test_split(tmp_path: Path) -> None:
    flat = FLAT["mbpp"]
    rows = [flat | {"question_id": f"mbpp/{n}", "question": f"no. {n}"} for n in range(1, 975)]
    questions = load("mbpp", write(tmp_path / "m.jsonl", *rows)).questions
    numbers = sorted(int(q.prompt.split()[1]) for q in questions)
    assert numbers == list(range(11, 511))


def test_the_set_up_of_mbpp_is_part_of_the_test(tmp_path: Path) -> None:
    row = HUB["mbpp"] | {"test_setup_code": "import math"}
    question = read_one("mbpp", tmp_path / "m.jsonl", row)
    assert gold_of(question)["test"].startswith("import math\nassert ")


def test_humaneval_calls_what_the_prompt_defines_last(tmp_path: Path) -> None:
    flat = FLAT["humaneval"]
    row = flat | {"question": "def helper(x):\n    return x\n\n" + flat["question"]}
    assert gold_of(read_one("humaneval", tmp_path / "h.jsonl", row))["entry_point"] == "add"


BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("gsm8k", {"gold": None}, "column 'gold' is empty"),
    ("gsm8k", {"question": " "}, "column 'question' is empty"),
    ("gsm8k", {"gold": "many"}, "nothing that the grader 'number' can compare"),
    ("aime", {"gold": "x"}, "expected a whole number"),
    ("aime", {"gold": "inf"}, "expected a whole number"),
    ("math-500", {"level": "hard"}, "expected a whole number"),
    ("mmlu-pro-math", {"options": []}, "not a list of 2 to 26 options"),
    ("mmlu-pro-math", {"options": None}, "not a list of 2 to 26 options"),
    ("mmlu-pro-math", {"gold": "D"}, "'D' is no option"),
    ("mmlu-misc", {"options": "red"}, "not a list of 2 to 26 options"),
    ("aqua-rat", {"gold": ""}, "column 'gold' is empty"),
    ("winogrande", {"question": "Who?"}, "does not read 'given sentence: "),
    ("winogrande", {"gold": "option3"}, "'option3' is no option"),
    ("openbookqa", {"question": "Who?"}, "does not read 'to the question: "),
    ("openbookqa", {"gold": "answer5"}, "'answer5' is no option"),
    ("squad", {"gold": []}, "holds no list of texts"),
    ("squad", {"gold": ["2", ""]}, "holds no list of texts"),
    ("squad", {"gold": "2"}, "holds int, expected a list"),
    ("squad", {"context": None}, "column 'context' is empty"),
    ("ifeval", {"instruction_id_list": None}, "column 'instruction_id_list' is empty"),
    ("ifeval", {"kwargs": "[{}]"}, "2 instructions have 1 sets of arguments"),
    ("ifeval", {"kwargs": "[1, 2]"}, "column 'kwargs' holds int"),
    ("humaneval", {"test": "assert True"}, "defines no function check"),
    ("humaneval", {"question": "x = 1"}, "the prompt defines no function"),
    ("mbpp", {"question_id": "eleven"}, "question_id is 'eleven'"),
    ("mbpp", {"test": []}, "holds no list of texts"),
]


@pytest.mark.parametrize(("name", "change", "problem"), BROKEN)
def test_a_broken_row_is_located(
    tmp_path: Path, name: str, change: dict[str, Any], problem: str
) -> None:
    flat = FLAT[name]
    path = write(tmp_path / "b.jsonl", flat, flat | change, flat)
    with pytest.raises(DataFileError) as caught:
        load(name, path)
    assert (caught.value.path, caught.value.line) == (path, 2)
    assert problem in caught.value.message
    assert caught.value.hint


BROKEN_HUB: list[tuple[str, dict[str, Any], str]] = [
    ("gsm8k", {"answer": "It is 1200."}, "no final '#### number'"),
    ("gsm8k", {"answer": "It is\n####"}, "no final '#### number'"),
    ("mmlu-misc", {"answer": 3}, "holds 3, expected 0 to 2"),
    ("mmlu-misc", {"answer": -1}, "holds -1, expected 0 to 2"),
    ("winogrande", {"answer": "3"}, "holds 3, expected 1 to 2"),
    ("winogrande", {"answer": ""}, "column 'answer' is empty"),
    ("openbookqa", {"answerKey": "E"}, "'E' is no option"),
    ("openbookqa", {"choices": {"text": ["a", "b"]}}, "'label', holds no list of texts"),
    ("squad", {"answers": {"text": []}}, "'text', holds no list of texts"),
    ("squad", {"answers": "none"}, "'text', holds no list of texts"),
    ("coqa", {"answers": {"input_text": ["Ann"]}}, "3 questions have 1 answers"),
    ("coqa", {"questions": []}, "holds no list of texts"),
    ("coqa", {"additional_answers": {"0": {"input_text": ["x"]}}}, "1 additional answers"),
    ("coqa", {"additional_answers": ["x"]}, "holds list, expected named fields"),
    ("coqa", {"additional_answers": {"0": "x"}}, "holds no list of texts"),
]


@pytest.mark.parametrize(("name", "change", "problem"), BROKEN_HUB)
def test_a_broken_row_in_the_layout_of_the_hub_is_located(
    tmp_path: Path, name: str, change: dict[str, Any], problem: str
) -> None:
    row = HUB[name]
    path = write(tmp_path / "b.jsonl", row, row | change)
    with pytest.raises(DataFileError) as caught:
        load(name, path)
    assert (caught.value.path, caught.value.line) == (path, 2)
    assert problem in caught.value.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=12), inner, max_size=3)
    ),
    max_leaves=40,
)


@pytest.mark.parametrize("layout", ["hub", "flat"])
@pytest.mark.parametrize("name", FLAT)
@given(data=st.data())
@settings(max_examples=30)
def test_any_row_is_read_or_refused(name: str, layout: str, data: st.DataObject) -> None:
    """Whatever a file holds, reading it raises nothing but the error that says where."""
    example: dict[str, Any] = EXAMPLES[name][layout]
    column = data.draw(st.sampled_from(sorted(example)))
    row = Row("some file", 7, example | {column: data.draw(JSON)})
    drafts, refused = list[Draft](), None
    try:
        drafts = list(get_benchmark(name).read(row))
    except DataFileError as error:
        refused = error
    assert refused is None or refused.line == 7
    for draft in drafts:
        assert draft.prompt.strip()
        assert draft.gold
        assert question_id(name, draft.prompt, draft.gold)


def test_answers_as_a_list_of_records_are_read_too(tmp_path: Path) -> None:
    row = HUB["squad"] | {"answers": [{"text": "2", "answer_start": 8}, {"text": "2 cats"}]}
    assert gold_of(read_one("squad", tmp_path / "s.jsonl", row)) == ["2", "2 cats"]


def test_a_csv_file_holds_lists_as_json(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('question,options,gold\n1+1?,"[""1"", ""2""]",B\n', "utf-8")
    [question] = load("aqua-rat", path).questions
    assert "A) 1\nB) 2" in question.prompt
