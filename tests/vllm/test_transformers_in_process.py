"""The `transformers` backend on the pocket model, next to its ONNX form."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.vllm import agreement
from tests.vllm.adapters import write_adapter
from tests.vllm.in_process import MODEL, Driver, RefusedError, ask, ids, run_driver
from tests.vllm.serving import PYTHON

pytestmark = pytest.mark.vllm

OPTIONS: dict[str, Any] = {
    "name": "transformers",
    "model": "pocket-m",
    "directory": str(MODEL),
    "device": "cpu",
}


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing: run scripts/make_venv_vllm.sh")
    log = tmp_path_factory.mktemp("transformers") / "driver.log"
    # A model this small loses more to handing work between threads than a second core gives.
    with run_driver(log, OMP_NUM_THREADS="1") as running:
        yield running


def test_the_backend_keeps_its_contract(driver: Driver) -> None:
    report = driver.call(OPTIONS, "contract", budgets=[0, 1, 3, 8, 16])
    assert report == {"failures": [], "skipped": ["effort", "stream", "stream-ends"]}


def test_loading_draws_no_bar_where_nobody_watches(driver: Driver) -> None:
    driver.call(OPTIONS, "contract", budgets=[0])
    assert "Loading weights" not in driver.log.read_text(errors="replace")


def test_tokens_are_those_of_the_onnx_form(driver: Driver) -> None:
    agreement.check_same_tokens(driver, OPTIONS, 60)


def test_a_native_budget_is_what_one_trace_tells(driver: Driver) -> None:
    agreement.check_replay(driver, OPTIONS, 12)


def test_continuing_any_prefix_gives_the_rest(driver: Driver) -> None:
    agreement.check_prefixes(driver, OPTIONS)


def test_evidence_is_that_of_the_onnx_form(driver: Driver) -> None:
    agreement.check_evidence(driver, OPTIONS)


def test_a_seed_tells_the_sample(driver: Driver) -> None:
    agreement.check_sampling(driver, OPTIONS)


def test_logit_bias_changes_the_choice(driver: Driver) -> None:
    agreement.check_bias(driver, OPTIONS)


def test_event_loops_of_several_threads_share_a_backend(driver: Driver) -> None:
    agreement.check_several_loops(driver, OPTIONS)


def test_cancelled_requests_disturb_no_others(driver: Driver) -> None:
    agreement.check_cancelling(driver, OPTIONS)


def test_a_longer_end_of_thought_is_forced_whole_and_is_no_thought(driver: Driver) -> None:
    options = {**OPTIONS, "forced_end": "So 7\n</think>"}
    markers = driver.markers(options)
    [cut] = driver.generate(options, [ask(agreement.questions(1)[0], thinking_budget=3)])
    assert len(markers.end) > 1
    assert ids(cut)[1 + 3 : 1 + 3 + len(markers.end)] == markers.end
    assert cut.usage.thinking_tokens == 3
    assert cut.thinking_closed
    with pytest.raises(RefusedError, match="does not end with"):
        driver.call({**OPTIONS, "forced_end": "stop"}, "capabilities")


def test_a_template_may_open_the_thought(driver: Driver, tmp_path: Path) -> None:
    agreement.check_opening_template(driver, OPTIONS, tmp_path / "opening")


def test_a_template_without_a_switch_claims_none(driver: Driver, tmp_path: Path) -> None:
    """The contract's other promises hold, among them that what is not claimed is refused."""
    options = {**OPTIONS, "directory": str(agreement.switchless_copy(tmp_path / "copy"))}
    report = driver.call(options, "contract", budgets=[1])
    assert report["failures"] == []
    assert {"thinking-on", "budget"} <= set(report["skipped"])
    assert "refusal" not in report["skipped"]


def test_the_models_own_sampling_settings_shape_nothing(driver: Driver, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(MODEL, copy)
    settings = copy / "generation_config.json"
    settings.write_text(
        '{"eos_token_id": [2, 0], "do_sample": true, "top_k": 1, "temperature": 0.1,'
        ' "repetition_penalty": 1.8, "max_new_tokens": 3}'
    )
    requests = [ask(prompt) for prompt in agreement.questions(6)]
    changed = driver.generate({**OPTIONS, "directory": str(copy)}, requests)
    assert [ids(c) for c in changed] == [ids(c) for c in driver.generate(OPTIONS, requests)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_tokens": 1020}, "exceed the context of 1024"),
        ({"continuation": (10**6,)}, "outside the vocabulary of 530"),
        ({"logit_bias": {-1: 1.0}}, "outside the vocabulary"),
    ],
)
def test_what_the_model_cannot_do_is_refused_alone(
    driver: Driver, changes: dict[str, Any], words: str
) -> None:
    good = ask("hello")
    bad, fine = driver.outcomes(OPTIONS, [replace(good, **changes), good])
    assert isinstance(bad, RefusedError)
    assert (bad.kind, bad.retryable) == ("BackendRequestError", False)
    assert words in str(bad)
    assert not isinstance(fine, RefusedError)


def test_identity_tells_weights_precision_and_device(driver: Driver, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(MODEL, copy)
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    mine = driver.call(OPTIONS, "identity")
    other = driver.call({**OPTIONS, "directory": str(copy)}, "identity")
    assert (mine["dtype"], mine["device"]) == ("float32", "cpu")
    assert mine["runtime"].startswith("transformers ")
    assert mine["weights_sha256"] != other["weights_sha256"]
    assert mine["tokenizer_sha256"] == other["tokenizer_sha256"]


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"dtype": "float33"}, "InvalidInputError", "float33"),
        ({"device": "abacus"}, "InvalidInputError", "abacus"),
        ({"device": "cuda:0"}, "MissingPrerequisiteError", "cuda:0"),
    ],
)
def test_options_that_cannot_be_used_are_named(
    driver: Driver, changes: dict[str, Any], kind: str, words: str
) -> None:
    with pytest.raises(RefusedError, match=words) as caught:
        driver.generate({**OPTIONS, **changes}, [ask("hello")])
    assert caught.value.kind == kind


def test_an_adapter_answers_or_names_the_library_it_needs(driver: Driver, tmp_path: Path) -> None:
    options = {**OPTIONS, "adapter": str(write_adapter(tmp_path / "adapter", seed=1))}
    requests = [ask(prompt) for prompt in agreement.questions(4)]
    if not driver.call(OPTIONS, "has", module="peft"):
        with pytest.raises(RefusedError, match="pip install peft") as caught:
            driver.generate(options, requests)
        assert caught.value.kind == "MissingPrerequisiteError"
        return
    plain, tuned = (driver.generate(o, requests) for o in (OPTIONS, options))
    assert [ids(c) for c in plain] != [ids(c) for c in tuned]
    assert "adapter_sha256" in driver.call(options, "identity")


def test_a_closed_backend_takes_nothing_more(driver: Driver) -> None:
    options = {**OPTIONS, "max_batch": 3}
    driver.generate(options, [ask("hello", max_tokens=2)])
    driver.call(options, "close")
    [refused] = driver.outcomes(options, [ask("hello")])
    assert isinstance(refused, RefusedError)
    assert "closed" in str(refused)
