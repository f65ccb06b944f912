"""Every fenced block of the README and of docs/ is accounted for: run, read, parsed, or no code.

A new block fails here until the table says what becomes of it. Whatever that is, every command of
every page is parsed by the command line itself, so no page names an option that does not exist.
"""

import ast
import shutil
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from calibration.cost import load_prices
from policies.backends.pocket import pocket_model_names
from tests.docs.accounts import Account, Elsewhere, Given, Listed, PageRun, Parsed, Ran, Read
from tests.docs.fences import (
    ROOT,
    Block,
    all_blocks,
    fenced,
    names_of_tests,
    shell_lines,
    why_wrong,
)
from tests.docs.givens import GIVEN, nothing

TUTORIAL = "docs/tutorial.md"
SERVER = "asks a server that is not here"
GPU = "needs a GPU, or hours"
FRAGMENT = "options alone: `...` stands for the rest of the command"
INSTALL = "nothing is installed by tests; the extra is looked up in pyproject.toml"
README = "tests/docs/test_readme.py::"
COSTS = "tests/calibration/test_cost_docs.py::"
GUARANTEES = "tests/docs/test_guarantees.py::test_the_examples_print_what_their_comments_say"
PAIRS = "tests/advisor/cli/test_data_pairs.py::test_the_commands_of_the_page_run_as_written"
TASKS = "tests/calibration/test_task_docs.py::"
OWN = f"{TASKS}test_the_files_of_the_page_on_own_questions_are_loaded"
POLICIES = "tests/docs/test_how_to_policies.py::"
RECOMMEND = "tests/advisor/cli/test_recommend_docs.py::"
SHOWN = f"{RECOMMEND}test_the_commands_print_what_the_page_shows"
SERVE = "tests/docs/test_serve_page.py::"
PROGRAMS = f"{SERVE}test_programs_print_what_they_say_and_the_log_tells_of_them"
STUDY = "tests/advisor/cli/test_study_docs.py::"
STUDY_COMMANDS = f"{STUDY}test_every_command_of_the_page_does_what_it_says"
TOPS = "tests/docs/test_how_to_tops.py::test_every_command_runs_and_writes_what_the_page_names"
EXPORT = "tests/advisor/export/test_export_docs.py::test_the_commands_of_the_page_run_as_written"
VERIFIERS = "tests/docs/test_how_to_verifiers.py::"
VERIFIER_COMMANDS = f"{VERIFIERS}test_every_command_runs_and_the_service_chooses"
VERIFIER_FILE = f"{VERIFIERS}test_the_file_is_accepted_and_its_values_are_the_defaults"
TRAINING = "tests/advisor/cost/test_training_costs_page.py::"
PRINTED = f"{TRAINING}test_the_example_prints_what_the_page_says"


def read_toml(path: Path) -> object:
    return tomllib.loads(path.read_text("utf-8"))


ACCOUNTS: dict[str, tuple[Account, ...]] = {
    "README.md": (
        Parsed("make demo", "the tutorial runs the same commands; `make test` runs this"),
        Elsewhere(
            "import router",
            f"{README}test_the_python_example_runs_and_prints_what_its_comments_say",
        ),
        Parsed('pip install "thinkroute[pocket]"', SERVER),
        Elsewhere("policies/ ", f"{README}test_every_entry_of_the_tree_is_there"),
    ),
    "docs/explanation/costs.md": (
        Elsewhere("from calibration.cost import Arch", f"{COSTS}test_the_example_runs"),
        Elsewhere('[prices."my-model"]', f"{COSTS}test_the_price_file_loads"),
    ),
    "docs/explanation/guarantees.md": (
        Parsed(
            "advisor fit runs/mine",
            "a promise takes hundreds of questions; the next block fits one",
        ),
        Elsewhere("import random", GUARANTEES),
        Elsewhere("import numpy as np", GUARANTEES),
    ),
    "docs/explanation/safety.md": (Ran("from router import CallerCaps"),),
    "docs/explanation/serving.md": (
        Listed("client ──►", "a picture of what happens to a request"),
    ),
    "docs/explanation/training-costs.md": (
        Elsewhere("from advisor.cost import", PRINTED),
        Elsewhere("1.3e+19 FLOPs", PRINTED),
    ),
    "docs/how-to/after-fit.md": (
        Elsewhere(
            "import numpy as np",
            "tests/docs/test_after_fit.py::test_the_example_runs_and_prints_what_its_comments_say",
        ),
        Ran("decision_id = router.record(decision)", language="python"),
        # 6 is an alarm, and a log that cannot tell: both are answers.
        Ran("advisor drift feedback.sqlite", codes={"advisor drift": 6}),
        Ran(
            "advisor offpolicy feedback.sqlite",
            codes={"advisor offpolicy": 6},
            instead={"routers/second": "routers/other"},
        ),
        Ran("advisor fit runs/first --update"),
    ),
    "docs/how-to/benchmarks.md": (
        Parsed('pip install "thinkroute[benchmarks]"', SERVER),
        Parsed("advisor calibrate --model my-model ...", FRAGMENT),
        Ran("from calibration import load_tasks", instead={"/data/benchmarks": "benchmarks"}),
    ),
    "docs/how-to/budgets.md": (
        Ran("advisor calibrate --model pocket-m", smaller={"--limit 100": "--limit 5"}),
        Ran(
            "advisor calibrate --model pocket-m --tasks pocket --limit 50",
            later={"advisor calibrate": "answers at least 200 questions twice"},
        ),
    ),
    "docs/how-to/cascade.md": (
        Ran("advisor calibrate --model pocket-m", smaller={"--limit 500": "--limit 5"}),
        Elsewhere(
            "import numpy as np",
            "tests/docs/test_how_to_cascade.py::test_the_example_prints_what_its_comments_say",
        ),
    ),
    "docs/how-to/evaluate.md": (
        Ran("advisor evaluate runs/first"),
        Ran("advisor evaluate runs/fresh"),
        Ran("from router import evaluate"),
    ),
    "docs/how-to/import.md": (
        Ran("advisor tables import samples_gsm8k"),
        Ran("advisor fit long.parquet"),
    ),
    "docs/how-to/in-process.md": (
        Parsed('pip install "thinkroute[vllm]"', INSTALL),
        Ran(
            "import asyncio",
            instead={
                'build_backend("vllm", "Qwen/Qwen3-8B", max_model_len=16384)': 'build_backend("pocket", "pocket-xs")',
                "max_answer_tokens=512, max_thinking_tokens=8192": "max_answer_tokens=32, max_thinking_tokens=64",
            },
        ),
        Parsed("advisor calibrate --backend vllm", GPU),
    ),
    "docs/how-to/in-your-code.md": (
        Ran("from router import Objective, Router"),
        Ran("from policies import Attachment", instead={"router.complete(": "seeing.complete("}),
        Ran("from policies.embedding import OpenAIEmbedder"),
    ),
    "docs/how-to/long-runs.md": (
        Ran("advisor calibrate --model pocket-m"),
        Parsed("advisor calibrate ... --max-total-tokens", FRAGMENT),
        Read('[prices."Qwen/Qwen3-8B"]', "prices.toml", load_prices),
        Ran(
            "advisor calibrate --rescore runs/long",
            instead={"runs/long": "runs/first"},
            parsed={"advisor judge": SERVER},
        ),
        Ran("advisor tables repair runs/long", instead={"runs/long": "runs/first"}),
        Parsed('pip install "thinkroute[ray]"', FRAGMENT),
    ),
    "docs/how-to/make-pairs.md": (
        Elsewhere("import json", PAIRS),
        Elsewhere("advisor data pairs --model pocket-m", PAIRS),
        Parsed("advisor data pairs --backend openai", SERVER),
        Elsewhere("advisor calibrate --model pocket-m", PAIRS),
        Elsewhere("advisor data pairs --model pocket-m", PAIRS),
        Elsewhere("advisor recommend --size 3B", PAIRS),
    ),
    "docs/how-to/own-questions.md": (
        Read('{"question": "A train', "questions.jsonl", lambda path: path.read_text("utf-8")),
        Ran("advisor calibrate --model pocket-m --tasks questions.jsonl"),
        Parsed("advisor calibrate --backend openai", SERVER),
        Read('name = "school-sums"', "mytask.toml", read_toml),
        Ran("advisor calibrate --model pocket-m --tasks mytask.toml"),
        Read('[project.entry-points."thinkroute.tasks"]', "pyproject.toml", read_toml),
        Elsewhere(
            "from calibration import Question, Task",
            f"{TASKS}test_the_installed_task_of_the_page_returns_a_task",
        ),
    ),
    "docs/how-to/policies.md": (
        *(
            Elsewhere(begins, f"{POLICIES}test_every_command_runs")
            for begins in (
                'advisor ask "Compute mod ten',
                "advisor calibrate --policies all --tasks pocket --limit 5 ",
                "advisor calibrate --policies all --tasks pocket --limit 100 ",
                "advisor compare runs/all",
                'advisor calibrate --policies "direct,reasoning@max,sc(n=3)',
            )
        ),
        Elsewhere("import asyncio", f"{POLICIES}test_the_python_prints_what_its_comments_say"),
        Elsewhere("advisor calibrate --suite adversarial", f"{POLICIES}test_every_command_runs"),
    ),
    "docs/how-to/recommend.md": (
        Elsewhere("$ advisor recommend --size 3B --task math-oe\n", SHOWN),
        Elsewhere("task_type,size,recipe", SHOWN),
        Elsewhere("$ advisor recommend --size 3B --task math-oe --table mine.csv", SHOWN),
        Elsewhere("$ advisor recommend --size 1.5B --task contract-qa", SHOWN),
        Elsewhere(
            "from advisor import", f"{RECOMMEND}test_the_example_prints_what_its_comments_say"
        ),
    ),
    "docs/how-to/report.md": (
        Ran(
            "advisor report runs/first --out",
            later={
                "advisor report": "judges a router by cross-validation; the next block does not"
            },
        ),
        Ran("advisor report runs/first --no-evaluate"),
    ),
    "docs/how-to/serve.md": (
        Elsewhere('pip install "thinkroute[serve', f"{SERVE}test_the_quick_start_is_answered"),
        Elsewhere("advisor serve --router", f"{SERVE}test_the_cli_takes_every_command"),
        Elsewhere("from openai import OpenAI", PROGRAMS),
        Elsewhere("KEY=$(openssl", f"{SERVE}test_the_cli_takes_every_command"),
        Elsewhere("[keys.team-a]", f"{SERVE}test_the_keys_file_can_be_read_and_its_table_is_whole"),
        Elsewhere("advisor serve --router", f"{SERVE}test_the_cli_takes_every_command"),
        Elsewhere("from openai import OpenAI", PROGRAMS),
        Elsewhere("advisor report savings", PROGRAMS),
        Elsewhere("advisor serve --router", f"{SERVE}test_the_cli_takes_every_command"),
        Elsewhere(
            "from router.server.litellm_plugin", f"{SERVE}test_the_classifier_prints_what_it_says"
        ),
    ),
    "docs/how-to/servers.md": (
        Ran("from policies.backends.openai import OpenAIBackend"),
        Ran("from policies.backends.pool import connect"),
    ),
    "docs/how-to/study.md": (
        Parsed('pip install "thinkroute[train]"', INSTALL),
        Elsewhere("advisor study --sizes", STUDY_COMMANDS),
        Elsewhere("advisor study --run", STUDY_COMMANDS),
        Elsewhere("advisor tables show", STUDY_COMMANDS),
        Elsewhere("advisor recommend --table", STUDY_COMMANDS),
        Elsewhere("advisor study --max-hours", STUDY_COMMANDS),
        Parsed('pip install "thinkroute[train,recipes,vllm]"', GPU),
        Parsed("advisor study --base", GPU),
    ),
    "docs/how-to/tops.md": (
        Elsewhere("advisor calibrate --model pocket-xs", TOPS),
        Elsewhere("advisor data tops --model pocket-xs", TOPS),
        Parsed("advisor data tops --backend openai", SERVER),
        Elsewhere("advisor data tops --from runs/samples --sets", TOPS),
        Elsewhere("advisor data tops --from runs/samples --exclude", TOPS),
        Parsed("from transformers import AutoTokenizer", "downloads a tokenizer"),
    ),
    "docs/how-to/train-a-recipe.md": (
        Elsewhere("import json", EXPORT),
        Elsewhere("advisor export --to trl --size 3B --task math-oe --corpus", EXPORT),
        Elsewhere("advisor export --to axolotl", EXPORT),
        Parsed('pip install "thinkroute[tokenizers]"', FRAGMENT),
        Elsewhere("advisor export --to trl --size 3B --task math-oe --ratio 1", EXPORT),
        Parsed("advisor export --to trl ... --ratio 1", FRAGMENT),
        Parsed("advisor export --to trl ... --base-model", "trains; scripts/try_exports.sh does"),
    ),
    "docs/how-to/verifiers.md": (
        Elsewhere("advisor calibrate --policies", VERIFIER_COMMANDS),
        Elsewhere("[verifiers.reward]", VERIFIER_FILE),
        Elsewhere("import json", VERIFIER_COMMANDS),
        Elsewhere("[verifiers.mine]", VERIFIER_COMMANDS),
        Elsewhere("THINKROUTE_VERIFIERS=verifiers.toml", VERIFIER_COMMANDS),
        Elsewhere(
            "import asyncio",
            f"{VERIFIERS}test_the_verifier_of_ones_own_prints_what_its_comments_say",
        ),
        Elsewhere(
            '[project.entry-points."thinkroute.verifiers"]',
            f"{VERIFIERS}test_the_entry_point_is_of_the_group_that_is_read",
        ),
    ),
    "docs/how-to/vllm.md": (
        Parsed("vllm serve", GPU),
        Parsed("export OPENAI_API_KEY", SERVER),
        Parsed("VLLM_USE_V2_MODEL_RUNNER=0", GPU),
    ),
    "docs/policies.md": (Parsed("make policies", GPU),),
    "docs/study.md": (
        Elsewhere(
            "advisor study --run",
            f"{STUDY}test_the_page_of_the_shipped_study_says_how_it_is_trained_again",
        ),
    ),
    TUTORIAL: (
        Ran('pip install "thinkroute[pocket]"', smaller={"--limit 300": "--limit 20"}),
        Ran("advisor fit runs/first"),
        # What a small model's few questions support is no promise; then the command says so.
        Ran("advisor fit runs/first --out routers/sure", codes={"advisor fit": 6}),
        Ran("advisor ask"),
        Ran("from router import Router"),
        Ran("advisor recommend --size 3B --task math-oe --short"),
        Ran("advisor recommend --size 3B"),
        Ran("advisor data pairs"),
    ),
}
BLOCKS = all_blocks()
RUN_HERE = sorted(
    page for page, accounts in ACCOUNTS.items() if any(isinstance(one, Ran) for one in accounts)
)
AS_WRITTEN = sorted(
    page
    for page, accounts in ACCOUNTS.items()
    if any(isinstance(one, Ran) and (one.smaller or one.later) for one in accounts)
)
needs_pocket = pytest.mark.skipif(
    not {"pocket-xs", "pocket-m"} <= set(pocket_model_names()),
    reason="the models pocket-xs and pocket-m are not there",
)


def accounted() -> Iterator[tuple[Block, Account]]:
    for page, blocks in BLOCKS.items():
        yield from zip(blocks, ACCOUNTS.get(page, ()), strict=False)


def unaccounted(
    present: Mapping[str, list[Block]], table: Mapping[str, Sequence[Account]]
) -> list[str]:
    wrong: list[str] = []
    for page in {**present, **table}:
        blocks, accounts = present.get(page, []), table.get(page, ())
        for at in range(max(len(blocks), len(accounts))):
            if at >= len(accounts):
                wrong.append(f"{blocks[at]}: say in ACCOUNTS what becomes of it")
            elif at >= len(blocks):
                wrong.append(f"{page}: there is no block {accounts[at].begins!r} any more")
            elif not blocks[at].text.startswith(accounts[at].begins):
                wrong.append(f"{blocks[at]}: ACCOUNTS has {accounts[at].begins!r} in its place")
    return wrong


def test_every_block_is_accounted_for() -> None:
    wrong = unaccounted(BLOCKS, ACCOUNTS)
    assert not wrong, "\n".join(wrong)


def test_a_block_that_is_new_gone_or_changed_is_noticed() -> None:
    text = "~~~~ text\n```\n~~~~\n\n- list\n\n  ```python\n  x = 1\n  ```\n```\nls\n```\n"
    blocks = fenced("a.md", text)
    assert [(one.line, one.language, one.text) for one in blocks] == [
        (1, "text", "```\n"),
        (7, "python", "x = 1\n"),
        (10, "", "ls\n"),
    ]
    accounts = (Listed("```", "a fence"), Ran("x = "), Parsed("ls", SERVER))
    assert unaccounted({"a.md": blocks}, {"a.md": accounts}) == []
    (new,) = unaccounted({"a.md": blocks}, {"a.md": accounts[:2]})
    assert new.startswith("a.md, line 10 (no language): 'ls'")
    (gone,) = unaccounted({"a.md": blocks[:2]}, {"a.md": accounts})
    assert "no block 'ls' any more" in gone
    (changed,) = unaccounted({"a.md": blocks}, {"a.md": (*accounts[:2], Parsed("cd", SERVER))})
    assert "'cd' in its place" in changed
    assert len(unaccounted({"new.md": blocks}, {})) == 3
    with pytest.raises(ValueError, match="line 1: this block is not closed"):
        fenced("a.md", "```\nls\n")


def test_the_tests_that_are_named_exist_and_read_the_page() -> None:
    for block, account in accounted():
        if isinstance(account, Elsewhere):
            file, _, name = account.test.partition("::")
            assert name in names_of_tests(ROOT / file), account.test
            assert Path(block.page).name in (ROOT / file).read_text("utf-8"), block


def is_shell(block: Block, account: Account) -> bool:
    if isinstance(account, Ran) and account.language == "python":
        return False
    if isinstance(account, Read | Listed) or block.language not in {"", "bash"}:
        return False
    # The tree of the repository, and commands that are shown with what they print.
    return not block.text.startswith(("policies/ ", "$ "))


def test_every_command_can_be_given() -> None:
    lines = [
        (block, line)
        for block, account in accounted()
        if is_shell(block, account)
        for line in shell_lines(block.text)
    ]
    wrong = [
        f"{block.page}: {line}\n    {why}" for block, line in lines if (why := why_wrong(line))
    ]
    assert not wrong, "\n".join(wrong)
    assert sum("advisor " in line for _, line in lines) > 90


def test_options_that_do_not_exist_are_noticed() -> None:
    assert "--limt" in why_wrong("advisor calibrate --model m --limt 3 --out runs/x")
    assert "--limt" in why_wrong("advisor calibrate ... --limt 3")
    assert why_wrong("advisor recommend --task math-oe")
    assert why_wrong("advisor callibrate --limit 3")
    assert why_wrong('pip install "thinkroute[vlm]"')
    assert why_wrong("make polices")
    assert why_wrong("bash scripts/none.sh")
    assert why_wrong("rm -rf /")


def test_python_that_is_not_run_here_can_be_parsed() -> None:
    for block, account in accounted():
        if block.language == "python" and isinstance(account, Parsed):
            ast.parse(block.text)


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PageRun]:
    """The tutorial, with few questions; other pages go on from its run and its router."""
    return walk(TUTORIAL, tmp_path_factory.mktemp("tutorial"), as_written=False)


def walk(
    page: str, folder: Path, *, as_written: bool, given: Given | None = None
) -> tuple[Path, PageRun]:
    run = PageRun(folder, given or Given())
    for block, account in zip(BLOCKS[page], ACCOUNTS[page], strict=True):
        if isinstance(account, Ran):
            run.run(block, account, as_written=as_written)
        elif isinstance(account, Read):
            (folder / account.name).write_text(block.text, "utf-8")
            account.read(folder / account.name)
    return folder, run


@needs_pocket
def test_the_tutorial_can_be_followed(tour: tuple[Path, PageRun]) -> None:
    folder, run = tour
    measured, fitted, evaluated, refused, *asked = run.done
    for said in ("math-oe", "reasoning@16", "reasoning@max"):
        assert said in measured.out
    assert "objective" in fitted.out + fitted.err
    assert "oracle" in evaluated.out
    assert (refused.code, "no-guarantee" in refused.err) == (6, True)
    assert not (folder / "routers" / "sure").exists()
    assert "thought" in asked[0].err
    for name in ("pairs.jsonl", "pairs.manifest.json", "recipe/launch.sh", "recipe/README.md"):
        assert (folder / name).is_file()


@needs_pocket
@pytest.mark.parametrize("page", [page for page in RUN_HERE if page != TUTORIAL])
def test_the_blocks_of_a_page_run_in_order(
    page: str, tmp_path: Path, tour: tuple[Path, PageRun]
) -> None:
    shutil.copytree(tour[0], tmp_path, dirs_exist_ok=True)
    with GIVEN.get(page, nothing)(tmp_path) as given:
        walk(page, tmp_path, as_written=False, given=given)


@needs_pocket
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", AS_WRITTEN)
def test_the_blocks_of_a_page_run_as_written(
    page: str, tmp_path: Path, tour: tuple[Path, PageRun]
) -> None:
    if page != TUTORIAL:
        shutil.copytree(tour[0], tmp_path, dirs_exist_ok=True)
    with GIVEN.get(page, nothing)(tmp_path) as given:
        walk(page, tmp_path, as_written=True, given=given)
