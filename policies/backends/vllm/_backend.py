"""The public class of the backend: prompts as token ids in, completions out."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import aclosing
from pathlib import Path

from ..._backend import Capability, Delta, GenerationRequest, ThoughtMarkers, require
from ..._errors import (
    BackendError,
    BackendRequestError,
    CapabilityError,
    InvalidInputError,
)
from ..._messages import Completion, FinishReason, user_message
from .._chat_template import ChatTemplate
from .._checkpoint import checked_model, checkpoint_identity, read_fields, resolve_checkpoint
from .._json import Json
from .._limits import check_vocabulary
from .._local_model import GeneratedIds, LocalModel
from .._pieces import PieceSplitter
from .._switch_arguments import SwitchArguments
from .._switching import switch_spellings
from .._thought_ids import ThoughtTokens
from .._token_feed import TokenFeed, streamed
from ._engine import (
    Engine,
    EngineOutput,
    EngineSettings,
    load_tokenizer,
    thought_texts,
    vllm_version,
)
from ._wire import canonical, wire_of

__all__ = ["VllmBackend"]

_FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "repetition": FinishReason.REPETITION,
}
"""vLLM's other reasons, `abort` and `error`, are no answers."""

_OWN_ARGUMENTS = frozenset(
    {
        "model",
        "tokenizer",
        "dtype",
        "max_model_len",
        "gpu_memory_utilization",
        "tensor_parallel_size",
        "enforce_eager",
        "trust_remote_code",
        "reasoning_config",
        "reasoning_parser",
        "enable_lora",
        "enable_prefix_caching",
        "disable_log_stats",
        "enable_log_requests",
        "logprobs_mode",
        "logits_processors",
    }
)
"""Engine options that the backend's own options set, or that its answers depend on."""


_HELLO = user_message("Hello?")
_EFFORTS = ("minimal", "low", "medium", "high", "xhigh", "max")
_EFFORT_ARGUMENT = "reasoning_effort"
"""The words and the template's variable, as vLLM's server has them."""

_ONLY_ROOM = frozenset({"gpu_memory_utilization", "max_model_len"})
"""Engine options that say how much fits, not what comes out."""


class VllmBackend:
    """A model in a vLLM engine that this process starts.

    The engine starts at the first request, in a child process; requests from any number of
    tasks and event loops share its continuous batching and its prefix cache. Prompts are
    rendered by the model's own chat template and go in as token ids; thought and answer are
    told apart by token ids. `Completion.token_ids` leaves the end of turn out.

    Needs the extra `vllm`. One instance serves every arm of its model; a second instance is a
    second engine with memory of its own.

    Example:
        >>> backend = VllmBackend("Qwen/Qwen3-8B", max_model_len=8192)
        >>> backend.name, backend.model
        ('vllm', 'Qwen/Qwen3-8B')
    """

    name = "vllm"

    def __init__(  # noqa: PLR0913 - each option is a setting that users write by name
        self,
        model: str,
        *,
        directory: str | Path | None = None,
        revision: str | None = None,
        adapter: str | Path | None = None,
        dtype: str = "auto",
        max_model_len: int | None = None,
        gpu_memory_utilization: float | None = None,
        tensor_parallel_size: int = 1,
        enforce_eager: bool = False,
        max_concurrency: int = 256,
        reasoning_parser: str | None = "qwen3",
        forced_end: str | None = None,
        thinking_argument: str = "enable_thinking",
        template_arguments: Mapping[str, Json] | None = None,
        trust_remote_code: bool = False,
        penalises_switches: bool = False,
        engine_options: Mapping[str, Json] | None = None,
    ) -> None:
        """Prepare a model; nothing is loaded yet.

        Args:
            model: A folder, `owner/name` of a model hub, or the name to give to `directory`.
            directory: Folder with the model's files.
            revision: Branch, tag or commit on the hub.
            adapter: Folder of a LoRA adapter to answer with.
            dtype: Of weights and activations; `auto` takes the model's own.
            max_model_len: Longest prompt and answer together, in tokens; `None` for the model's.
            gpu_memory_utilization: Share of the GPU's memory to use; `None` for vLLM's default.
            tensor_parallel_size: GPUs that share each layer.
            enforce_eager: Whether to do without CUDA graphs: starts faster, runs slower.
            max_concurrency: How many calls at once are useful.
            reasoning_parser: vLLM's name for the model's thought markers; `None` for a model
                that does not think, which takes no budgets.
            forced_end: Text that ends a thought at its budget, ending with the model's own
                marker; `None` for the marker alone. Needs vLLM's second model runner (a GPU).
            thinking_argument: The chat template's variable that turns thinking on and off.
            template_arguments: Other variables of the chat template.
            trust_remote_code: Whether code that comes with the model may run here.
            penalises_switches: Whether requests may have a switch penalty. Every step of the
                engine then waits for the tokens of the one before; needs vLLM's first model
                runner (on a GPU, VLLM_USE_V2_MODEL_RUNNER=0 in the environment).
            engine_options: More fields of vLLM's `AsyncEngineArgs`, such as
                `{"max_num_seqs": 64}`.

        Raises:
            InvalidInputError: A value is out of range, a folder is not there, or an engine
                option is set by an option of its own.
        """
        options = dict(engine_options or {})
        problems = [
            text
            for is_bad, text in (
                (max_concurrency < 1, f"max_concurrency is {max_concurrency}, expected >= 1"),
                (
                    tensor_parallel_size < 1,
                    f"tensor_parallel_size is {tensor_parallel_size}, expected >= 1",
                ),
                (
                    max_model_len is not None and max_model_len < 1,
                    f"max_model_len is {max_model_len}, expected >= 1",
                ),
                (
                    gpu_memory_utilization is not None and not 0 < gpu_memory_utilization <= 1,
                    f"gpu_memory_utilization is {gpu_memory_utilization}, expected (0, 1]",
                ),
                (
                    reasoning_parser is None and forced_end is not None,
                    "forced_end is set although reasoning_parser is None",
                ),
                *(
                    (True, f"engine option {name!r} is the backend's own")
                    for name in sorted(_OWN_ARGUMENTS & options.keys())
                ),
            )
            if is_bad
        ]
        if problems:
            raise InvalidInputError("; ".join(problems), code="invalid-backend-options")
        place = checked_model(model if directory is None else Path(directory), adapter)
        self.model = model
        self.max_concurrency = max_concurrency
        self._place = place
        self._revision = revision
        self._adapter = None if adapter is None else Path(adapter).expanduser().resolve()
        self._reasoning_parser = reasoning_parser
        self._forced_end = forced_end
        self._thinking_argument = thinking_argument
        self._template_arguments = dict(template_arguments or {})
        self._trust_remote_code = trust_remote_code
        self._penalises_switches = penalises_switches
        self._arguments: dict[str, Json] = {
            **options,
            "dtype": dtype,
            "tensor_parallel_size": tensor_parallel_size,
            "enforce_eager": enforce_eager,
            "trust_remote_code": trust_remote_code,
            "enable_prefix_caching": True,
        }
        if max_model_len is not None:
            self._arguments["max_model_len"] = max_model_len
        if gpu_memory_utilization is not None:
            self._arguments["gpu_memory_utilization"] = gpu_memory_utilization
        self._lock = threading.Lock()
        self._known: LocalModel | None = None
        self._by_effort: dict[str, LocalModel] = {}
        self._thoughts: ThoughtTokens | None = None
        self._identity: dict[str, str] | None = None
        self._engine: Engine | None = None
        self._under_way: set[Future[EngineOutput]] = set()
        self._is_closed = False

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the engine can do with this model; reads the tokenizer once.

        THINKING_SWITCH is there if the chat template's prompt changes with the switch, budgets
        if besides a reasoning parser is named whose end marker is one token.
        """
        return self._loaded().capabilities

    def identity(self) -> Mapping[str, str]:
        """Return source, hashes and versions.

        Hashes are over configuration, tokenizer with chat template, weights and adapter; large
        weight files are hashed in part, enough to tell two trained models apart.
        """
        if self._identity is None:
            known = self._loaded()
            self._identity = {
                "backend": self.name,
                "model": self.model,
                **known.source,
                **checkpoint_identity(known.folder, self._adapter),
                "runtime": f"vllm {vllm_version()}",
                "reasoning_parser": self._reasoning_parser or "",
                "forced_end": self._forced_end or "",
                "thinking_argument": self._thinking_argument,
                "template_arguments": canonical(self._template_arguments),
                "engine": canonical(
                    {k: v for k, v in self._arguments.items() if k not in _ONLY_ROOM}
                ),
                **({"penalises_switches": "1"} if self._penalises_switches else {}),
            }
        return dict(self._identity)

    async def thought_markers(self) -> ThoughtMarkers:
        """Return the markers of this model's thoughts.

        Raises:
            CapabilityError: The model has no thoughts that can be told by token ids.
        """
        known = await asyncio.to_thread(self._loaded)
        return known.told_markers(self.name, self.model)

    async def encode(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a text; reads the tokenizer once.

        Raises:
            MissingPrerequisiteError: vLLM is not installed.
            InvalidInputError: The tokenizer cannot be loaded.
        """
        known = await asyncio.to_thread(self._loaded)
        return known.template.ids(text)

    async def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens included; reads the tokenizer once.

        Raises:
            BackendRequestError: A token id is negative.
            MissingPrerequisiteError: vLLM is not installed.
            InvalidInputError: The tokenizer cannot be loaded.
        """
        known = await asyncio.to_thread(self._loaded)
        check_vocabulary(token_ids, None, backend=self.name, model=self.model)
        return known.template.whole_text(token_ids)

    async def generate(self, request: GenerationRequest) -> Completion:
        """Return one completion.

        Raises:
            CapabilityError: The model cannot do what the request needs.
            BackendRequestError: Prompt and `max_tokens` exceed the context (its code is then
                `CONTEXT_EXCEEDED`), a token id is outside the vocabulary, or vLLM refuses the
                request.
            BackendError: The engine did not start, died, or gave the request up; the last of
                these is worth another try.
            MissingPrerequisiteError: vLLM is not installed, or finds no device.
            InvalidInputError: vLLM refuses the engine's options.
        """
        known, prompt = await self._rendered(request)
        return await self._completed(known, prompt, request)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Delta | Completion]:
        """Yield the answer as the engine steps, last of all the completion; see `Streams`.

        Raises:
            ThinkrouteError: As `generate`.
            BackendResponseError: The model's tokenizer cannot decode an answer piece by piece.
        """
        known, prompt = await self._rendered(request)
        feed = TokenFeed(asyncio.get_running_loop())
        markers = known.markers(thinking=request.thinking)
        pieces = PieceSplitter(known.template.text, markers, request.continuation)
        outcome = asyncio.create_task(self._completed(known, prompt, request, feed))
        who = {"backend": self.name, "model": self.model}
        async with aclosing(streamed(feed, pieces, outcome, **who)) as parts:
            async for part in parts:
                yield part

    async def aclose(self) -> None:
        """Shut the engine down; requests under way are finished first."""
        with self._lock:
            self._is_closed = True
            engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.to_thread(wait, list(self._under_way))
            await asyncio.to_thread(engine.close)

    async def _rendered(self, request: GenerationRequest) -> tuple[LocalModel, list[int]]:
        """Return the model and a prompt for a request that it can do."""
        known = self._known or await asyncio.to_thread(self._loaded)
        needed = request.needs()
        if request.thinking:
            needed |= {Capability.THINKING_SWITCH}
        require(self, needed)
        if request.effort is not None:
            known = await asyncio.to_thread(self._with_effort, known, request.effort)
        prompt = known.prompt(request, backend=self.name, model=self.model)
        if request.thinking_budget is not None and not known.opens_like_template(
            prompt[: len(prompt) - len(request.continuation)]
        ):
            # vLLM would count the budget from a marker that the conversation itself holds.
            raise BackendRequestError(
                "the conversation holds a marker of a thought, and a thinking budget is set",
                backend=self.name,
                model=self.model,
                hint="take the marker out of the prompt, or ask without a budget",
            )
        return known, prompt

    async def _completed(
        self,
        known: LocalModel,
        prompt: list[int],
        request: GenerationRequest,
        feed: TokenFeed | None = None,
    ) -> Completion:
        output = await asyncio.wrap_future(self._submitted(known, prompt, request, feed))
        made = self._generated(output, request)
        return known.completion(request, len(prompt), made, wire_of(request))

    def _loaded(self) -> LocalModel:
        if self._known is None:
            with self._lock:
                if self._known is None:
                    self._known = self._load()
        return self._known

    def _load(self) -> LocalModel:
        folder, source = resolve_checkpoint(self._place, self._revision, backend=self.name)
        tokenizer = load_tokenizer(folder, trust_remote_code=self._trust_remote_code)
        template = self._template(tokenizer)
        thoughts = None
        if self._reasoning_parser is not None:
            start, end = thought_texts(self._reasoning_parser, tokenizer)
            thoughts = template.thought_tokens(start, end, self._forced_end)
        self._thoughts = thoughts
        adds = {Capability.STOP}
        if self._penalises_switches and thoughts is not None:
            adds.add(Capability.SWITCH_PENALTY)
        low, high = (self._template(tokenizer, effort) for effort in ("low", "high"))
        if low.render(_HELLO, thinking=True) != high.render(_HELLO, thinking=True):
            adds.add(Capability.EFFORT)
        return LocalModel(folder, source, template, thoughts, adds=frozenset(adds))

    def _template(self, tokenizer: object, effort: str | None = None) -> ChatTemplate:
        own = {} if effort is None else {_EFFORT_ARGUMENT: effort}
        return ChatTemplate(
            tokenizer,
            backend=self.name,
            model=self.model,
            switch=self._thinking_argument,
            arguments={**self._template_arguments, **own},
        )

    def _with_effort(self, known: LocalModel, effort: str) -> LocalModel:
        """Return the model with a template that asks for an effort."""
        if effort not in _EFFORTS:
            raise CapabilityError(
                f"effort is {effort!r}, expected one of {', '.join(_EFFORTS)}",
                backend=self.name,
                model=self.model,
            )
        with self._lock:
            if effort not in self._by_effort:
                # A tokenizer is used by one thread at a time, which its template sees to.
                tokenizer = load_tokenizer(known.folder, trust_remote_code=self._trust_remote_code)
                self._by_effort[effort] = LocalModel(
                    known.folder, known.source, self._template(tokenizer, effort), self._thoughts
                )
            return self._by_effort[effort]

    def _extra(self, known: LocalModel, request: GenerationRequest) -> Mapping[str, str] | None:
        """Return what the logits processor needs to know of a request's penalty."""
        penalty, thoughts = request.switch_penalty, self._thoughts
        if penalty is None or thoughts is None:
            return None
        return SwitchArguments(
            amount=penalty.amount,
            window=penalty.window,
            spellings=switch_spellings(penalty.words, known.template.ids),
            start=thoughts.start,
            end=thoughts.natural_end,
            n_given=len(request.continuation),
            everywhere=not request.thinking,
        ).to_xargs()

    def _submitted(
        self,
        known: LocalModel,
        prompt: list[int],
        request: GenerationRequest,
        feed: TokenFeed | None,
    ) -> "Future[EngineOutput]":
        """Hand a request to the engine, which the first one starts."""
        with self._lock:
            if self._is_closed:
                raise BackendError(
                    "the backend is closed",
                    backend=self.name,
                    model=self.model,
                    hint="make a new one",
                )
            if self._engine is None:
                self._engine = Engine(self._settings(known))
            extra = self._extra(known, request)
            future = self._engine.submit(self._engine.generate(prompt, request, extra, feed))
            self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return future

    def _settings(self, known: LocalModel) -> EngineSettings:
        reasoning = rank = None
        if known.has_markers and self._reasoning_parser is not None:
            start, end = thought_texts(self._reasoning_parser, known.template.tokenizer)
            reasoning = {
                "reasoning_parser": self._reasoning_parser,
                "reasoning_start_str": start,
                "reasoning_end_str": self._forced_end or end,
            }
        if self._adapter is not None:
            found = read_fields(self._adapter / "adapter_config.json").get("r")
            if not isinstance(found, int):
                raise InvalidInputError(
                    f"{self._adapter / 'adapter_config.json'} has no rank 'r'",
                    hint="vLLM takes LoRA adapters only",
                )
            rank = found
        return EngineSettings(
            model=self.model,
            folder=known.folder,
            arguments=self._arguments,
            reasoning=reasoning,
            forces_text=known.forces_text,
            penalises_switches=self._penalises_switches,
            adapter=self._adapter,
            adapter_rank=rank,
        )

    def _generated(self, output: EngineOutput, request: GenerationRequest) -> GeneratedIds:
        finish_reason = _FINISH_REASONS.get(output.finish_reason)
        if finish_reason is None:
            raise BackendError(
                f"vLLM ended the request with {output.finish_reason!r}",
                backend=self.name,
                model=self.model,
                retryable=True,
            )
        # The token that completes one of the request's stops stays, the end of turn does not.
        reason = output.stop_reason
        was_stopped = (
            reason in request.stop
            if isinstance(reason, str)
            else output.token_ids[-1] in request.stop_ids
        )
        ended = finish_reason is FinishReason.STOP and not was_stopped
        return GeneratedIds(
            token_ids=output.token_ids[:-1] if ended else output.token_ids,
            n_tokens=len(output.token_ids),
            logprobs=output.logprobs,
            finish_reason=finish_reason,
            seconds=output.seconds,
            n_cached=output.n_cached,
            margins=output.margins,
        )
