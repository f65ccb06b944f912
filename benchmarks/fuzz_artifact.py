"""Mutated router artifacts: each loads and decides, or is refused with one clear line.

`python -m benchmarks.fuzz_artifact` runs 100,000 mutants in two processes (about ten minutes);
`--state FILE` makes it resumable. A mutant is told by its number alone: `--only NUMBER` repeats
one and prints its traceback.
"""

import argparse
import asyncio
import faulthandler
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._artifact_mutations import MANIFEST, seal, write_mutant
from benchmarks._report import Report
from calibration import Outcome, OutcomeRecord
from policies import ArtifactError, Evidence, InvalidInputError, NoAdmissibleArmError, Usage
from router import Objective, Router

N_ALL, N_IN_BENCH, CHUNK = 100_000, 5_000, 500
N_TREES = 8
# Of the processor, so that a busy machine finds nothing that is not there; a wait has more time.
MAX_SECONDS, MAX_WAIT_S = 2.0, 20.0
MAX_MORE_BYTES = 2**30
MAX_LINE = 2000
PROMPTS = (
    "",
    "Compute, left to right: 3+4*5-1*2",
    "Who is the boss of the friend of Ada?",
    "数学 \ud800 \x00 $x^2$",
)


class Violation(Exception):  # noqa: N818 - a finding, not an error of this program
    """A mutant did what none may do."""


class _TooSlow(BaseException):
    """Raised by the alarm; nothing that is under test may catch it."""


@dataclass
class Tally:
    """What became of the mutants.

    Attributes:
        loaded: Mutants that loaded, predicted finite numbers and decided.
        refused: Mutants that were refused as they should be.
        violations: Numbers of the others by what they did.
    """

    loaded: int = 0
    refused: int = 0
    violations: dict[str, list[int]] = field(default_factory=dict[str, list[int]])

    @property
    def n(self) -> int:
        return self.loaded + self.refused + sum(map(len, self.violations.values()))

    def add(self, other: "Tally") -> None:
        self.loaded += other.loaded
        self.refused += other.refused
        for what, numbers in other.violations.items():
            self.violations.setdefault(what, []).extend(numbers)


class HashEmbedder:
    """Embeddings without a model: equal texts get equal vectors, and that is all."""

    name, model, dimensions, n_truncated = "hash", "sha256", 12, 0

    def identity(self) -> Mapping[str, str]:
        return {"embedder": self.name, "model": self.model}

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        digests = [hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in texts]
        rows = np.array([list(digest[: self.dimensions]) for digest in digests], dtype=np.float64)
        rows -= 127.5
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    async def aembed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return await asyncio.to_thread(self.embed, texts)

    async def aclose(self) -> None:
        pass


@cache
def seeds() -> tuple[tuple[str, dict[str, bytes]], ...]:
    """Return sound artifacts of different kinds, as files by name.

    They are fitted here on made-up outcomes, so that whatever a router saves is mutated. Which
    learners a fit keeps depends on the outcomes; the kinds that differ in nothing else are made
    from one fit.
    """
    three, two = ("direct", "reasoning@64", "reasoning@max"), ("direct", "reasoning@64")
    many = ("direct", "cot", "reasoning@8", "reasoning@64")
    blended = _saved(_records(60, two))
    small = _saved(_records(20, three))
    found = {
        "means": small,
        "boosted": _with_blend(blended, {"boosted": 1.0}),
        "forest": _with_blend(blended, {"means": 0.5, "forest": 0.5}),
        "neighbours": _with_blend(blended, {"linear": 0.25, "boosted": 0.25, "neighbours": 0.5}),
        "per arm": _with_blend(blended, {"boosted-per-arm": 1.0}),
        "isotonic": _with_steps(small),
        "one arm": _saved(_records(60, two[:1])),
        "many arms": _saved(_records(60, many, ("a", "b", "c"))),
        "cascade": _saved(_records(300, two)),
        "guarantee": _saved(_records(300, two, has_evidence=False), max_loss=0.4, confidence=0.6),
        "embedding": _saved(_records(60, two), embedder=HashEmbedder()),
        "mean cost": _with_objective(blended, Objective.on_average(1e9)),
    }
    for name, member in {
        "cascade": "cascade.json",
        "embedding": "embedding_mean.npy",
        "forest": "forest_0.txt",
        "per arm": "trees_by_arm_0.txt",
        "boosted": "trees_correct.txt",
    }.items():
        if not found[name].get(member):
            raise RuntimeError(f"the seed {name!r} has no {member!r}: fit it on other outcomes")
    return tuple(found.items())


def _saved(records: list[OutcomeRecord], **options: Any) -> dict[str, bytes]:
    """Fit a router and return its files, with a few trees only."""
    backends = {records[0].model: {"backend": "fake"}}
    router = Router.fit(records, backends=backends, **options)
    with tempfile.TemporaryDirectory() as parent:
        path = Path(parent) / "router"
        router.save(path)
        files = {file.name: file.read_bytes() for file in path.iterdir()}
    for member in [each for each in files if each.endswith(".txt")]:
        files[member] = _few_trees(files[member])
    seal(files)
    return files


def _with_blend(files: Mapping[str, bytes], blend: Mapping[str, float]) -> dict[str, bytes]:
    """Return a router that blends other learners; where it has no trees it takes its others."""
    made = {name: data for name, data in files.items() if not name.startswith("forest_")}
    model = json.loads(files["model.json"])
    model["blend"] = dict(blend)
    made["model.json"] = json.dumps(model).encode()
    if "boosted" in blend:
        made["trees_correct.txt"] = files["trees_correct.txt"] or files["trees_tokens.txt"]
    n_arms = len(model["arms"])
    for learner, stem, n in (
        ("forest", "forest", n_arms + 1),
        ("boosted-per-arm", "trees_by_arm", n_arms),
    ):
        for index in range(n if learner in blend else 0):
            own = files.get(f"forest_{index}.txt", b"")
            made[f"{stem}_{index}.txt"] = own or files["trees_tokens.txt"]
    seal(made)
    return made


def _with_objective(files: Mapping[str, bytes], objective: Objective) -> dict[str, bytes]:
    manifest = json.loads(files[MANIFEST]) | {"objective": objective.to_json()}
    made = {**files, MANIFEST: json.dumps(manifest).encode()}
    seal(made)
    return made


def _with_steps(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return a router that is calibrated by isotonic steps, which a fit needs many outcomes for."""
    made = dict(files)
    model = json.loads(files["model.json"])
    steps = [[0.1, 0.4, 0.8], [0.2, 0.5, 0.9]]
    model["calibration"] |= {"method": "isotonic", "knots": [steps] * len(model["arms"])}
    made["model.json"] = json.dumps(model).encode()
    seal(made)
    return made


def _few_trees(text: bytes) -> bytes:
    """Keep the first trees of a LightGBM model: more cost time and reach nothing else."""
    head, *trees = text.split(b"\nTree=")
    if len(trees) <= N_TREES:
        return text
    tail = trees[-1][trees[-1].find(b"end of trees") :]
    return b"\nTree=".join((head, *trees[:N_TREES])) + b"\n\n" + tail


def _records(
    n_questions: int,
    policies: tuple[str, ...],
    models: tuple[str, ...] = ("m",),
    *,
    has_evidence: bool = True,
) -> list[OutcomeRecord]:
    rng = random.Random(n_questions)
    records: list[OutcomeRecord] = []
    for index in range(n_questions):
        level = rng.randint(1, 6)
        is_math = rng.random() < 0.5
        sums = "+".join(str(rng.randrange(10)) for _ in range(level + 1))
        chain = " of the ".join(rng.choice(("friend", "boss")) for _ in range(level))
        prompt = f"Compute, left to right: {sums}" if is_math else f"Who is the {chain} of Ada?"
        for model in models:
            for position, policy in enumerate(policies):
                p = 0.9 if not is_math or position else 0.9 - 0.12 * level
                tokens = 5 + position * 20 * level
                is_right = rng.random() < p
                logprob = -0.1 - 0.1 * rng.random() - 0.6 * (not is_right)
                records.append(
                    OutcomeRecord(
                        question_id=f"q{index}",
                        group=f"q{index}",
                        task="sums" if is_math else "chains",
                        task_type="math-oe" if is_math else "general-oe",
                        prompt=prompt,
                        model=model,
                        size=1_000_000,
                        policy=policy,
                        outcome=Outcome.CORRECT if is_right else Outcome.WRONG,
                        prompt_tokens=len(prompt),
                        completion_tokens=tokens,
                        flops=None if model == "b" else 2e6 * tokens,
                        seconds=0.01 * tokens,
                        evidence=(
                            Evidence(logprob, 2.0 * logprob, -logprob) if has_evidence else None
                        ),
                    )
                )
    return records


def judge(folder: Path) -> str:
    """Load the artifact in a folder and use it; return `loaded` or `refused`.

    Raises:
        Violation: It did anything else; the text says what and where.
    """
    try:
        with _limits():
            verdict = _use(folder)
    except _TooSlow as error:
        raise Violation(f"took too long at {_place(error)}") from error
    except Violation:
        raise
    except (Exception, MemoryError, RecursionError) as error:
        text = " ".join(str(error).split())[:70]
        raise Violation(f"{type(error).__name__} at {_place(error)}: {text}") from error
    return verdict


def _use(folder: Path) -> str:
    try:
        router = Router.load(folder, embedder=HashEmbedder())
    except (ArtifactError, InvalidInputError) as error:
        if not isinstance(error, ArtifactError) and error.code != "other-embedder":
            raise
        line = str(error)
        if len(line) > MAX_LINE or not line or not line.isprintable():
            what = "is long" if len(line) > MAX_LINE else "is no plain line"
            raise Violation(f"the error {what}, from {_place(error)}") from error
        return "refused"
    _check_numbers(router)
    hints = [None, *router.task_types[:2], None]
    for prompt, task in zip(PROMPTS, hints, strict=False):
        _decide(router, prompt, task)
    objective = Objective.trade(1e-3, router.objective.unit)
    json.dumps(router.decide(PROMPTS[1], objective=objective).to_json(), allow_nan=False)
    json.dumps(router.describe(), allow_nan=False)
    return "loaded"


def _decide(router: Router, prompt: str, task: str | None) -> None:
    try:
        decision = router.decide(prompt, task)
    except NoAdmissibleArmError:  # caps and strict targets may be out of reach
        return
    if decision.arm not in router.arms:
        raise Violation("decided for an arm that is not there")
    json.dumps(decision.to_json(), allow_nan=False)
    json.dumps(router.explain(prompt, task).to_json(), allow_nan=False)
    if decision.escalation is None:
        return
    for evidence in (Evidence(-9.0, -99.0, 0.0), Evidence(-0.01, -0.02, 9.0), None):
        after = router.escalate(decision, evidence, Usage(3, 5))
        json.dumps(after.to_json(), allow_nan=False)


def _check_numbers(router: Router) -> None:
    predictions = router.predict(PROMPTS)
    p, posterior = predictions.p_correct, predictions.posterior
    if not (np.isfinite(p).all() and (p >= 0).all() and (p <= 1).all()):
        raise Violation("predicted a p(correct) that is no probability")
    if not (np.isfinite(posterior).all() and np.allclose(posterior.sum(axis=1), 1.0)):
        raise Violation("predicted task types that are no probabilities")
    for name in ("tokens", "prompt_tokens", "flops", "seconds"):
        values: Any = getattr(predictions, name)
        may_be_unknown = name in {"flops", "seconds"}
        unknown = np.isnan(values).all(axis=0) & may_be_unknown
        known = values[:, ~unknown]
        if not (np.isfinite(known).all() and (known >= 0).all()):
            raise Violation(f"predicted {name} that are negative or not finite")


@contextmanager
def _limits() -> Generator[None]:
    """Limit the time of what runs inside and turn warnings into errors."""

    def ring(signum: int, frame: FrameType | None) -> None:
        raise _TooSlow

    timers = {
        signal.SIGPROF: (signal.ITIMER_PROF, MAX_SECONDS),
        signal.SIGALRM: (signal.ITIMER_REAL, MAX_WAIT_S),
    }
    previous = {number: signal.signal(number, ring) for number in timers}
    for timer, seconds in timers.values():
        signal.setitimer(timer, seconds)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        for number, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, previous[number])


def _place(error: BaseException) -> str:
    """Return file and function of the innermost frame that is the product's own."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame for frame in frames if "/router/" in frame.filename or "/policies/" in frame.filename
    ]
    return f"{Path(own[-1].filename).name}:{own[-1].name}" if own else "nowhere of ours"


def write_case(number: int, folder: Path, seed: int = 0) -> str:
    """Write mutant `number` into a fresh folder and return how it was made."""
    rng = random.Random(f"{seed}:{number}")
    name, files = rng.choice(seeds())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return f"{name}: {write_mutant(files, rng, folder)}"


def run_cases(numbers: range, workspace: Path, seed: int = 0) -> Tally:
    """Make and judge mutants, one after the other."""
    tally = Tally()
    for number in numbers:
        folder = workspace / str(number)
        (workspace / "current").write_text(str(number))
        write_case(number, folder, seed)
        try:
            verdict = judge(folder)
        except Violation as violation:
            tally.violations.setdefault(str(violation), []).append(number)
        else:
            tally.loaded += verdict == "loaded"
            tally.refused += verdict == "refused"
        shutil.rmtree(folder)
        (workspace / f"{number}.outside").unlink(missing_ok=True)
    return tally


def _begin_worker() -> None:
    """Bound the memory of a worker process."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MAX_MORE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _run_chunk(start: int, end: int, seed: int, workspace: str) -> Tally:
    # A hang inside C code never comes back to the alarm: end the process, loudly.
    faulthandler.dump_traceback_later(MAX_WAIT_S * CHUNK, exit=True)
    own = Path(workspace) / str(os.getpid())
    own.mkdir(parents=True, exist_ok=True)
    try:
        return run_cases(range(start, end), own, seed)
    finally:
        faulthandler.cancel_dump_traceback_later()


def fuzz(n: int, n_workers: int, seed: int = 0, state: Path | None = None) -> Tally:
    """Run mutants `0..n-1` in worker processes; chunks that `state` has are not run again."""
    digest = hashlib.sha256()
    for _, files in seeds():
        for name in sorted(set(files) - {MANIFEST}):
            digest.update(files[name])
    key = f"{seed}-{digest.hexdigest()[:16]}"
    total, done = Tally(), _read_state(state, key)
    for part in done.values():
        total.add(part)
    starts = [start for start in range(0, n, CHUNK) if start not in done]
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(dir=memory) as workspace,
        ProcessPoolExecutor(n_workers, initializer=_begin_worker) as pool,
    ):
        futures = {
            pool.submit(_run_chunk, start, min(start + CHUNK, n), seed, workspace): start
            for start in starts
        }
        for future in as_completed(futures):
            try:
                part = future.result()
            except Exception as error:
                pool.shutdown(cancel_futures=True)
                if not isinstance(error, BrokenProcessPool):
                    raise
                at = [int(file.read_text()) for file in Path(workspace).glob("*/current")]
                raise RuntimeError(f"a worker died at one of the mutants {at}") from error
            total.add(part)
            _append_state(state, key, futures[future], part)
            print(f"{total.n:,} of {n:,}, {len(total.violations)} kinds", file=sys.stderr)
    return total


def _read_state(state: Path | None, key: str) -> dict[int, Tally]:
    done: dict[int, Tally] = {}
    for line in state.read_text().splitlines() if state is not None and state.exists() else ():
        row: dict[str, Any] = json.loads(line)
        if row["key"] == key:  # other seeds or another model make other mutants
            done[row["start"]] = Tally(row["loaded"], row["refused"], row["violations"])
    return done


def _append_state(state: Path | None, key: str, start: int, part: Tally) -> None:
    if state is not None:
        row = {"key": key, "start": start, **vars(part)}
        with state.open("a") as file:
            file.write(json.dumps(row) + "\n")


def run(report: Report) -> None:
    """Fuzz a share of the mutants; the module run by itself does all of them."""
    start = time.perf_counter()
    tally = fuzz(N_IN_BENCH, 2)
    n_bad = sum(map(len, tally.violations.values()))
    report.add(
        f"{N_IN_BENCH:,} mutated artifacts, not refused cleanly",
        n_bad,
        "mutants",
        at_most=0,
        note=f"{tally.refused:,} refused, {tally.loaded:,} load and decide; all "
        f"{N_ALL:,}: python -m benchmarks.fuzz_artifact",
    )
    report.add("rate", tally.n / (time.perf_counter() - start), "mutants/s")


def summary(tally: Tally) -> Mapping[str, Any]:
    """Return counts and, for each kind of violation, how often and the first numbers."""
    kinds = Counter({what: len(numbers) for what, numbers in tally.violations.items()})
    return {
        "n": tally.n,
        "loaded": tally.loaded,
        "refused": tally.refused,
        "violations": [
            {"what": what, "n": n, "mutants": sorted(tally.violations[what])[:3]}
            for what, n in kinds.most_common()
        ],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=N_ALL)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", type=Path)
    parser.add_argument("--only", type=int, metavar="NUMBER")
    arguments = parser.parse_args()
    if arguments.only is not None:
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / "artifact"
            print(write_case(arguments.only, folder, arguments.seed))
            print(judge(folder))
        return 0
    tally = fuzz(arguments.n, arguments.workers, arguments.seed, arguments.state)
    print(json.dumps(summary(tally), indent=1))
    return 1 if tally.violations else 0


if __name__ == "__main__":
    sys.exit(main())
