"""A question with every answer filled in, and where each answer comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from calibration.published import PublishedCorpus, PublishedTable
from policies import TASK_TYPES, ModelSize, UnknownNameError

from .._recipe import Corpus
from .._recommendation import Assumption
from .._request import SMALLEST, Have, Objective, RecommendationRequest, size_out_of_range
from ..cost import Gpus, Network, Workload, default_gpus, inference_flops, network_at
from ..evidence import OwnEvidence, PublishedEvidence, StudyView

__all__ = ["DEFAULT_TOLERANCE", "Question", "check_sizes", "check_task", "resolve"]

_CORPORA: tuple[PublishedCorpus, ...] = ("general", "math-centric")
DEFAULT_TOLERANCE = 0.01
"""Accuracy that may be lost in expectation by acting now, unless it was said."""
_OWN_LENGTHS = "your measured answers"
_STUDIED: Mapping[str, Corpus] = {"general": "general", "math": "math-centric", "code": "code"}
"""The paper's names of corpora that a study may have."""

_HALVINGS = 40
_HORIZON_DAYS = 365.0
_NEAR = 0.10
"""Sizes within this share of a measured one are that size, as in `advisor.evidence`."""
NO_TEACHER = "none"
_USUAL_TEACHER = "Qwen3-235B-A22B"
"""The teacher of arXiv 2509.22193v2, section 2.1."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, every default filled in.

    Attributes:
        request: What was said.
        size: Size to train, `None` for any.
        cap: Largest size that may be trained and served, `None` without a limit.
        family: Published task type that speaks for the asked one, `None` if none does.
        is_proxy: `family` only shares the answer format with the asked task type.
        corpus: Corpus of what is to be trained.
        other: The other published corpus, where the corpus is a published one.
        prior: Published corpora that are the prior for this corpus.
        objective: What matters most.
        tolerance: Accuracy that may be lost in expectation by acting now.
        workload: The training set that costs are computed for.
        are_lengths_given: Whether answer and trace lengths were said or measured.
        gpus: What it is trained on.
        queries_per_day: Traffic, `None` if not said.
        horizon_days: Days that traffic is counted for.
        teacher: Who writes traces, `None` for nobody.
        have: What is there already.
        assumptions: Every answer, given or taken by default.
    """

    request: RecommendationRequest
    size: ModelSize | None
    cap: ModelSize | None
    family: str | None
    is_proxy: bool
    corpus: Corpus
    other: PublishedCorpus | None
    prior: tuple[PublishedCorpus, ...]
    objective: Objective
    tolerance: float
    workload: Workload
    are_lengths_given: bool
    gpus: Gpus
    queries_per_day: float | None
    horizon_days: float
    teacher: str | None
    have: Have
    assumptions: tuple[Assumption, ...]

    @property
    def task_type(self) -> str:
        """Return the asked task type."""
        return self.request.task_type

    @property
    def is_open_ended(self) -> bool:
        """Return whether answers are open-ended, as far as that is known."""
        name = self.family or self.task_type
        return name.endswith("-oe") or self.request.answer_format == "oe"

    @property
    def is_corpus_published(self) -> bool:
        """Return whether figures were published for this corpus."""
        return self.corpus in _CORPORA


def check_task(request: RecommendationRequest, table: PublishedTable, own: frozenset[str]) -> None:
    """Refuse a task type that nothing is known about and whose format was not said.

    Args:
        request: The request.
        table: The published table.
        own: Task types of the user's cells.

    Raises:
        UnknownNameError: It is neither known nor explained; names close ones.
    """
    known = {*table.task_types, *TASK_TYPES, *own}
    if request.task_type not in known and request.answer_format is None:
        error = UnknownNameError("task type", request.task_type, known)
        error.hint = f"{error.hint}; for one of your own say its format: --format mc or oe"
        raise error


def check_sizes(request: RecommendationRequest, measured: Mapping[int, str]) -> None:
    """Refuse sizes below the smallest that anything is published near, unless cells reach them.

    Args:
        request: The request.
        measured: Sizes of the cells, in parameters, and what to call them.

    Raises:
        InvalidInputError: A size lies below 0.1B, and outside the measured ones.
    """
    low, high = min(measured, default=SMALLEST), max(measured, default=0)
    for name, size in (("size", request.size), ("max_size", request.max_size)):
        if size is None or size.n_params >= SMALLEST:
            continue
        if low * (1 - _NEAR) <= size.n_params <= high * (1 + _NEAR):
            continue
        small = [n for n in sorted(measured) if n < SMALLEST]
        hint = f"the table given has {', '.join(measured[n] for n in small)}" if small else ""
        raise size_out_of_range(name, size, hint)


def resolve(
    request: RecommendationRequest,
    evidence: PublishedEvidence,
    own: OwnEvidence,
    *,
    shape: OwnEvidence | None = None,
    has_pairs: bool = False,
    view: StudyView | None = None,
) -> Question:
    """Fill in what was not said.

    Args:
        request: What was said.
        evidence: Published figures.
        own: The user's cells at the asked size, which lengths are taken from.
        shape: What lengths are taken from instead.
        has_pairs: The user measured a pair of recipes at some size.
        view: The study that some of the cells are of.
    """
    table = evidence.table
    corpus: Corpus = request.corpus or ("own" if own.is_comparable or has_pairs else "general")
    if view is not None:
        corpus = _STUDIED.get(view.corpus, "own")
    published: list[PublishedCorpus] = [one for one in _CORPORA if one == corpus]
    family = request.task_type if request.task_type in table.task_types else None
    is_proxy = family is None and request.answer_format is not None
    if is_proxy:
        family = f"general-{request.answer_format}"
    workload, lengths = _workload(request, own if shape is None else shape, view)
    gpus = _gpus(request)
    usual = _USUAL_TEACHER if view is None else f"the teacher of {view.source}"
    teacher = None if request.teacher == NO_TEACHER else request.teacher or usual
    question = Question(
        request=request,
        size=request.size,
        cap=request.max_size or request.size,
        family=family,
        is_proxy=is_proxy,
        corpus=corpus,
        other=next((one for one in _CORPORA if published and one != corpus), None),
        prior=tuple(published) or _CORPORA,
        objective=request.objective or "balanced",
        tolerance=DEFAULT_TOLERANCE if request.tolerance is None else request.tolerance,
        workload=workload,
        are_lengths_given=request.answer_tokens is not None
        or lengths == _OWN_LENGTHS
        or (view is not None and lengths != ""),
        gpus=gpus,
        queries_per_day=request.queries_per_day,
        horizon_days=request.horizon_days or _HORIZON_DAYS,
        teacher=teacher,
        have=request.have or "base",
        assumptions=(),
    )
    return _with_assumptions(question, lengths, view)


def _workload(
    request: RecommendationRequest, own: OwnEvidence, view: StudyView | None
) -> tuple[Workload, str]:
    """Return the workload, and where its lengths come from ("" for the defaults)."""
    default = Workload()
    answer, ratio, source = request.answer_tokens, request.trace_ratio, ""
    if request.trace_source:
        source = request.trace_source
    elif answer is not None or ratio is not None:
        source = "given"
    ift, reasoning = own.find(0.0), own.find(1.0)
    short = None if ift is None else ift.mean_tokens
    long = None if reasoning is None else reasoning.mean_tokens
    if short is not None and long is not None and short > 0:
        if answer is None:
            answer = round(short, 2)
        if ratio is None:
            ratio = round(max(long / short, 0.01), 3)
        source = source or (_OWN_LENGTHS if view is None else f"answers measured in {view.source}")
    rows = default.n_rows if view is None else view.n_rows
    prompt = default.prompt_tokens
    ref = None if ift is None else ift.study
    if view is not None and ref is not None and ift is not None and ift.mean_flops and short:
        known = network_at(ModelSize(view.sizes[ref.arm.model]))
        prompt = _prompt(known, ift.mean_flops, short)
    workload = Workload(
        n_rows=request.n_examples or rows,
        prompt_tokens=request.prompt_tokens or prompt,
        answer_tokens=answer or default.answer_tokens,
        trace_ratio=ratio or default.trace_ratio,
    )
    return workload, source


def _prompt(known: Network, mean_flops: float, answer_tokens: float) -> float:
    """Return the prompt length whose answers cost what was measured, by bisection."""
    low, high = 1.0, 4096.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_low = inference_flops(known, middle, answer_tokens) < mean_flops
        low, high = (middle, high) if is_low else (low, middle)
    return round(low, 1)


def _gpus(request: RecommendationRequest) -> Gpus:
    gpus = request.gpus or default_gpus()
    if request.gpu_price is None:
        return gpus
    return Gpus.parse(str(gpus), usd_per_hour=request.gpu_price)


def _with_assumptions(question: Question, lengths: str, view: StudyView | None) -> Question:
    """Return the question with the list of its answers, in the order of the command line."""
    request, workload = question.request, question.workload
    given = request.given
    found: list[Assumption] = []

    def say(name: str, value: object, is_given: bool, text: str) -> None:
        found.append(Assumption(name=name, value=str(value), is_given=is_given, text=text))

    if request.size is None:
        say("size", "any", True, "every published size is compared")
    else:
        names = {} if view is None else {n: name for name, n in view.sizes.items()}
        name = names.get(request.size.n_params)
        size_text = "the size to train" if name is None else f"the size to train, {name}"
        say("size", request.size, True, size_text)
    cap = "none" if question.cap is None else question.cap
    larger = "what may be trained and served; --max-size, or --size any, lifts it"
    say("max-size", cap, "max_size" in given, larger)
    say("task", request.task_type, True, _task_text(question))
    is_said = "corpus" in given or question.corpus == "own"
    corpus_text = {
        "general": "1.3M general pairs: the published corpus that a mixed one resembles most",
        "math-centric": "300K math pairs",
        "code": "no accuracy is published for a code corpus",
        "own": "no published corpus speaks for it",
    }[question.corpus]
    if view is not None:
        said = "" if "corpus" in given else " (not said, so taken)"
        corpus_text = f"students of {view.source} trained on its {view.corpus} corpus{said}"
    elif not is_said and question.other is not None:
        corpus_text = (
            f"figures and costs are of the {question.corpus} corpus; what decides counts "
            f"{question.corpus} and {question.other} at equal odds"
        )
    say("corpus", question.corpus, "corpus" in given, corpus_text)
    objective_text = {
        "balanced": "accuracy against training and serving costs",
        "accuracy": "accuracy at any price within the caps",
        "training": "cheap training",
        "inference": "cheap answers",
        "total": "training and serving together",
    }[question.objective]
    say("objective", question.objective, "objective" in given, objective_text)
    budget = "no limit"
    say("train-budget", request.train_budget or budget, "train_budget" in given, "of one training")
    say("infer-budget", request.infer_budget or budget, "infer_budget" in given, "of one query")
    if question.queries_per_day is None:
        say("traffic", "not said", False, "serving costs are per query only")
    else:
        days = f"for {question.horizon_days:g} days"
        say("traffic", f"{question.queries_per_day:g} queries a day", True, days)
    say("gpu", question.gpus, "gpus" in given, question.gpus.price_note)
    teacher_text = "writes direct answers and traces; its own cost is not counted"
    if question.teacher is None:
        teacher_text = "nobody writes traces"
    if view is not None and question.teacher is not None:
        teacher_text = "wrote both answers to every training question; its own cost is not counted"
    say("teacher", question.teacher or NO_TEACHER, "teacher" in given, teacher_text)
    say("have", question.have, "have" in given, "what training starts from")
    rows_text = "rows, one epoch" if view is None else "rows of each stage, as in the study"
    if view is not None and "n_examples" in given:
        rows_text = "rows; costs of the study's recipes are scaled to them"
    say("n-examples", f"{workload.n_rows:,}", "n_examples" in given, rows_text)
    shape = (
        f"prompts of {workload.prompt_tokens:g}, direct answers of {workload.answer_tokens:g} "
        f"tokens, traces {workload.trace_ratio:g}x as long"
    )
    published = "published: traces of 5 to 20x, here their geometric mean; a file measures yours"
    say("trace-length", shape, lengths != "", lengths or published)
    points = f"{100 * question.tolerance:g} percentage points"
    say("tolerance", points, "tolerance" in given, "expected loss at which a leaning decides")
    return replace(question, assumptions=tuple(found))


def _task_text(question: Question) -> str:
    if question.is_proxy:
        return f"not published; its format is that of {question.family}"
    if question.family is None:
        return "not published"
    return "published for 0.5B to 14B"
