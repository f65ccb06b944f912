"""The `pocket` backend: concurrent requests are gathered into batches on one worker thread."""

import asyncio
import contextlib
import hashlib
import json
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._backend import Capability, Delta, GenerationRequest, ThoughtMarkers, require
from ..._errors import (
    ArtifactCorruptError,
    BackendError,
    InvalidInputError,
    MissingPrerequisiteError,
    UnknownNameError,
)
from ..._messages import Completion, Evidence, FinishReason, Usage
from ..._policy import DecodingOptions
from .._limits import check_context, check_vocabulary
from .._pieces import PieceSplitter
from .._stops import StopWatch
from .._switching import SwitchWatch
from .._token_feed import TokenFeed, streamed
from ._chat import SpecialTokens, count_thinking, render_chat
from ._decoding import Row, decode_batch
from ._job import Job, Telling

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "POCKET_OPTIONS",
    "SKILLS_OPTIONS",
    "PocketBackend",
    "pocket_directory",
    "pocket_model_names",
    "pocket_options",
    "pocket_tokenizer",
]

_CONTEXT_TOKENS = 1024
_LARGEST_BATCH = 32  # onnxruntime-genai refuses larger ones.

# Models this small lose more to handing work between threads than a second core gives.
_ONE_THREAD = '{"model": {"decoder": {"session_options": {"intra_op_num_threads": 1}}}}'

POCKET_OPTIONS = DecodingOptions(max_answer_tokens=32, max_thinking_tokens=320)
"""Caps that fit the pocket models' context and never bind on the questions they were made for."""

SKILLS_OPTIONS = DecodingOptions(max_answer_tokens=192, max_thinking_tokens=320)
"""The same for the models with skills, which write steps, criticism and programs as answers."""

_SKILLS = "-skills"


def _models_root() -> Path:
    return Path(str(files("policies"))) / "pocket_models"


def pocket_model_names() -> list[str]:
    """Return the names of the models shipped with the package."""
    root = _models_root()
    return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def pocket_options(models: Iterable[str]) -> DecodingOptions:
    """Return caps that fit all of the models."""
    has_skills = any(model.endswith(_SKILLS) for model in models)
    return SKILLS_OPTIONS if has_skills else POCKET_OPTIONS


def pocket_directory(model: str) -> Path:
    """Return the folder with a shipped model's ONNX file, tokenizer and `config.json`.

    Raises:
        UnknownNameError: No shipped model has this name.
    """
    if model not in pocket_model_names():
        raise UnknownNameError("model", model, pocket_model_names())
    return _models_root() / model


def pocket_tokenizer() -> Callable[[Iterable[str]], list[list[int]]]:
    """Return what gives the token ids of texts; the models without skills have one tokenizer.

    Special tokens are recognised in the texts, and none are added.

    Raises:
        MissingPrerequisiteError: The extra `pocket` is not installed.
    """
    engine = _Engine(pocket_directory("pocket-xs"))
    return lambda texts: [engine.encode(text) for text in texts]


class PocketBackend:
    """A pocket model on the CPU.

    Calls from any number of tasks are batched; greedy results do not depend on what else is
    in the batch. Needs the extra `pocket`.

    Example:
        >>> import asyncio
        >>> from policies import GenerationRequest, user_message
        >>> backend = PocketBackend("pocket-m")
        >>> question = user_message("Compute mod ten, left to right: 7+5*3")
        >>> request = GenerationRequest(question, max_tokens=64, thinking=True)
        >>> asyncio.run(backend.generate(request)).text
        'Answer: 6'
    """

    name = "pocket"
    capabilities = frozenset(Capability) - {Capability.ATTACHMENTS, Capability.EFFORT}

    def __init__(
        self, model: str = "pocket-m", *, directory: Path | None = None, max_batch: int = 32
    ) -> None:
        """Prepare a model; weights are read at the first request.

        Args:
            model: Name of a shipped model, or the name to give to `directory`.
            directory: Folder of another exported model, for example one you trained.
            max_batch: Most requests that are decoded together, 1 to 32.

        Raises:
            UnknownNameError: No shipped model has this name and no directory was given.
            InvalidInputError: `max_batch` is out of range.
        """
        if not 1 <= max_batch <= _LARGEST_BATCH:
            raise InvalidInputError(f"max_batch is {max_batch}, expected 1 to {_LARGEST_BATCH}")
        self.model = model
        self.directory = directory if directory is not None else pocket_directory(model)
        self.max_concurrency = 4 * max_batch
        self._max_batch = max_batch
        self._engine: _Engine | None = None
        self._identity: dict[str, str] | None = None
        self._waiting: list[Job] = []
        self._wake = threading.Condition()
        self._worker: threading.Thread | None = None
        self._is_closed = False

    def identity(self) -> Mapping[str, str]:
        """Return hashes of weights and tokenizer and the runtime's version."""
        if self._identity is None:
            engine = self._loaded()
            self._identity = {
                "backend": self.name,
                "model": self.model,
                "weights_sha256": _hash_files(self.directory, ("model.onnx", "model.onnx.data")),
                "tokenizer_sha256": _hash_files(self.directory, ("tokenizer.json",)),
                "runtime": f"onnxruntime-genai {engine.version}",
            }
        return dict(self._identity)

    async def thought_markers(self) -> ThoughtMarkers:
        """Return the markers of the pocket models' thoughts, which the answer itself opens.

        Raises:
            MissingPrerequisiteError: onnxruntime-genai is not installed.
        """
        return self._loaded().markers

    async def encode(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a text.

        Raises:
            MissingPrerequisiteError: onnxruntime-genai is not installed.
        """
        return tuple(self._loaded().encode(text))

    async def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens included.

        Raises:
            BackendRequestError: A token id is outside the model's vocabulary.
            MissingPrerequisiteError: onnxruntime-genai is not installed.
        """
        engine = self._loaded()
        check_vocabulary(token_ids, engine.n_vocabulary, backend=self.name, model=self.model)
        return engine.whole_text(token_ids)

    async def generate(self, request: GenerationRequest) -> Completion:
        """Return one completion.

        Raises:
            CapabilityError: A turn has attachments, or an effort is asked for.
            BackendRequestError: Prompt and `max_tokens` exceed the model's context (its code is
                then `CONTEXT_EXCEEDED`), or a token id is outside its vocabulary.
            BackendError: The backend is closed.
            MissingPrerequisiteError: onnxruntime-genai is not installed.
        """
        return await self._submitted(request)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Delta | Completion]:
        """Yield the answer token by token, last of all the completion; see `Streams`.

        Raises:
            ThinkrouteError: As `generate`.
        """
        feed = TokenFeed(asyncio.get_running_loop())
        outcome = self._submitted(request, feed)
        engine = self._loaded()
        pieces = PieceSplitter(engine.text, engine.markers, request.continuation)
        who = {"backend": self.name, "model": self.model}
        async with contextlib.aclosing(streamed(feed, pieces, outcome, **who)) as parts:
            async for part in parts:
                yield part

    def _submitted(
        self, request: GenerationRequest, feed: TokenFeed | None = None
    ) -> "asyncio.Future[Completion]":
        """Hand a request to the worker, which the first one starts."""
        if self._is_closed:
            raise self._closed_error()
        require(self, request.needs())
        started = time.perf_counter()
        row = self._row(request, streams=feed is not None)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Completion] = loop.create_future()
        job = Job(row, started, future, loop, feed)
        with self._wake:
            if self._is_closed:
                raise self._closed_error()
            self._waiting.append(job)
            if self._worker is None:
                self._worker = threading.Thread(
                    target=self._work, name=f"thinkroute-{self.model}", daemon=True
                )
                self._worker.start()
            self._wake.notify()
        return future

    async def aclose(self) -> None:
        """Stop the worker; requests under way are finished first."""
        with self._wake:
            self._is_closed = True
            self._wake.notify()
        if self._worker is not None:
            await asyncio.to_thread(self._worker.join)

    def _closed_error(self) -> BackendError:
        return BackendError(
            "the backend is closed", backend=self.name, model=self.model, hint="make a new one"
        )

    def _row(self, request: GenerationRequest, *, streams: bool) -> Row:
        import numpy as np

        engine = self._loaded()
        prompt = engine.encode(render_chat(request.messages, thinking=request.thinking))
        prompt += request.continuation
        who = {"backend": self.name, "model": self.model}
        check_context(len(prompt), request.max_tokens, _CONTEXT_TOKENS, **who)
        given = (*request.continuation, *(request.logit_bias or ()), *request.stop_ids)
        check_vocabulary(given, engine.n_vocabulary, **who)
        bias = None
        if request.logit_bias:
            ids = np.fromiter(request.logit_bias.keys(), dtype=np.int64)
            bias = (ids, np.fromiter(request.logit_bias.values(), dtype=np.float32))
        return Row(
            prompt=prompt,
            max_tokens=request.max_tokens,
            budget=request.thinking_budget,
            temperature=request.temperature,
            top_p=request.top_p,
            rng=_random_numbers(request.seed) if request.temperature > 0 else None,
            wants_logprobs=request.logprobs,
            bias=bias,
            continuation=request.continuation,
            stops=StopWatch.of(request, engine.whole_text),
            switch=SwitchWatch.of(request, engine.encode),
            streams=streams,
        )

    def _loaded(self) -> "_Engine":
        if self._engine is None:
            with self._wake:
                if self._engine is None:
                    self._engine = _Engine(self.directory)
        return self._engine

    def _work(self) -> None:
        while batch := self._next_batch():
            engine = self._loaded()
            rows = [job.row for job in batch]
            telling = Telling(batch, partial(self._send, engine))
            failure: Exception | None = None
            try:
                decode_batch(engine.module, engine.model, rows, engine.special, telling)
            except Exception as error:  # noqa: BLE001 - every caller gets it, see `_deliver`
                failure = error
            self._send(engine, batch, failure)

    def _send(
        self, engine: "_Engine", jobs: Sequence[Job], failure: Exception | None = None
    ) -> None:
        """Have the jobs' own loops deliver what has become of them."""
        ended = time.perf_counter()
        for loop in {job.loop for job in jobs}:
            own = [job for job in jobs if job.loop is loop]
            with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits.
                loop.call_soon_threadsafe(self._deliver, engine, own, ended, failure)

    def _next_batch(self) -> list[Job]:
        """Wait for work; return the jobs that fit best together, none when closed."""
        with self._wake:
            while not self._drop_cancelled():
                if self._is_closed:
                    return []
                self._wake.wait()
            # The longest waiting job sets the pace, so that none waits forever.
            self._waiting.sort(key=self._waiting[0].distance)
            n_jobs = self._n_fitting()
            batch, rest = self._waiting[:n_jobs], self._waiting[n_jobs:]
            self._waiting = sorted(rest, key=lambda job: job.started)
            return batch

    def _drop_cancelled(self) -> bool:
        """Forget jobs that nobody waits for; tell whether any are left."""
        self._waiting = [job for job in self._waiting if not job.is_abandoned]
        return bool(self._waiting)

    def _n_fitting(self) -> int:
        """Return how many jobs from the front share one batch.

        Rows are padded to one length, so a long prompt and a long answer that each fit the
        context may not fit it together.
        """
        longest_prompt = most_tokens = 0
        for index, job in enumerate(self._waiting[: self._max_batch]):
            longest_prompt = max(longest_prompt, len(job.row.prompt))
            most_tokens = max(most_tokens, job.row.max_tokens)
            if longest_prompt + most_tokens > _CONTEXT_TOKENS:
                return index
        return min(len(self._waiting), self._max_batch)

    def _deliver(
        self, engine: "_Engine", jobs: list[Job], ended: float, failure: Exception | None
    ) -> None:
        for job in jobs:
            if job.future.done():  # The caller was cancelled, or has it already.
                continue
            problem = failure
            if problem is None:
                try:
                    job.future.set_result(engine.completion(job, ended - job.started))
                except Exception as error:  # noqa: BLE001 - otherwise the caller waits forever
                    problem = error
            if problem is not None:
                wrapped = BackendError(
                    f"onnxruntime-genai failed: {problem}", backend=self.name, model=self.model
                )
                wrapped.__cause__ = problem
                job.future.set_exception(wrapped)


class _Engine:
    """A loaded model with its tokenizer."""

    def __init__(self, directory: Path) -> None:
        try:
            import onnxruntime_genai as og
        except ImportError as error:
            raise MissingPrerequisiteError.extra("pocket", "onnxruntime_genai") from error
        from importlib.metadata import version

        og.disable_telemetry_events()
        self.module: Any = og
        self.version = version("onnxruntime-genai")
        try:
            config = og.Config(str(directory))
            config.overlay(_ONE_THREAD)
            self.model: Any = og.Model(config)
            self._tokenizer: Any = og.Tokenizer(self.model)
        except Exception as error:  # The runtime raises plain RuntimeError for anything.
            raise ArtifactCorruptError(
                f"the model in {directory} cannot be loaded: {error}",
                hint="reinstall thinkroute, or export the model again",
            ) from error
        config = json.loads((directory / "genai_config.json").read_text(encoding="utf-8"))
        self.n_vocabulary = int(config["model"]["vocab_size"])
        self.special = SpecialTokens(
            end_of_turn=self._tokenizer.to_token_id("<|im_end|>"),
            think=self._tokenizer.to_token_id("<think>"),
            end_think=self._tokenizer.to_token_id("</think>"),
            pad=self._tokenizer.to_token_id("<|endoftext|>"),
        )
        self.markers = ThoughtMarkers((self.special.think,), (self.special.end_think,))
        self._special_texts = _special_texts(directory)
        # The worker decodes too, to find stop texts.
        self._tokenizing = threading.Lock()

    def encode(self, text: str) -> list[int]:
        with self._tokenizing:
            return self._tokenizer.encode(text).tolist()

    def whole_text(self, ids: Sequence[int]) -> str:
        """Return the text of ids with special tokens, which the runtime's decoder leaves out."""
        texts = self._special_texts
        parts: list[str] = []
        for is_special, run in groupby(ids, texts.__contains__):
            own = list(run)
            parts.append("".join(map(texts.__getitem__, own)) if is_special else self.text(own))
        return "".join(parts)

    def completion(self, job: Job, seconds: float) -> Completion:
        row = job.row
        answer_ids = [*row.continuation, *row.generated]
        n_thinking, answer_start = count_thinking(answer_ids, self.special)
        n_given, _ = count_thinking(row.continuation, self.special)
        is_closed = answer_start <= len(answer_ids)
        thinking = None
        if answer_start:
            thinking = self.text(answer_ids[1 : answer_start - 1]).strip("\n")
        return Completion(
            text=self.text(answer_ids[answer_start:]).lstrip("\n"),
            finish_reason=FinishReason.STOP
            if row.stopped or row.was_stopped
            else FinishReason.LENGTH,
            usage=Usage(
                prompt_tokens=len(row.prompt),
                completion_tokens=len(row.generated) + row.stopped,
                thinking_tokens=n_thinking - n_given,
            ),
            seconds=seconds,
            thinking=thinking,
            thinking_closed=is_closed,
            token_ids=tuple(row.generated),
            evidence=_evidence(row, answer_start - len(row.continuation)),
        )

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens left out."""
        if not ids:
            return ""
        with self._tokenizing:
            return str(self._tokenizer.decode(list(ids)))


def _special_texts(directory: Path) -> dict[int, str]:
    fields = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    return {
        int(token["id"]): str(token["content"])
        for token in fields["added_tokens"]
        if token["special"]
    }


def _evidence(row: Row, answer_start: int) -> Evidence | None:
    if not row.wants_logprobs:
        return None
    answer = slice(max(answer_start, 0), len(row.generated))
    return Evidence.of_tokens(row.logprobs[answer], row.margins[answer])


def _random_numbers(seed: int | None) -> "np.random.Generator":
    """Return the random numbers of a request; any integer is a seed."""
    import numpy as np

    return np.random.default_rng(None if seed is None else seed % 2**64)


def _hash_files(directory: Path, names: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for name in names:
        path = directory / name
        if path.exists():
            digest.update(path.read_bytes())
    return digest.hexdigest()
