"""Writing a mixture: counts, order, disjoint prompts, and nothing half-written."""

import errno
import gzip
import hashlib
import itertools
import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor import Order, Recipe
from advisor.data import (
    TEMPLATE_TOKENS,
    Mixture,
    load_counter,
    prompt_hash,
    read_pairs,
    write_mixture,
)
from policies import DataFileError, InvalidInputError, ModelSize, StoreError

COUNTER = load_counter()
MakePairs = Callable[..., Path]


def recipe(ratio: float, order: Order = Order.MIXED) -> Recipe:
    return Recipe(size=ModelSize.parse("3B"), corpus="own", reasoning_ratio=ratio, order=order)


def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    text = (folder / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def texts_of(row: dict[str, Any]) -> tuple[str, str]:
    """Return prompt and answer of a row of either style."""
    messages = row.get("messages") or row["prompt"] + row["completion"]
    assert [message["role"] for message in messages] == ["user", "assistant"]
    return messages[0]["content"], messages[1]["content"]


def everything(folder: Path, mixture: Mixture) -> list[tuple[str, str]]:
    return [texts_of(row) for file in mixture.files for row in rows_of(folder, file.name)]


@pytest.mark.parametrize(
    ("ratio", "order", "names"),
    [
        (0.0, Order.MIXED, ["mix/00_ift.jsonl"]),
        (1.0, Order.MIXED, ["mix/00_reasoning.jsonl"]),
        (0.25, Order.MIXED, ["mix/00_mixed.jsonl"]),
        (0.25, Order.IFT_THEN_REASONING, ["mix/00_ift.jsonl", "mix/01_reasoning.jsonl"]),
        (0.25, Order.REASONING_THEN_IFT, ["mix/00_reasoning.jsonl", "mix/01_ift.jsonl"]),
    ],
)
def test_each_order_has_its_files_with_exact_counts(
    make_pairs: MakePairs, tmp_path: Path, ratio: float, order: Order, names: list[str]
):
    out = tmp_path / "out"

    mixture = write_mixture(read_pairs(make_pairs(200)), recipe(ratio, order), out, counter=COUNTER)

    assert [file.name for file in mixture.files] == names
    assert sorted(path.name for path in (out / "mix").iterdir()) == sorted(
        Path(name).name for name in names
    )
    assert [path.name for path in out.iterdir()] == ["mix"]
    rows = everything(out, mixture)
    assert len(rows) == mixture.n_prompts == mixture.n_available == 200
    n_reasoning = sum("<think>" in answer for _, answer in rows)
    assert n_reasoning == ratio * 200 == sum(file.n_reasoning_rows for file in mixture.files)
    assert mixture.reasoning_ratio == ratio
    assert len({prompt for prompt, _ in rows}) == 200


def test_a_staged_file_holds_one_kind_of_rows(make_pairs: MakePairs, tmp_path: Path):
    mixture = write_mixture(
        read_pairs(make_pairs(100)),
        recipe(0.5, Order.IFT_THEN_REASONING),
        tmp_path,
        counter=COUNTER,
    )

    direct, reasoning = mixture.files
    assert not any("<think>" in texts_of(row)[1] for row in rows_of(tmp_path, direct.name))
    assert all("<think>" in texts_of(row)[1] for row in rows_of(tmp_path, reasoning.name))
    assert (direct.kind, reasoning.kind) == ("ift", "reasoning")
    assert (direct.n_reasoning_tokens, direct.n_rows) == (0, 50)


def test_mixed_rows_are_shuffled(make_pairs: MakePairs, tmp_path: Path):
    mixture = write_mixture(read_pairs(make_pairs(400)), recipe(0.5), tmp_path, counter=COUNTER)

    kinds = ["<think>" in answer for _, answer in everything(tmp_path, mixture)]

    # The number of runs of 200 + 200 shuffled rows has mean 201 and standard deviation 10.
    n_runs = 1 + sum(a != b for a, b in itertools.pairwise(kinds))
    assert abs(n_runs - 201) < 50


def test_the_manifest_equals_a_recount_of_the_files(make_pairs: MakePairs, tmp_path: Path):
    mixture = write_mixture(
        read_pairs(make_pairs(333)),
        recipe(0.3, Order.IFT_THEN_REASONING),
        tmp_path,
        counter=COUNTER,
        n_rows=250,
    )

    n_answers = n_reasoning = 0
    lengths: list[int] = []
    for file in mixture.files:
        texts = [texts_of(row) for row in rows_of(tmp_path, file.name)]
        prompts = [COUNTER.count(prompt) for prompt, _ in texts]
        answers = [COUNTER.count(answer) for _, answer in texts]
        assert file.n_rows == len(texts)
        assert file.n_prompt_tokens == sum(prompts)
        assert file.n_answer_tokens == sum(answers)
        assert file.sha256 == hashlib.sha256((tmp_path / file.name).read_bytes()).hexdigest()
        upper = sorted(
            math.ceil((p + a) * COUNTER.upper_factor) + TEMPLATE_TOKENS
            for p, a in zip(prompts, answers, strict=True)
        )
        assert file.max_tokens == upper[-1]
        assert file.p99_tokens == upper[math.ceil(0.99 * len(upper)) - 1]
        lengths += upper
        n_answers += sum(answers)
        n_reasoning += sum(
            n for n, (_, answer) in zip(answers, texts, strict=True) if "<think>" in answer
        )
    assert mixture.n_prompts == 250
    assert mixture.reasoning_token_share == n_reasoning / n_answers > 0.5 > mixture.reasoning_ratio
    assert mixture.max_tokens == max(lengths)
    assert mixture.p99_tokens == sorted(lengths)[math.ceil(0.99 * 250) - 1]
    assert (mixture.counter_name, mixture.is_exact) == (COUNTER.name, False)


def test_the_choice_does_not_depend_on_the_order_of_lines(make_pairs: MakePairs, tmp_path: Path):
    path = make_pairs(120)
    backwards = tmp_path / "backwards.jsonl"
    backwards.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[::-1]))

    def written(source: Path, name: str, **options: Any) -> list[str]:
        mixture = write_mixture(
            read_pairs(source),
            recipe(0.25, Order.IFT_THEN_REASONING),
            tmp_path / name,
            counter=COUNTER,
            **options,
        )
        return [file.sha256 for file in mixture.files]

    assert written(path, "a", n_rows=80) == written(backwards, "b", n_rows=80)
    assert written(path, "c", n_rows=80) != written(path, "d", n_rows=80, seed=1)


def test_a_higher_ratio_or_more_rows_keep_the_reasoning_prompts(
    make_pairs: MakePairs, tmp_path: Path
):
    pairs = read_pairs(make_pairs(200))

    def reasoning_prompts(name: str, ratio: float, n_rows: int) -> set[str]:
        mixture = write_mixture(
            pairs, recipe(ratio), tmp_path / name, counter=COUNTER, n_rows=n_rows
        )
        rows = everything(tmp_path / name, mixture)
        return {prompt for prompt, answer in rows if "<think>" in answer}

    few = reasoning_prompts("a", 0.25, 100)
    assert few < reasoning_prompts("b", 0.5, 100)
    assert few < reasoning_prompts("c", 0.25, 200)
    assert len(few) == 25


@pytest.mark.parametrize(
    ("n", "ratio", "n_rows", "message"),
    [
        (10, 0.5, 11, "11 rows were asked for, but there are 10 usable pairs"),
        (10, 0.5, 0, "0 rows were asked for"),
        (10, 0.01, None, "0 would be reasoning and 10 direct answers (use at least 51 pairs"),
        (10, 0.99, None, "10 would be reasoning and 0 direct answers (use at least 51 pairs"),
        (1, 0.5, None, "cannot be met with 1 rows"),
    ],
)
def test_a_ratio_or_number_that_cannot_be_met_is_refused_with_the_numbers(
    make_pairs: MakePairs, tmp_path: Path, n: int, ratio: float, n_rows: int | None, message: str
):
    out = tmp_path / "out"

    with pytest.raises(InvalidInputError, match=re.escape(message)):
        write_mixture(read_pairs(make_pairs(n)), recipe(ratio), out, counter=COUNTER, n_rows=n_rows)

    assert not out.exists()


def test_the_number_of_pairs_that_an_error_asks_for_is_enough(
    make_pairs: MakePairs, tmp_path: Path
):
    for ratio, n in ((0.01, 51), (0.99, 51), (0.5, 2), (0.3, 2)):
        mixture = write_mixture(
            read_pairs(make_pairs(n)), recipe(ratio), tmp_path / str(ratio), counter=COUNTER
        )
        assert 0 < mixture.reasoning_ratio < 1


@pytest.mark.parametrize("order", [Order.REASONING_THEN_HYBRID, Order.DOMAIN_GENERAL_THEN_MATH])
def test_orders_of_several_data_sets_are_refused(
    make_pairs: MakePairs, tmp_path: Path, order: Order
):
    with pytest.raises(InvalidInputError, match="needs stages of different data"):
        write_mixture(
            read_pairs(make_pairs(10)), recipe(0.5, order), tmp_path / "out", counter=COUNTER
        )


def test_stages_of_two_domains_go_into_subfolders_of_their_own(
    make_pairs: MakePairs, tmp_path: Path
):
    general = read_pairs(make_pairs(20))
    math_only = read_pairs(make_pairs(50, name="math.jsonl"), exclude=general.prompt_hashes())

    stages = [
        write_mixture(pairs, recipe(0.5), tmp_path / "out", counter=COUNTER, subfolder=subfolder)
        for pairs, subfolder in ((general, "mix/1_general"), (math_only, "mix/2_math"))
    ]

    assert [stage.files[0].name for stage in stages] == [
        "mix/1_general/00_mixed.jsonl",
        "mix/2_math/00_mixed.jsonl",
    ]
    prompts = [{row[0] for row in everything(tmp_path / "out", stage)} for stage in stages]
    assert not prompts[0] & prompts[1]
    assert list(map(len, prompts)) == [20, 30]


@pytest.mark.parametrize("subfolder", ["", ".", "/tmp/mix", "../mix", "mix/../..", "a\\b"])
def test_a_subfolder_that_leads_out_is_refused(
    make_pairs: MakePairs, tmp_path: Path, subfolder: str
):
    with pytest.raises(InvalidInputError, match="leads out of the folder"):
        write_mixture(
            read_pairs(make_pairs(10)),
            recipe(0.5),
            tmp_path / "out",
            counter=COUNTER,
            subfolder=subfolder,
        )


def test_hybrid_rows_leave_the_empty_thought_to_the_template(make_pairs: MakePairs, tmp_path: Path):
    mixture = write_mixture(
        read_pairs(make_pairs(40)), recipe(0.5), tmp_path, counter=COUNTER, thinking="hybrid"
    )

    rows = rows_of(tmp_path, mixture.files[0].name)
    for row in rows:
        thinks = row["chat_template_kwargs"]["enable_thinking"]
        assert thinks == row["completion"][0]["content"].startswith("<think>\n")
        assert row["prompt"][0]["role"] == "user"
        assert set(row) == {"prompt", "completion", "chat_template_kwargs"}
    assert sum(row["chat_template_kwargs"]["enable_thinking"] for row in rows) == 20


def test_hybrid_rows_need_tagged_thoughts(write_lines: Callable[..., Path], tmp_path: Path):
    pairs = read_pairs(
        write_lines([{"prompt": str(i), "ift": "2", "reasoning": "add, so 2"} for i in range(4)])
    )

    with pytest.raises(InvalidInputError, match="4 of 4 reasoning texts"):
        write_mixture(pairs, recipe(0.5), tmp_path / "a", counter=COUNTER, thinking="hybrid")
    mixture = write_mixture(pairs, recipe(0), tmp_path / "b", counter=COUNTER, thinking="hybrid")
    assert mixture.n_prompts == 4


def test_an_earlier_mixture_is_replaced_only_when_forced(make_pairs: MakePairs, tmp_path: Path):
    pairs = read_pairs(make_pairs(20))
    write_mixture(pairs, recipe(0.5), tmp_path / "out", counter=COUNTER)

    with pytest.raises(StoreError, match=r"already holds a mixture: 00_mixed.jsonl"):
        write_mixture(pairs, recipe(0), tmp_path / "out", counter=COUNTER)
    write_mixture(pairs, recipe(0), tmp_path / "out", counter=COUNTER, force=True)

    assert [path.name for path in (tmp_path / "out" / "mix").iterdir()] == ["00_ift.jsonl"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mix"]


def test_a_folder_with_other_files_is_never_replaced(make_pairs: MakePairs, tmp_path: Path):
    other = tmp_path / "out" / "mix" / "thesis.tex"
    other.parent.mkdir(parents=True)
    other.write_text("years of work", encoding="utf-8")

    for force in (False, True):
        with pytest.raises(StoreError, match=r"holds 'thesis.tex' and is not replaced"):
            write_mixture(
                read_pairs(make_pairs(20)),
                recipe(0.5),
                tmp_path / "out",
                counter=COUNTER,
                force=force,
            )

    assert other.read_text(encoding="utf-8") == "years of work"


def test_an_empty_folder_is_used(make_pairs: MakePairs, tmp_path: Path):
    (tmp_path / "out" / "mix").mkdir(parents=True)

    mixture = write_mixture(
        read_pairs(make_pairs(20)), recipe(0.5), tmp_path / "out", counter=COUNTER
    )

    assert (tmp_path / "out" / mixture.files[0].name).is_file()


@pytest.mark.parametrize("blocked", ["out", "out/mix"])
def test_a_place_that_is_a_file_is_refused_and_kept(
    make_pairs: MakePairs, tmp_path: Path, blocked: str
):
    place = tmp_path / blocked
    place.parent.mkdir(exist_ok=True)
    place.write_text("kept", encoding="utf-8")

    with pytest.raises(StoreError, match=r"cannot be written|is no folder"):
        write_mixture(read_pairs(make_pairs(20)), recipe(0.5), tmp_path / "out", counter=COUNTER)

    assert place.read_text(encoding="utf-8") == "kept"


FILL = """
import resource, signal, sys
from pathlib import Path
from advisor import Recipe
from advisor.data import load_counter, read_pairs, write_mixture
from policies import StoreError

pairs = read_pairs(Path(sys.argv[1]))
recipe = Recipe(size="3B", corpus="own", reasoning_ratio=0.5, order="ift_then_reasoning")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    write_mixture(pairs, recipe, Path(sys.argv[2]), counter=load_counter(), force=True)
except StoreError as error:
    print(error)
"""


@pytest.mark.parametrize("is_there", [False, True])
def test_a_full_disk_is_one_clear_error_and_leaves_nothing_half_written(
    make_pairs: MakePairs, tmp_path: Path, *, is_there: bool
):
    """The kernel refuses to let a file grow past a limit, as it does on a full disk."""
    pairs, out = make_pairs(2000), tmp_path / "new" / "out"
    before: dict[str, bytes] = {}
    if is_there:
        write_mixture(read_pairs(make_pairs(30)), recipe(0), out, counter=COUNTER)
        before = {"00_ift.jsonl": (out / "mix" / "00_ift.jsonl").read_bytes()}
        pairs = make_pairs(2000)

    done = subprocess.run(
        [sys.executable, "-c", FILL, str(pairs), str(out)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert re.fullmatch(r".*mix cannot be written: File too large .*\n", done.stdout)
    assert done.stderr == ""
    if is_there:
        assert [path.name for path in out.iterdir()] == ["mix"]
        assert {path.name: path.read_bytes() for path in (out / "mix").iterdir()} == before
    else:
        assert not (tmp_path / "new").exists()


def test_data_that_change_while_they_are_written_leave_nothing(
    make_pairs: MakePairs, tmp_path: Path
):
    path = make_pairs(50)
    pairs = read_pairs(path)
    path.write_bytes(path.read_bytes()[:-1] + b" \n")

    with pytest.raises(DataFileError, match="written to while it was read"):
        write_mixture(pairs, recipe(0.5), tmp_path / "out", counter=COUNTER)

    assert not (tmp_path / "out").exists()


def test_a_tokenizer_that_knows_no_word_of_the_answers_is_refused(
    make_pairs: MakePairs, tmp_path: Path
):
    class Deaf:
        name = "deaf"
        is_exact = True
        upper_factor = 1.0

        def count(self, text: str) -> int:
            return 0

    with pytest.raises(InvalidInputError, match="deaf finds no token in any answer"):
        write_mixture(read_pairs(make_pairs(9)), recipe(0), tmp_path / "out", counter=Deaf())

    assert not (tmp_path / "out").exists()


def test_an_earlier_mixture_stays_if_the_new_one_cannot_take_its_place(
    make_pairs: MakePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pairs, out = read_pairs(make_pairs(20)), tmp_path / "out"
    write_mixture(pairs, recipe(0.5), out, counter=COUNTER)
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.name == "fresh":
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StoreError, match="cannot be written: Input/output error"):
        write_mixture(pairs, recipe(0), out, counter=COUNTER, force=True)

    assert [path.name for path in out.iterdir()] == ["mix"]
    assert [path.name for path in (out / "mix").iterdir()] == ["00_mixed.jsonl"]


def test_a_compressed_file_needs_room_to_be_read_in_any_order(
    make_pairs: MakePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    packed = tmp_path / "pairs.jsonl.gz"
    packed.write_bytes(gzip.compress(make_pairs(30).read_bytes()))
    pairs = read_pairs(packed)

    def full(**_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(DataFileError, match="cannot be unpacked: No space left on device"):
        write_mixture(pairs, recipe(0.5), tmp_path / "out", counter=COUNTER)

    assert not (tmp_path / "out").exists()


text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda value: value.strip() and "think>" not in value
)
pair = st.fixed_dictionaries({"prompt": text, "ift": text, "thought": text, "answer": text})


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.lists(pair, min_size=3, max_size=25, unique_by=lambda row: prompt_hash(row["prompt"])),
    ratio=st.sampled_from([0.0, 0.25, 0.5, 0.7, 1.0]),
    is_staged=st.booleans(),
    seed=st.integers(-(2**70), 2**70),
    random=st.randoms(),
    ascii_only=st.booleans(),
)
def test_any_texts_come_out_as_they_went_in_once_each(
    tmp_path_factory: pytest.TempPathFactory,
    pairs: list[dict[str, str]],
    ratio: float,
    is_staged: bool,
    seed: int,
    random: Any,
    ascii_only: bool,
):
    folder = tmp_path_factory.mktemp("mixture")
    order = Order.IFT_THEN_REASONING if is_staged and 0 < ratio < 1 else Order.MIXED

    def written(rows: list[dict[str, str]], name: str) -> tuple[Mixture, list[tuple[str, str]]]:
        path = folder / f"{name}.jsonl"
        path.write_text(
            "".join(
                json.dumps(
                    {
                        "prompt": row["prompt"],
                        "ift": row["ift"],
                        "reasoning": f"<think>{row['thought']}</think>{row['answer']}",
                    },
                    ensure_ascii=ascii_only,
                )
                + "\n"
                for row in rows
            ),
            encoding="utf-8",
            newline="",
        )
        mixture = write_mixture(
            read_pairs(path), recipe(ratio, order), folder / name, counter=COUNTER, seed=seed
        )
        found: list[tuple[str, str]] = []
        for file in mixture.files:
            for line in (folder / name / file.name).read_bytes().split(b"\n")[:-1]:
                found.append(texts_of(json.loads(line)))
        return mixture, found

    shuffled = pairs.copy()
    random.shuffle(shuffled)
    mixture, rows = written(pairs, "a")
    again, same_rows = written(shuffled, "b")

    by_prompt = {row["prompt"]: row for row in pairs}
    assert sorted(prompt for prompt, _ in rows) == sorted(by_prompt)
    n_reasoning = 0
    for prompt, answer in rows:
        row = by_prompt[prompt]
        trace = f"<think>\n{row['thought'].strip()}\n</think>\n\n{row['answer'].strip()}"
        assert answer in {row["ift"], trace}
        n_reasoning += answer == trace
    assert n_reasoning == round(ratio * len(pairs))
    assert rows == same_rows
    assert mixture.files == again.files
    assert mixture.n_prompts == len(pairs)
