"""`s-star([n=N][,rounds=R][,inputs=I])/POLICY`: programs that are run before one is chosen.

N programs are sampled and run on the tests that the prompt itself shows (assertions, doctest
examples); one that fails is debugged with what the failing test says, up to R times. Programs
that pass are grouped by what they give for calls that the model writes to tell two of them apart.
For each pair of groups the model is told a call and both results, and says which is right; the
group with the most such wins gives the answer.

At most N * (1 + R) + (N - 1) + N * (N - 1) / 2 requests; the last two terms are for programs that
all pass and all differ.

Source: Li et al., "S*: Test Time Scaling for Code Generation", arXiv 2502.14382, with its 16 samples and 2 rounds. There a model also extracts the tests; here they are read from the
prompt without one. The wordings are our own.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from .._backend import Backend, Capability
from .._bill import Bill
from .._card import Inner, Parameter, PolicyCard
from .._messages import Completion, Evidence, Message
from .._policy import DecodingOptions, OneRequestPolicy, parts_of
from .._registry import build_one_request
from .._spec import PolicySpec
from ..sandbox import Limits
from ._asides import aside, one_turn, question_text
from ._calls import find_calls
from ._programs import (
    Program,
    Workbench,
    defined_by,
    describe_failure,
    need_isolation,
    read_program,
)
from ._public_tests import find_public_tests
from ._samples import draw
from ._sampling import need_sampling, sample_seed

__all__ = ["CHOOSE", "DEBUG", "INPUTS", "CodeSearch", "describe_failure", "fenced"]

DEBUG = "This program fails a test:\n\n{failure}\n\nCorrect the program."
"""User turn after a program that fails a public test."""

INPUTS = (
    "{question}\n\nTwo programs were written for this:\n\n{first}\n\n{second}\n\n"
    "Write calls on which they may differ, one per line."
)
"""Asks for calls that tell two programs apart."""

CHOOSE = (
    "{question}\n\nFor the call {call}, program A gives {first} and program B gives {second}."
    " Which is right? Reply A or B."
)
"""Asks which of two results is right."""

_LIMITS = Limits(cpu_s=5, wall_s=20)

_RIGHT = re.compile(r"\b([AB])\W{0,4} (?:is|was|gives) (?:the )?(?:right|correct)\b")
_LETTER = re.compile(r"(?<![\w'])([AB])(?![\w'])(?! (?!(?:or|and|is|gives)\b)[a-z])")
"""A letter on its own; before another word it may be the article."""


@dataclass(frozen=True, slots=True)
class _Cluster:
    """Programs that give the same for every call.

    Attributes:
        programs: They, in the order of their samples.
        outputs: What they give, call by call; `None` where that is not known.
    """

    programs: tuple[Program, ...]
    outputs: tuple[str | None, ...] = ()


class CodeSearch:
    """Sample programs, debug them on the prompt's tests, and choose by running what is left.

    Programs run in `policies.sandbox` only, and what is run on them is the prompt's own tests and
    calls with literal arguments; nothing else that a model writes is executed outside them. The
    completion returned is the chosen sample's, after its debugging.

    Where the prompt shows no test, a program passes that can be loaded, and a remark says so.
    Where none passes, those that pass most tests go on. Where nothing tells the programs apart,
    the one that most samples wrote is taken, the first of equals.
    """

    card = PolicyCard(
        name="s-star",
        signature="s-star[(n=N,rounds=R,inputs=I)]/POLICY",
        summary="N programs, debugged on the prompt's tests, chosen by running them.",
        paper="Li et al., arXiv 2502.14382",
        standard=("s-star/direct",),
        needs_code=True,
        parameters=(
            Parameter("n", int, "programs sampled", 16, least=2, most=256),
            Parameter("rounds", int, "debugging rounds per program at most", 2, least=0, most=100),
            Parameter("inputs", int, "calls taken from each list of them", 5, least=1, most=100),
        ),
        inner=Inner.ONE_REQUEST,
    )

    def __init__(
        self,
        inner: OneRequestPolicy,
        *,
        n: int = 16,
        rounds: int = 2,
        inputs: int = 5,
        limits: Limits = _LIMITS,
    ) -> None:
        """Take the policy that writes programs.

        Args:
            inner: What is asked for every program and every correction.
            n: Programs, 2 or more.
            rounds: Debugging rounds per program, 0 or more.
            inputs: Calls taken from what the model writes about two programs, 1 or more.
            limits: What one program may use for all public tests, and again for all calls.

        Raises:
            InvalidPolicyError: A parameter is out of range.
        """
        self.spec = self.card.spec(n=n, rounds=rounds, inputs=inputs, inner=inner.spec)
        self.mode = inner.mode
        self.needs: frozenset[Capability] = inner.needs | {Capability.SAMPLES}
        self._inner = inner
        self._n = n
        self._rounds = rounds
        self._inputs = inputs
        self._limits = limits

    @classmethod
    def from_spec(cls, spec: PolicySpec) -> "CodeSearch":
        """Build from a spec such as `s-star(n=8)/direct`.

        Raises:
            InvalidPolicyError: A parameter is out of range, or the inner policy is missing or
                sends several requests.
            UnknownNameError: There is no such inner policy.
        """
        values = cls.card.read(spec)
        return cls(
            build_one_request(spec),
            n=values.integer("n"),
            rounds=values.integer("rounds"),
            inputs=values.integer("inputs"),
        )

    def parts(self) -> Mapping[str, str]:
        """Return what identifies the inner policy, and the limits if they are not the usual."""
        own = {} if self._limits == _LIMITS else {"sandbox": repr(self._limits)}
        return parts_of(self._inner) | own

    def max_tokens(self, options: DecodingOptions) -> int:
        """Return what all programs, corrections, lists of calls and choices may generate."""
        n_programs = self._n * (1 + self._rounds)
        n_questions = (self._n - 1) + self._n * (self._n - 1) // 2
        return (n_programs + n_questions) * self._inner.max_tokens(options)

    async def run(
        self, messages: Sequence[Message], backend: Backend, options: DecodingOptions
    ) -> Completion:
        """Return the chosen program's completion with the usage of all requests.

        `evidence.agreement` is the share of samples whose programs give the same as the chosen
        one.

        Raises:
            InvalidInputError: The temperature is 0, so that all samples would be equal.
            MissingPrerequisiteError: Programs cannot be isolated here; nothing was asked.
            BackendError: No answer could be had.
        """
        need_sampling(self.spec, options)
        await need_isolation()
        bill = Bill(backend, self.max_tokens(options))
        asked = "\n\n".join(turn.content for turn in messages if turn.role == "user")
        tests = find_public_tests(asked)
        bench = Workbench(tests, self._limits, bill)
        if not tests.tests:
            bill.remark(
                "no-public-tests",
                "the prompt shows no test (assert line or doctest example), so that every"
                " program that can be loaded counts as passing",
            )
        samples = await draw(bill, self._inner, messages, options, "s-star", range(self._n))
        found = (read_program(number, one, tests) for number, one in enumerate(samples))
        programs = [program for program in found if program is not None]
        if not programs:
            if any(one is not None for one in samples):
                bill.remark("no-program", "no answer holds a whole program")
            return self._close(bill, _first(samples), 0)
        programs = await bench.tested(programs)
        for number in range(1, self._rounds + 1):
            programs = await self._debugged(bill, bench, messages, options, programs, number)
        most = max(program.n_passed for program in programs)
        if not any(program.survives for program in programs):
            bill.remark("no-survivor", "no program passes all public tests, or none can be loaded")
        # With a survivor these are the survivors: nothing passes more tests than all.
        kept = [program for program in programs if program.n_passed == most]
        chosen = await self._choose(bill, bench, messages, options, kept)
        return self._close(bill, chosen.programs[0].completion, len(chosen.programs))

    async def _debugged(
        self,
        bill: Bill,
        bench: Workbench,
        messages: Sequence[Message],
        options: DecodingOptions,
        programs: Sequence[Program],
        number: int,
    ) -> list[Program]:
        """Return the programs after a round of debugging those that fail a test.

        A correction that passes fewer tests than what it corrects is dropped.
        """
        failing = [program for program in programs if program.failure]
        requests = [
            self._inner.request(
                (
                    *messages,
                    Message("assistant", program.completion.text),
                    Message("user", DEBUG.format(failure=program.failure)),
                ),
                replace(options, seed=sample_seed(options.seed, "s-star", program.number, number)),
            )
            for program in failing
        ]
        came = await bill.ask_all(requests)
        read = (
            read_program(program.number, one, bench.tests)
            for program, one in zip(failing, came, strict=True)
        )
        corrected = [program for program in read if program is not None]
        latest = {program.number: program for program in await bench.tested(corrected)}
        return [
            new
            if (new := latest.get(program.number)) is not None and new.n_passed >= program.n_passed
            else program
            for program in programs
        ]

    async def _choose(
        self,
        bill: Bill,
        bench: Workbench,
        messages: Sequence[Message],
        options: DecodingOptions,
        programs: Sequence[Program],
    ) -> _Cluster:
        """Return the group of programs that wins most comparisons."""
        alike: dict[str, list[Program]] = {}
        for program in programs:
            alike.setdefault(program.key, []).append(program)
        groups = sorted(alike.values(), key=len, reverse=True)  # Stable: the earlier of equals.
        if len(groups) == 1:
            return _Cluster(tuple(groups[0]))
        clusters, calls = await self._clusters(bill, bench, messages, options, groups)
        if len(clusters) == 1:
            return clusters[0]
        pairs: list[tuple[int, int]] = []
        texts: list[str] = []
        for (a, first), (b, second) in combinations(enumerate(clusters), 2):
            place = _first_difference(first.outputs, second.outputs)
            if place is not None:
                pairs.append((a, b))
                texts.append(
                    CHOOSE.format(
                        question=question_text(messages),
                        call=calls[place],
                        first=first.outputs[place],
                        second=second.outputs[place],
                    )
                )
        replies = await self._ask_aside(bill, messages, options, texts)
        wins = [0] * len(clusters)
        for pair, reply in zip(pairs, replies, strict=True):
            choice = _choice(reply)
            if choice is not None:
                wins[pair[choice]] += 1
        if not any(wins):
            bill.remark("undecided", "no comparison of two results was decided")
        return clusters[max(range(len(clusters)), key=wins.__getitem__)]

    async def _clusters(
        self,
        bill: Bill,
        bench: Workbench,
        messages: Sequence[Message],
        options: DecodingOptions,
        groups: Sequence[Sequence[Program]],
    ) -> tuple[list[_Cluster], list[str]]:
        """Return the groups joined by what they give for calls, the largest first, and the calls.

        Each group's program is set against the largest group's for the calls.
        """
        texts = [
            INPUTS.format(
                question=question_text(messages),
                first=fenced(groups[0][0].code),
                second=fenced(other[0].code),
            )
            for other in groups[1:]
        ]
        names = bench.tests.names or defined_by(group[0].code for group in groups)
        lists = await self._ask_aside(bill, messages, options, texts)
        calls = list(
            dict.fromkeys(call for text in lists for call in find_calls(text, names, self._inputs))
        )
        if not calls:
            bill.remark("no-inputs", "the model wrote no call that could tell programs apart")
            return [_Cluster(tuple(groups[0]))], calls
        firsts = [group[0] for group in groups]
        outputs = await bench.outputs(firsts, calls, names)
        joined: dict[tuple[str | None, ...], list[Program]] = {}
        for group, given in zip(groups, outputs, strict=True):
            joined.setdefault(given, []).extend(group)
        clusters = [
            _Cluster(tuple(sorted(members, key=lambda program: program.number)), given)
            for given, members in joined.items()
        ]
        return sorted(clusters, key=lambda cluster: len(cluster.programs), reverse=True), calls

    async def _ask_aside(
        self,
        bill: Bill,
        messages: Sequence[Message],
        options: DecodingOptions,
        texts: Sequence[str],
    ) -> list[str]:
        requests = [aside(self._inner, one_turn(messages, text), options) for text in texts]
        return ["" if one is None else one.text for one in await bill.ask_all(requests)]

    def _close(self, bill: Bill, answer: Completion | None, n_agreeing: int) -> Completion:
        evidence = (answer.evidence if answer is not None else None) or Evidence()
        return bill.close(answer, evidence=replace(evidence, agreement=n_agreeing / self._n))


def fenced(code: str) -> str:
    """Return code as a fenced Python block."""
    return f"```python\n{code.strip()}\n```"


def _first_difference(first: Sequence[str | None], second: Sequence[str | None]) -> int | None:
    """Return the first call for which both results are known and differ."""
    for place, (a, b) in enumerate(zip(first, second, strict=True)):
        if a is not None and b is not None and a != b:
            return place
    return None


def _choice(reply: str) -> int | None:
    """Return 0 for A, 1 for B, `None` where the reply does not say.

    The last line that names a letter decides: what goes before weighs both. It has to say which
    one is right, or to name one only.
    """
    for line in reversed(reply.splitlines()):
        for pattern in (_RIGHT, _LETTER):
            letters = set(pattern.findall(line))
            if letters:
                return "AB".index(letters.pop()) if len(letters) == 1 else None
    return None


def _first(samples: Sequence[Completion | None]) -> Completion | None:
    came = [one for one in samples if one is not None]
    return next((one for one in came if one.is_finished), came[0] if came else None)
