"""Writing an export folder: what is in it, what is refused, and that nothing is lost."""

import errno
import hashlib
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from advisor import Method, Order, Recipe
from advisor.data import TEMPLATE_TOKENS, load_counter, prompt_hash
from advisor.export import Export, ExportRequest, export_recipe
from policies import DataFileError, InvalidInputError, ModelSize, StoreError, UnknownNameError

PairsFile = Callable[..., Path]
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def recipe(
    ratio: float = 0.25,
    order: Order = Order.IFT_THEN_REASONING,
    method: Method = Method.SFT,
    size: str = "3B",
) -> Recipe:
    return Recipe(
        size=ModelSize.parse(size),
        corpus="general",
        reasoning_ratio=ratio,
        order=order,
        method=method,
    )


def ask(data: Path | tuple[Path, ...], out: Path, how: Recipe | None = None, **more: Any) -> Export:
    files = data if isinstance(data, tuple) else (data,)
    asked: dict[str, Any] = {"library": "trl", "task_type": "math-oe", **more}
    request = ExportRequest(recipe=how or recipe(), data=files, out=out, **asked)
    return export_recipe(request, now=NOW)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def manifest_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "manifest.json").read_text("utf-8"))


def test_the_manifest_names_every_file_with_its_checksum(
    pairs_file: PairsFile, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ask(pairs_file(), out, then="grpo")
    manifest = manifest_of(out)
    assert (manifest["kind"], manifest["schema_version"]) == ("thinkroute-recipe-export", 1)
    there = {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    assert manifest["files"] == there
    assert {"README.md", "launch.sh", "1_sft.yaml", "2_grpo.yaml", "rewards.py"} <= set(there)
    by_name = {file["name"]: file["sha256"] for file in manifest["mixture"]["files"]}
    assert all(there[name] == sha256 for name, sha256 in by_name.items())


def test_the_same_request_gives_the_same_bytes(pairs_file: PairsFile, tmp_path: Path) -> None:
    data = pairs_file()
    one, two = (ask(data, tmp_path / name / "export") for name in ("a", "b"))
    files = (one.manifest["files"], two.manifest["files"])
    assert isinstance(files[0], dict)
    assert isinstance(files[1], dict)
    # The README names the folder.
    assert {**files[0], "README.md": ""} == {**files[1], "README.md": ""}


@pytest.mark.parametrize(
    ("ratio", "order"),
    [
        (0.25, Order.IFT_THEN_REASONING),
        (0.5, Order.MIXED),
        (0.0, Order.MIXED),
        (1.0, Order.MIXED),
    ],
)
def test_ratio_and_token_share_are_those_of_the_rows(
    pairs_file: PairsFile, tmp_path: Path, ratio: float, order: Order
) -> None:
    out = tmp_path / "out"
    made = ask(pairs_file(), out, recipe(ratio, order))
    answers = [
        row["messages"][1]["content"] for file in made.files for row in rows_of(out / file.name)
    ]
    counter = load_counter()
    tokens = [counter.count(text) for text in answers]
    thinks = ["</think>" in text for text in answers]
    assert made.reasoning_ratio == sum(thinks) / len(answers) == ratio
    share = sum(n for n, is_trace in zip(tokens, thinks, strict=True) if is_trace) / sum(tokens)
    assert made.reasoning_token_share == pytest.approx(share)
    assert manifest_of(out)["mixture"]["reasoning_token_share"] == pytest.approx(share)


def test_each_prompt_is_trained_on_once_and_direct_answers_come_first(
    pairs_file: PairsFile, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    made = ask(pairs_file(), out)
    assert [file.kind for file in made.files] == ["ift", "reasoning"]
    assert made.runs[0].files == tuple(file.name for file in made.files)
    prompts = [
        row["messages"][0]["content"] for file in made.files for row in rows_of(out / file.name)
    ]
    assert len(prompts) == len(set(prompts)) == 40


def test_ift_after_reasoning_is_refused_with_the_rule(
    pairs_file: PairsFile, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match="never train on direct answers after") as caught:
        ask(pairs_file(), tmp_path / "out", recipe(0.5, Order.REASONING_THEN_IFT))
    assert caught.value.code == "ift-after-reasoning"


def test_an_order_without_figures_is_refused(pairs_file: PairsFile, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no published figures"):
        ask(pairs_file(), tmp_path / "out", recipe(0.5, Order.REASONING_THEN_HYBRID))


def test_a_method_without_rows_of_its_own_is_refused_with_what_to_give_instead(
    pairs_file: PairsFile, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match="search program") as caught:
        ask(pairs_file(), tmp_path / "out", recipe(1.0, Order.MIXED, Method.BACKTRACKING))
    assert caught.value.code == "method-not-exported"
    assert not (tmp_path / "out").exists()


def test_grpo_with_llamafactory_names_the_libraries_that_have_it(
    pairs_file: PairsFile, tmp_path: Path
) -> None:
    ways: list[dict[str, Any]] = [
        {"then": "grpo"},
        {"how": recipe(1.0, Order.MIXED, Method.GRPO)},
    ]
    for how in ways:
        with pytest.raises(InvalidInputError, match=r"no GRPO.*trl or axolotl"):
            ask(pairs_file(), tmp_path / "out", library="llamafactory", **how)


def test_an_unknown_library_names_close_ones(pairs_file: PairsFile, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="axolotl"):
        ask(pairs_file(), tmp_path / "out", library="axolotle")


def test_adapters_in_two_stages_are_refused(pairs_file: PairsFile, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="start from an adapter"):
        ask(pairs_file(), tmp_path / "out", then="grpo", is_lora=True)


def test_an_adapter_is_no_base_model(pairs_file: PairsFile, tmp_path: Path) -> None:
    base = tmp_path / "adapter"
    base.mkdir()
    (base / "adapter_config.json").write_text("{}")
    with pytest.raises(InvalidInputError, match="merge it"):
        ask(pairs_file(), tmp_path / "out", base_model=str(base))


def test_a_batch_that_does_not_divide_is_refused(pairs_file: PairsFile, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"32 cannot be split over 6 GPUs"):
        ask(pairs_file(), tmp_path / "out", n_gpus=6)


def test_a_size_without_a_default_base_model_needs_one(
    pairs_file: PairsFile, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match="--base-model"):
        ask(pairs_file(), tmp_path / "out", recipe(size="8B"))
    made = ask(pairs_file(), tmp_path / "out", recipe(size="8B"), base_model="org/base-8B")
    assert made.runs[0].base_model == "org/base-8B"
    assert any("nearest to 8B" in note for note in made.notes)


def test_a_short_run_shrinks_the_schedule_and_says_so(
    pairs_file: PairsFile, tmp_path: Path
) -> None:
    made = ask(pairs_file(960), tmp_path / "out", recipe(0.0, Order.MIXED))
    run = made.runs[0]
    assert run.n_steps == 30
    assert (run.warmup_steps, run.decay_steps) == (5, 10)
    assert any("only 30 steps" in note for note in made.notes)
    assert "only 30 steps" in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_a_maximum_length_that_would_cut_answers_is_refused(
    pairs_file: PairsFile, tmp_path: Path
) -> None:
    data = pairs_file(n_words=900)
    with pytest.raises(InvalidInputError, match="cut answers off") as caught:
        ask(data, tmp_path / "out", max_length=1024)
    assert caught.value.code == "max-length-too-short"
    # Direct answers alone are short.
    made = ask(data, tmp_path / "out", recipe(0.0, Order.MIXED), max_length=1024)
    assert made.runs[0].max_length == 1024


def test_rows_beyond_the_context_of_the_model_are_refused(
    pairs_file: PairsFile, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match="takes 32768"):
        ask(pairs_file(n_words=40_000), tmp_path / "out")
    with pytest.raises(InvalidInputError, match="32768 tokens that the base model takes"):
        ask(pairs_file(), tmp_path / "out", max_length=40_000)


def test_the_context_of_a_local_model_is_read(pairs_file: PairsFile, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text('{"max_position_embeddings": 100}')
    with pytest.raises(InvalidInputError, match="takes 100"):
        ask(pairs_file(), tmp_path / "out", base_model=str(base))


def test_runaway_traces_are_left_out_counted_and_not_cut(
    pairs_file: PairsFile, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    made = ask(pairs_file(400, long=2), out)
    assert any("2 of 400 pairs are longer" in note for note in made.notes)
    assert manifest_of(out)["data"][0]["n_too_long"] == 2
    counter = load_counter()
    lengths = [
        sum(counter.count(message["content"]) for message in row["messages"])
        for file in made.files
        for row in rows_of(out / file.name)
    ]
    assert len(lengths) == 398
    longest = max(lengths) * counter.upper_factor + TEMPLATE_TOKENS
    assert longest <= made.runs[0].max_length < 1024


def test_direct_answers_do_not_need_the_length_of_traces(
    pairs_file: PairsFile, tmp_path: Path
) -> None:
    made = ask(pairs_file(400, long=2), tmp_path / "out", recipe(0.0, Order.MIXED))
    assert sum(file.n_rows for file in made.files) == 400


def test_questions_of_an_evaluation_are_kept_out(pairs_file: PairsFile, tmp_path: Path) -> None:
    data, out = pairs_file(), tmp_path / "out"
    held_out = tmp_path / "questions.jsonl"
    held_out.write_text(json.dumps({"question": "pairs.jsonl: What is  3 + 3?"}) + "\n")
    made = ask(data, out, then="grpo", exclude=(held_out,))
    trained = {
        prompt_hash((row.get("messages") or row["prompt"])[0]["content"])
        for file in made.files
        for row in rows_of(out / file.name)
    }
    assert prompt_hash("pairs.jsonl: what is 3 + 3?") not in trained
    assert len(trained) == 39
    assert manifest_of(out)["data"][0]["n_excluded"] == 1


def test_domain_stages_take_two_files_and_continue_each_other(
    pairs_file: PairsFile, tmp_path: Path
) -> None:
    how = recipe(1.0, Order.DOMAIN_GENERAL_THEN_MATH)
    general, math = pairs_file(40, name="general.jsonl"), pairs_file(30, name="math.jsonl")
    with pytest.raises(InvalidInputError, match="expected 2"):
        ask(general, tmp_path / "out", how)
    made = ask((general, math), tmp_path / "out", how)
    first, second = made.runs
    assert (first.name, second.name) == ("1_general", "2_math")
    assert second.base_model == first.output_dir
    assert (first.n_rows, second.n_rows) == (40, 30)
    assert first.learning_rate == second.learning_rate == 7e-6
    launch = (tmp_path / "out" / "launch.sh").read_text("utf-8")
    assert launch.index("1_general.yaml") < launch.index("2_math.yaml")


def test_a_prompt_of_both_domains_is_trained_on_once(pairs_file: PairsFile, tmp_path: Path) -> None:
    general, math = pairs_file(40, name="general.jsonl"), pairs_file(30, name="math.jsonl")
    shared = general.read_text("utf-8").splitlines(keepends=True)[:4]
    math.write_text(math.read_text("utf-8") + "".join(shared), "utf-8")
    how = recipe(1.0, Order.DOMAIN_GENERAL_THEN_MATH)
    made = ask((general, math), tmp_path / "out", how)
    assert [run.n_rows for run in made.runs] == [40, 30]
    assert any("math.jsonl: 4 prompts were in the stage before" in note for note in made.notes)


def test_a_second_file_without_domains_is_refused(pairs_file: PairsFile, tmp_path: Path) -> None:
    files = (pairs_file(name="a.jsonl"), pairs_file(name="b.jsonl"))
    with pytest.raises(InvalidInputError, match="expected 1"):
        ask(files, tmp_path / "out")


def test_reinforcement_follows_on_the_trained_model(pairs_file: PairsFile, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = ask(pairs_file(), out, then="grpo")
    first, second = made.runs
    assert second.base_model == first.output_dir
    prompts = rows_of(out / "mix" / "grpo.jsonl")
    assert prompts[3]["solution"] == "6"
    assert prompts[3]["prompt"][0]["role"] == "user"
    assert second.grpo is not None
    assert second.global_batch % (second.grpo.n_generations * second.n_gpus) == 0


def test_reinforcement_without_right_answers_is_refused_with_the_lines(
    pairs_file: PairsFile, tmp_path: Path
) -> None:
    data = pairs_file(6)
    rows = rows_of(data)
    del rows[4]["solution"]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataFileError, match="line 5"):
        ask(data, tmp_path / "out", recipe(1.0, Order.MIXED, Method.GRPO))


def test_a_reward_that_cannot_read_the_answers_is_refused(
    pairs_file: PairsFile, tmp_path: Path
) -> None:
    data = pairs_file(8)
    rows = [{**row, "solution": "something else"} for row in rows_of(data)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataFileError, match="only 0 of 8 reasoning answers right"):
        ask(data, tmp_path / "out", recipe(1.0, Order.MIXED, Method.GRPO))


def test_a_solution_that_no_file_can_hold_is_none(pairs_file: PairsFile, tmp_path: Path) -> None:
    data = pairs_file()
    rows = rows_of(data)
    rows[2]["solution"] = "\ud83d"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataFileError, match="line 3"):
        ask(data, tmp_path / "out", recipe(1.0, Order.MIXED, Method.GRPO))


def write_preferences(path: Path, n: int = 40) -> Path:
    rows = [
        {"prompt": f"Question {i}?", "chosen": f"Answer: {i}", "rejected": "hm " * 30 + str(i + 1)}
        for i in range(n)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("library", ["trl", "axolotl", "llamafactory"])
def test_preferences_have_the_shape_that_the_library_reads(tmp_path: Path, library: str) -> None:
    out = tmp_path / "out"
    data = write_preferences(tmp_path / "dpo.jsonl")
    made = ask(data, out, recipe(1.0, Order.MIXED, Method.DPO), library=library)
    answer = {"role": "assistant", "content": "Answer: 7"}
    row = rows_of(out / "mix" / "preferences.jsonl")[7]
    assert row["prompt"] == [{"role": "user", "content": "Question 7?"}]
    assert row["chosen"] == ([answer] if library == "trl" else answer)
    assert (made.runs[0].learning_rate, made.runs[0].n_epochs) == (5e-7, 3)


def test_equal_answers_are_no_preference(tmp_path: Path) -> None:
    data = tmp_path / "dpo.jsonl"
    data.write_text(json.dumps({"prompt": "Q", "chosen": "same", "rejected": "same"}) + "\n")
    with pytest.raises(DataFileError, match="the same"):
        ask(data, tmp_path / "out", recipe(1.0, Order.MIXED, Method.DPO))


def test_tops_trains_on_conversations_with_its_published_settings(tmp_path: Path) -> None:
    data, out = tmp_path / "tops.jsonl", tmp_path / "out"
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": "<think>\nso\n</think>\n\nA"},
    ]
    data.write_text(json.dumps({"messages": messages, "n_tokens": 7}) + "\n")
    made = ask(data, out, recipe(1.0, Order.MIXED, Method.TOPS))
    assert rows_of(out / "mix" / "answers.jsonl") == [{"messages": messages}]
    run = made.runs[0]
    assert (run.learning_rate, run.global_batch, run.n_epochs) == (1e-5, 96, 2)


def test_conversations_without_an_answer_are_named(tmp_path: Path) -> None:
    data = tmp_path / "tops.jsonl"
    data.write_text(json.dumps({"messages": [{"role": "user", "content": "Q"}]}) + "\n")
    with pytest.raises(DataFileError, match="line 1"):
        ask(data, tmp_path / "out", recipe(1.0, Order.MIXED, Method.ITER_SFT))


@pytest.mark.parametrize(
    ("method", "row"),
    [
        (
            Method.TOPS,
            {
                "messages": [
                    {"role": "user", "content": "Q"},
                    {"role": "assistant", "content": "\ud83d"},
                ]
            },
        ),
        (Method.DPO, {"prompt": "Q", "chosen": "good", "rejected": "bad \udc00"}),
    ],
)
def test_a_text_that_no_file_can_hold_is_named(
    tmp_path: Path, method: Method, row: dict[str, object]
) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataFileError, match=r"line 1 .*surrogate"):
        ask(data, tmp_path / "out", recipe(1.0, Order.MIXED, method))


def test_a_folder_with_something_in_it_is_not_touched(
    pairs_file: PairsFile, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    data = pairs_file()
    with pytest.raises(StoreError, match="not empty"):
        ask(data, out)
    with pytest.raises(StoreError, match="something else"):
        ask(data, out, force=True)
    assert (out / "thesis.txt").read_text() == "years of work"
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_force_replaces_an_export_but_no_trained_model(
    pairs_file: PairsFile, tmp_path: Path
) -> None:
    out, data = tmp_path / "out", pairs_file()
    ask(data, out, then="grpo")
    with pytest.raises(StoreError, match="--force"):
        ask(data, out)
    ask(data, out, force=True)
    assert not (out / "2_grpo.yaml").exists()
    (out / "out" / "1_sft").mkdir(parents=True)
    with pytest.raises(StoreError, match="trained models"):
        ask(data, out, force=True)
    assert (out / "out" / "1_sft").is_dir()


def test_an_earlier_export_stays_if_the_new_one_cannot_take_its_place(
    pairs_file: PairsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, data, rename = tmp_path / "out", pairs_file(), Path.rename
    ask(data, out)
    before = manifest_of(out)

    def refuse(path: Path, target: Path) -> Path:
        if path.parent.name.startswith(".export-") and path.name == out.name:
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StoreError, match="out cannot be written: Input/output error"):
        ask(data, out, recipe(1.0, Order.MIXED), force=True)
    assert manifest_of(out) == before
    assert {path.name for path in tmp_path.iterdir()} == {out.name, data.name}


def test_a_full_disk_is_one_clear_error(
    pairs_file: PairsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text = Path.write_text

    def refuse(path: Path, *rest: Any, **more: Any) -> int:
        if path.name == "launch.sh":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_text(path, *rest, **more)

    data = pairs_file()
    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(StoreError, match="out cannot be written: No space left on device"):
        ask(data, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [data.name]


def test_a_failure_leaves_nothing_behind(pairs_file: PairsFile, tmp_path: Path) -> None:
    data = pairs_file(6)
    rows = [{**row, "solution": "no"} for row in rows_of(data)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataFileError):
        ask(data, tmp_path / "out", then="grpo", how=recipe(0.5))
    assert sorted(tmp_path.iterdir()) == before


def test_a_dry_run_tells_the_same_and_leaves_nothing(pairs_file: PairsFile, tmp_path: Path) -> None:
    data = pairs_file()
    request = ExportRequest(
        library="trl", recipe=recipe(), task_type="math-oe", data=(data,), out=tmp_path / "out"
    )
    before = sorted(tmp_path.iterdir())
    dry = export_recipe(request, now=NOW, is_dry_run=True)
    assert sorted(tmp_path.iterdir()) == before
    real = export_recipe(request, now=NOW)
    assert dry.manifest == real.manifest
    assert (dry.is_dry_run, real.is_dry_run) == (True, False)


def test_the_launch_script_runs_the_stages_in_the_folder(
    pairs_file: PairsFile, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    made = ask(pairs_file(), out, then="grpo")
    script = out / "launch.sh"
    assert os.access(script, os.X_OK)
    lines = script.read_text("utf-8").splitlines()
    assert lines[-2:] == list(made.commands)
    assert 'cd "$(dirname "$0")"' in lines


def test_a_chat_template_must_mark_answers_and_keep_thoughts(
    pairs_file: PairsFile, tmp_path: Path
) -> None:
    template, data = tmp_path / "own.jinja", pairs_file()
    template.write_text("{{ messages[0].content }}")
    with pytest.raises(InvalidInputError, match="does not mark answers"):
        ask(data, tmp_path / "out", chat_template=template)
    template.write_text(
        "{% generation %}{{ messages[1].content.split('</think>')[-1] }}{% endgeneration %}"
    )
    with pytest.raises(InvalidInputError, match="treats </think> specially"):
        ask(data, tmp_path / "out", chat_template=template)
    template.write_text("{% generation %}{{ messages[1].content }}{% endgeneration %}")
    made = ask(data, tmp_path / "out", chat_template=template)
    assert made.runs[0].end_of_turn is None
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == template.read_text()


def test_a_tokenizer_without_the_marks_of_the_template_is_refused(
    pairs_file: PairsFile, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "tokenizer.json").write_text('{"added_tokens": [{"content": "<s>"}]}')
    with pytest.raises(InvalidInputError, match="--chat-template"):
        ask(pairs_file(), tmp_path / "out", base_model=str(base))


def test_packing_is_said_to_change_the_step(pairs_file: PairsFile, tmp_path: Path) -> None:
    made = ask(pairs_file(400), tmp_path / "out", recipe(0.0, Order.MIXED), packing=True)
    assert made.runs[0].packing
    assert any("packing puts about" in note for note in made.notes)


def test_broken_lines_are_counted_and_named(pairs_file: PairsFile, tmp_path: Path) -> None:
    data = pairs_file(10)
    data.write_text(data.read_text() + '{"prompt": "no answers"}\nnot json\n')
    made = ask(data, tmp_path / "out", recipe(0.5))
    assert manifest_of(tmp_path / "out")["data"][0]["n_broken"] == 2
    assert any("line 11" in note and "line 12" in note for note in made.notes)
