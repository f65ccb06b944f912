"""Routers with an embedder: what only an embedding tells is learned, kept and asked for."""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration import Outcome, OutcomeRecord
from policies import (
    ArtifactCorruptError,
    BackendConnectionError,
    ConfigError,
    InvalidInputError,
    Message,
)
from policies.backends.fake import FakeBackend
from router import Objective, OutcomeMatrix, Router, evaluate

DIMENSIONS = 12
ARMS = ("direct", "reasoning@64")


def is_hard(prompt: str) -> bool:
    """What an embedding tells and no word does: a bit of the prompt's hash."""
    return hashlib.sha256(prompt.encode()).digest()[0] % 2 == 1


class FakeEmbedder:
    """Knows which prompts are hard, and is asked like a real one."""

    name = "fake"
    n_truncated = 0

    def __init__(self, model: str = "m", failure: Exception | None = None) -> None:
        self.model = model
        self.dimensions: int | None = DIMENSIONS
        self.asked: list[list[str]] = []
        self.loops: list[asyncio.AbstractEventLoop] = []
        self._failure = failure

    def identity(self) -> Mapping[str, str]:
        return {"embedder": self.name, "model": self.model}

    async def aembed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return self.embed(texts)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        assert all(text.strip() for text in texts), "a blank text"
        if self._failure is not None:
            raise self._failure
        self.asked.append(list(texts))
        rows = np.zeros((len(texts), DIMENSIONS))
        for row, text in zip(rows, texts, strict=True):
            noise = np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))
            row[:] = 0.1 * noise.normal(size=DIMENSIONS)
            row[0] += 1.0 if is_hard(text) else -1.0
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows.astype(np.float32)

    async def aclose(self) -> None:
        pass


def draw(n: int, seed: int = 0) -> list[OutcomeRecord]:
    """Hard prompts need a thought; nothing but the embedding tells which are hard."""
    rng = np.random.default_rng(seed)
    records: list[OutcomeRecord] = []
    for question in range(n):
        prompt = f"Look up item {int(rng.integers(10**9))} please"
        for policy in ARMS:
            p = 0.92 if policy != "direct" or not is_hard(prompt) else 0.12
            records.append(
                OutcomeRecord(
                    question_id=f"q{seed}-{question}",
                    group=f"q{seed}-{question}",
                    task="look-up",
                    task_type="general-oe",
                    prompt=prompt,
                    model="toy",
                    size=1_000_000,
                    policy=policy,
                    outcome=Outcome.CORRECT if rng.random() < p else Outcome.WRONG,
                    prompt_tokens=8,
                    completion_tokens=4 if policy == "direct" else 60,
                    flops=None,
                    seconds=0.0,
                )
            )
    return records


@pytest.fixture(scope="module")
def matrix() -> OutcomeMatrix:
    return OutcomeMatrix.from_records(draw(300))


@pytest.fixture(scope="module")
def fresh() -> OutcomeMatrix:
    return OutcomeMatrix.from_records(draw(300, seed=7))


@pytest.fixture(scope="module")
def routed(matrix: OutcomeMatrix) -> Router:
    return Router.fit(matrix, embedder=FakeEmbedder())


@pytest.fixture
def saved(routed: Router, tmp_path: Path) -> Path:
    routed.save(tmp_path / "router")
    return tmp_path / "router"


def accuracy(router: Router, matrix: OutcomeMatrix, tradeoff: float) -> tuple[float, float]:
    """Return accuracy and mean tokens of what is chosen."""
    decisions = router.decide_many(matrix.prompts, objective=Objective.trade(tradeoff))
    names = [arm.name for arm in matrix.arms]
    choice = [names.index(decision.arm.name) for decision in decisions]
    rows = np.arange(matrix.n_questions)
    return float(matrix.correct[rows, choice].mean()), float(matrix.tokens[rows, choice].mean())


def test_what_only_an_embedding_tells_is_learned(
    matrix: OutcomeMatrix, fresh: OutcomeMatrix, routed: Router
) -> None:
    blind = Router.fit(matrix)
    # At this price half of the questions are worth a thought: .8 of accuracy for 56 tokens.
    found, spent = accuracy(routed, fresh, 0.007)
    guessed, spent_blindly = accuracy(blind, fresh, 0.007)
    assert found > 0.85
    assert spent == pytest.approx(32, abs=5)
    value, value_blindly = found - 0.007 * spent, guessed - 0.007 * spent_blindly
    assert value > value_blindly + 0.1
    p = routed.predict(fresh.prompts).p_correct[:, 0]
    hard = np.array([is_hard(prompt) for prompt in fresh.prompts])
    assert p[~hard].mean() - p[hard].mean() > 0.6


def test_a_saved_router_decides_the_same_with_its_embedder(
    routed: Router, saved: Path, fresh: OutcomeMatrix
) -> None:
    loaded = Router.load(saved, embedder=FakeEmbedder())
    assert loaded.artifact_id == routed.artifact_id
    first, second = routed.predict(fresh.prompts), loaded.predict(fresh.prompts)
    np.testing.assert_array_equal(first.p_correct, second.p_correct)
    np.testing.assert_array_equal(first.tokens, second.tokens)
    assert loaded.decide(fresh.prompts[0]).arm == routed.decide(fresh.prompts[0]).arm


def test_a_saved_router_says_what_it_lacks(saved: Path) -> None:
    loaded = Router.load(saved)
    for ask in (
        lambda: loaded.decide("item"),
        lambda: loaded.decide_many(["item"]),
        lambda: loaded.predict(["item"]),
        lambda: loaded.explain("item"),
        lambda: loaded.complete("item"),
    ):
        with pytest.raises(ConfigError, match="no embedder") as caught:
            ask()
        assert caught.value.code == "missing-embedder"
        assert "embedder=" in caught.value.hint
    bound = loaded.bind(embedder=FakeEmbedder())
    assert bound.decide("item").arm in bound.arms
    # Binding something else keeps it.
    assert bound.bind({}).decide("item").arm in bound.arms


def test_another_embedder_is_refused(saved: Path) -> None:
    other = FakeEmbedder("other")
    loaded = Router.load(saved)
    for use in (lambda: Router.load(saved, embedder=other), lambda: loaded.bind(embedder=other)):
        with pytest.raises(InvalidInputError, match="model is 'other', expected 'm'") as caught:
            use()
        assert caught.value.code == "other-embedder"


def test_one_prompt_and_many_prompts_are_decided_alike(
    routed: Router, fresh: OutcomeMatrix
) -> None:
    embedder = FakeEmbedder()
    bound = routed.bind(embedder=embedder)
    prompts = [*fresh.prompts[:20], "", " \n"]
    many = bound.decide_many(prompts)
    assert embedder.asked == [prompts[:20]]  # one call, and blank texts are not sent
    for prompt, decision in zip(prompts, many, strict=True):
        alone = bound.decide(prompt)
        assert (alone.arm, alone.candidates) == (decision.arm, decision.candidates)
    turns = [Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", prompts[0])]
    assert [each.p for each in bound.decide(turns).candidates] == [
        each.p for each in many[0].candidates
    ]


async def test_completions_embed_without_blocking(routed: Router, fresh: OutcomeMatrix) -> None:
    embedder = FakeEmbedder()
    backend = FakeBackend(lambda request: "found", model="toy")
    bound = routed.bind({"toy": backend}, embedder=embedder)
    answers = await asyncio.gather(
        *(bound.acomplete(prompt, objective=Objective.trade(0.007)) for prompt in fresh.prompts[:6])
    )
    assert [len(texts) for texts in embedder.asked] == [1] * 6
    assert set(embedder.loops) == {asyncio.get_running_loop()}
    for prompt, answer in zip(fresh.prompts[:6], answers, strict=True):
        expected = routed.decide(prompt, objective=Objective.trade(0.007))
        assert answer.decision.candidates == expected.candidates
        assert answer.text == "found"
    await bound.acomplete(" ", objective=Objective.trade(0.007))
    assert len(embedder.asked) == 6


async def test_an_embedder_in_trouble_is_an_error_and_no_guess(routed: Router) -> None:
    trouble = BackendConnectionError("no route", backend="fake", model="m")
    bound = routed.bind(embedder=FakeEmbedder(failure=trouble))
    with pytest.raises(BackendConnectionError):
        bound.decide("item")
    with pytest.raises(BackendConnectionError):
        await bound.acomplete("item")


def test_the_artifact_holds_the_projection_and_no_text(
    saved: Path, matrix: OutcomeMatrix, routed: Router
) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    members = {"embedding.json", "embedding_mean.npy", "embedding_components.npy"}
    assert members <= set(manifest["members"])
    document = json.loads((saved / "embedding.json").read_text())
    assert document["identity"] == {"embedder": "fake", "model": "m"}
    assert document["dimensions"] == DIMENSIONS
    for name in members:
        assert matrix.prompts[0].encode() not in (saved / name).read_bytes()
    for name in members:
        kept = (saved / name).read_bytes()
        (saved / name).write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        with pytest.raises(ArtifactCorruptError):
            Router.load(saved, embedder=FakeEmbedder())
        (saved / name).write_bytes(kept)
    assert Router.load(saved).artifact_id == routed.artifact_id


def test_a_router_without_embeddings_has_no_such_members_and_asks_nobody(
    matrix: OutcomeMatrix, tmp_path: Path
) -> None:
    embedder = FakeEmbedder()
    blind = Router.fit(matrix).bind(embedder=embedder)
    blind.save(tmp_path / "blind")
    assert not [path for path in (tmp_path / "blind").iterdir() if "embedding" in path.name]
    blind.decide("item")
    assert embedder.asked == []


def test_nothing_is_fitted_on_the_questions_that_certify(matrix: OutcomeMatrix) -> None:
    embedder = FakeEmbedder()
    router = Router.fit(matrix, embedder=embedder, max_loss=0.2, confidence=0.9)
    assert router.guarantee is not None
    fitting, certifying = embedder.asked[0], [t for asked in embedder.asked[1:] for t in asked]
    assert not set(fitting) & set(certifying)
    assert set(fitting) | set(certifying) == set(matrix.prompts)
    assert len(certifying) == router.describe()["n_calibration"]
    # The fit is that of the fitting questions alone.
    rows = [row for row, prompt in enumerate(matrix.prompts) if prompt in set(fitting)]
    alone = Router.fit(matrix.rows(np.array(rows)), embedder=FakeEmbedder())
    prompts = certifying[:20]
    np.testing.assert_array_equal(
        router.predict(prompts).p_correct, alone.predict(prompts).p_correct
    )


def test_a_certified_router_saves_what_only_the_embedding_allows(
    matrix: OutcomeMatrix, fresh: OutcomeMatrix
) -> None:
    router = Router.fit(matrix, embedder=FakeEmbedder(), max_loss=0.1, confidence=0.9)
    assert router.guarantee is not None
    assert router.guarantee.cost is not None
    assert router.guarantee.cost.saved > 0.2
    decisions = router.decide_many(fresh.prompts)
    assert {decision.policy for decision in decisions} == set(ARMS)


def test_a_router_with_embeddings_can_be_evaluated(routed: Router, fresh: OutcomeMatrix) -> None:
    embedder = FakeEmbedder()
    result = evaluate(fresh, router=routed.bind(embedder=embedder), margin=0.1)
    assert {text for texts in embedder.asked for text in texts} == set(fresh.prompts)
    assert (result.n, result.n_seen) == (fresh.n_questions, 0)
    assert result.headline.is_certified
    assert result.headline.tokens_saved > 0.2


def test_blank_prompts_alone_cannot_be_embedded() -> None:
    records = [
        OutcomeRecord(
            question_id=f"q{n}", group=f"q{n}", task="t", task_type="general-oe", prompt=" ",
            model="toy", size=None, policy="direct", outcome=Outcome.CORRECT, prompt_tokens=1,
            completion_tokens=1, flops=None, seconds=0.0,
        )
        for n in range(60)
    ]  # fmt: skip
    with pytest.raises(InvalidInputError, match="all 60 prompts are blank"):
        Router.fit(records, embedder=FakeEmbedder())
