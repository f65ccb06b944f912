"""Grader `math`: what is equal and what is not, and that no answer can hang or kill a run."""

import itertools
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration import Outcome
from calibration.graders import Grade, get_grader, judge
from calibration.graders._worker_pool import Reply, WorkerPool, python_command
from calibration.graders.math_equal import MathGrader
from policies import Completion, FinishReason, MissingPrerequisiteError, Usage

pytest.importorskip("math_verify", reason="the extra `math` is not installed")

ROOT = Path(__file__).parents[2]
MATH500 = ROOT.parent / "shared" / "data" / "benchmarks" / "math500.parquet"

# Gold answer and answer, checked by hand.
EQUAL = [
    ("0.25", "25 percent"),
    ("0.25", r"25\text{ percent}"),
    ("12", r"\text{Area} = 12"),
    ("12", "Area = 12"),
    ("5", "AB = 5"),
    ("30", r"\angle ABC = 30^\circ"),
    (r"\frac{1}{2}", "0.5"),
    (r"\frac{1}{2}", r"\dfrac12"),
    (r"\frac 59", "5/9"),
    (r"\frac9{19}", r"\tfrac{9}{19}"),
    (r"1\frac{1}{2}", "1.5"),
    ("1 1/2", r"\frac{3}{2}"),
    ("1000", "1,000"),
    ("1{,}000", "1000"),
    (r"11,\! 111,\! 111,\! 100", "11111111100"),
    ("0", "-0"),
    ("10^3", "1000"),
    ("2^{10}", "1024"),
    (r"\binom{5}{2}", "10"),
    ("5!", "120"),
    (r"50\%", "0.5"),
    (r"50\%", "50"),
    ("50", r"50\%"),
    (r"\$32", "32"),
    ("32", r"\$32.00"),
    ("5", "5 dollars"),
    (r"10\text{ cm}", "10"),
    ("10", "10 cm"),
    (r"15\mbox{ cm}^2", "15 square centimeters"),
    (r"90^\circ", "90"),
    ("90", "90°"),
    (r"\frac{270}7\text{ degrees}", r"\frac{270}{7}"),
    ("x=5", "5"),
    ("5", "x=5"),
    ("y=2x+1", "2x+1"),
    ("2x+1", "f(x)=2x+1"),
    (r"\sqrt{8}", r"2\sqrt{2}"),
    (r"3\sqrt{13}", "3sqrt(13)"),
    (r"11\sqrt2", r"11\sqrt{2}"),
    ("(x+1)^2", "x^2+2x+1"),
    ("p - q", "-q+p"),
    ("6 - 5i", "-5i+6"),
    (r"\frac{\pi}{2}", "pi/2"),
    (r"\frac{4\pi}{3}", "4/3 * pi"),
    (r"288 \pi", "288π"),
    (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"),
    (r"\cot x", r"\frac{\cos x}{\sin x}"),
    (r"\text{Evelyn}", "Evelyn"),
    (r"\text{(C)}", "C"),
    (r"\text{(C)}", "(C)"),
    (r"\text{east}", "East"),
    (r"\text{even}", "**even**"),
    ("52_8", "52_{8}"),
    ("52_8", "52"),
    ("4210_{5}", "4210_5"),
    ("3, 5, 7", "7, 3, 5"),
    ("3, 5, 7", r"\{3, 5, 7\}"),
    ("1,-2", "x=1 or x=-2"),
    ("1,-2", "1 and -2"),
    ("1,-2", "$1$ and $-2$"),
    (r"1 \pm \sqrt{19}", r"1+\sqrt{19}, 1-\sqrt{19}"),
    ("(6,31,-1)", r"\left(6, 31, -1\right)"),
    ("(6,31,-1)", "6, 31, -1"),
    (r"\left( 3, \frac{\pi}{2} \right)", r"(3, \pi/2)"),
    ("(3,4]", r"3<x\le 4"),
    (r"(2,\infty)", "x>2"),
    ("x>2", r"(2,\infty)"),
    (r"x \in [-2,7]", "[-2,7]"),
    ("[-2,7]", r"-2 \le x \le 7"),
    (r"(0,9) \cup (9,36)", r"(9,36)\cup(0,9)"),
    (r"(-\infty, 2) \cup (3, \infty)", r"(3,\infty) \cup (-\infty,2)"),
    (
        r"\begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix}",
        r"\begin{bmatrix} -\frac13 \\ \frac23 \\ \frac53 \end{bmatrix}",
    ),
    ("5x - 7y + 11z + 4 = 0", "10x-14y+22z+8=0"),
    (r"\emptyset", r"\{\}"),
    ("7", "3+4=7"),
    (r"\frac{1}{2}", r"is $\frac12$ of the cake"),
    ("x^2", "x**2"),
    ("12", r"12 \text{ ways}"),
    ("x^{2}+1", "x²+1"),
    (r"\sqrt{51}", "√51"),
    ("0.333333", "0.333333"),
    ("6:1", "6:1"),
    (r"\text{4:30 p.m.}", "4:30 p.m."),
    (r"(5,\infty)", "(5, ∞)"),
    (r"4\sqrt{3}", "6.9282032"),
    ("xy", "yx"),
    (r"\text{no solution}", "No solution"),
    (r"\frac{1}{2}", r"so $\frac{1}{2}$ dollars"),
    (r"25\%", "25 percent"),
    ("x=3", "$x = 3$"),
    (r"\{1\pm\sqrt{5},-2\}", r"-2, 1+\sqrt5, 1-\sqrt5"),
    ("(a+5)(b+2)", "ab+2a+5b+10"),
    ("8n^2 + 4n + 1", "4n(2n+1)+1"),
]
UNEQUAL = [
    ("10^{-8}", "0.0000001"),
    (r"\frac{\pi}{10^8}", "0.00000002"),
    ("12", r"\text{Area} = 13"),
    ("12", r"\text{Area is not} = 3 = 12"),
    ("25", "250 percent"),
    ("7", "maybe 5 6 7"),
    ("7", "3+4 = 7, but wait the"),
    ("7", "not 7"),
    ("567", "5 6 7"),
    ("18", "5 6 7"),
    ("7", "5, 6, 7"),
    ("7", "5 or 6 or 7"),
    ("7", "7x"),
    ("x", "7x"),
    ("10", "10 or 20"),
    ("10", "about 10"),
    ("1/3", "0.33"),
    ("1/3", "0.333333"),
    (r"\pi", "3.14"),
    (r"\sqrt{2}", "1.41421"),
    ("10^{-8}", "0"),
    ("10^{-8}", r"2\cdot 10^{-8}"),
    ("0.0000001", "0.0000002"),
    ("(1,2)", "(2,1)"),
    ("(1,2)", "2,1"),
    ("(1,2)", r"\{1,2\}"),
    ("(1,2)", "[1,2]"),
    ("(3,4]", "3<x<4"),
    ("x=5", "y=5"),
    ("0", "x^2-4=0"),
    ("5", "2x+z=5"),
    ("x^2=4", "x=2"),
    ("2k", "2n"),
    ("52_8", "52_9"),
    ("52_8", "42"),
    (r"\text{even}", "odd"),
    (r"\text{even}", "neve"),
    (r"\text{east}", "seat"),
    (r"\text{(C)}", "(B)"),
    ("7", r"x \neq 7"),
    ("-3", "x=-3 or x=3"),
    ("2", r"2\text{ or }3"),
    ("5", "-5"),
    ("5", "5%0"),
    ("5", r"50\%"),
    ("p - q", "q - p"),
    ("6-5i", "6+5i"),
    (r"(-\infty,2)", r"(-\infty,2]"),
    (r"(0,9) \cup (9,36)", "(0,36)"),
    ("y=2x+3", "y=2x+4"),
    ("1000", "1.000"),
    ("12", "12.1"),
    (r"3\sqrt{2}", r"3+\sqrt{2}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}"),
    ("a+b", "ab"),
    ("", ""),
    ("5", ""),
    (r"\frac{1}{2}", "1/2x"),
    ("7", "8 - 1 is what remains"),
    ("x^2+1", "the polynomial"),
    ("1", "11"),
    ("3, 5, 7", "3, 5"),
    ("3, 5, 7", "3, 5, 7, 9"),
    ("2", "1 2"),
    ("12", "1 2"),
    (r"5 \text{ or } 6", "56"),
    ("0.5", r"5\%"),
    (r"50\%", r"0.5\%"),
    (r"50\%", r"5000\%"),
    ("x+1", "x+1 y+2"),
    (r"\text{no solution}", "solution"),
    ("12", "12 and 13"),
    ("7", "$5$ or $7$"),
    ("(1,2)", "(1,2,3)"),
    ("xy", "x+y"),
    ("1", "$1$ not $2$"),
]

BOMBS = [
    "9^{9^{9^9}}",
    "(10^7)!",
    "(x+1)^{99999}",
    "(" * 450 + "1" + ")" * 450,
    r"\sqrt{" * 120 + "2" + "}" * 120,
    "{" * 400 + "}" * 400,
    r"\begin{pmatrix}" + "1&" * 200 + r"1\end{pmatrix}",
]
TOO_LONG = [
    "(" * 3000 + "1" + ")" * 3000,
    *(piece * (2**20 // len(piece)) for piece in ("a", "9", "1+", r"\frac{1}", "$", "{", "1, ")),
]
HELLO = """
import json, os, struct, sys, time, signal
def write(reply):
    body = json.dumps(reply).encode()
    os.write(1, struct.pack(">I", len(body)) + body)
def read():
    head = sys.stdin.buffer.read(4)
    if not head:
        sys.exit(0)
    return json.loads(sys.stdin.buffer.read(struct.unpack(">I", head)[0]))
write({"ready": True})
"""


@pytest.fixture(scope="module")
def grader() -> Iterator[MathGrader]:
    grader = MathGrader()
    yield grader
    grader.close()


@pytest.fixture
def impatient() -> Iterator[MathGrader]:
    grader = MathGrader(cpu_limit_s=0.5)
    yield grader
    grader.close()


def pool(
    tmp_path: Path, code: str, *, wall_limit_s: float = 20.0, n_workers: int = 1
) -> WorkerPool:
    program = tmp_path / "worker.py"
    program.write_text(HELLO + code, encoding="utf-8")
    return WorkerPool(python_command(str(program)), n_workers=n_workers, wall_limit_s=wall_limit_s)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 30
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still running: {pids}"
        time.sleep(0.05)


def grade_all(
    grader: MathGrader, pairs: Sequence[tuple[str, str]], *, n_threads: int = 4
) -> list[Grade]:
    """Judge pairs of gold answer and answer from many threads."""

    def grade(pair: tuple[str, str]) -> Grade:
        return grader.grade(f"\\boxed{{{pair[1]}}}", pair[0])

    with ThreadPoolExecutor(n_threads) as threads:
        return list(threads.map(grade, pairs))


@pytest.mark.parametrize(("gold", "answer"), EQUAL)
def test_equal_answers(grader: MathGrader, gold: str, answer: str) -> None:
    grade = grader.grade(f"The answer is: {answer}", gold)
    assert (grade.is_correct, grade.problem) == (True, None)


@pytest.mark.parametrize(("gold", "answer"), UNEQUAL)
def test_unequal_answers(grader: MathGrader, gold: str, answer: str) -> None:
    for text in (f"The answer is: {answer}", f"\\boxed{{{answer}}}"):
        grade = grader.grade(text, gold)
        assert (grade.is_correct, grade.problem) == (False, None)


@pytest.mark.parametrize(
    "text",
    [
        "maybe 5 6 7",
        "3+4 = 7, but wait the",
        "I get 7\nand so on",
        "The answer is not 7",
        r"\boxed{7",
        "7 apples and 7 pears make\n14",
        "",
    ],
)
def test_only_an_answer_the_text_commits_to_counts(grader: MathGrader, text: str) -> None:
    assert not grader.grade(text, "7").is_correct


def test_numbers_and_words_need_no_worker() -> None:
    grader = MathGrader()
    for gold, answer in (("1/2", "0.5"), ("x+1", "x + 1"), (r"\text{east}", "west"), ("7", "8")):
        grader.grade(f"\\boxed{{{answer}}}", gold)
    assert grader.worker_ids() == []


@pytest.mark.parametrize("answer", BOMBS, ids=lambda answer: answer[:12])
def test_a_bomb_is_not_equal_after_its_cpu_time(impatient: MathGrader, answer: str) -> None:
    grade = impatient.grade(f"\\boxed{{{answer}}}", "7")
    assert (grade.is_correct, grade.problem) == (False, None)
    assert impatient.grade(r"\boxed{1+x}", "x+1").is_correct


@pytest.mark.parametrize("answer", TOO_LONG, ids=lambda answer: answer[:6])
def test_an_answer_beyond_all_measure_reaches_no_worker(answer: str) -> None:
    grader = MathGrader()
    started = time.process_time()
    for text in (f"\\boxed{{{answer}}}", f"Answer: {answer}", answer):
        assert not grader.grade(text, "7").is_correct
    assert time.process_time() - started < 5
    assert grader.worker_ids() == []


def test_a_bomb_leaves_other_answers_alone() -> None:
    grader = MathGrader(cpu_limit_s=1.0)
    items = [("7", "9^{9^{9^9}}", False), ("7", "(10^7)!", False)]
    items += [(f"{i}+y", f"y+{i}", True) for i in range(3, 40)]
    items += [(f"{i}+y", f"y-{i}", False) for i in range(3, 40)]
    random.Random(0).shuffle(items)
    grades = grade_all(grader, [item[:2] for item in items], n_threads=12)
    assert [grade.problem for grade in grades] == [None] * len(items)
    assert [grade.is_correct for grade in grades] == [item[2] for item in items]
    assert len(grader.worker_ids()) <= 2
    grader.close()


def test_a_worker_that_was_killed_is_replaced_and_the_answer_judged(grader: MathGrader) -> None:
    assert grader.grade(r"\boxed{1+x}", "x+1").is_correct
    for pid in grader.worker_ids():
        os.kill(pid, signal.SIGKILL)
    assert grader.grade(r"\boxed{2+x}", "x+2").is_correct


def test_workers_end_with_close_and_leave_no_zombie() -> None:
    grader = MathGrader()
    assert grader.grade(r"\boxed{1+x}", "x+1").is_correct
    pids = grader.worker_ids()
    assert pids
    grader.close()
    assert grader.worker_ids() == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert grader.grade(r"\boxed{1+x}", "x+1").is_correct, "the next answer starts a new one"
    grader.close()


def test_workers_end_with_a_grader_that_is_collected() -> None:
    grader = MathGrader()
    assert grader.grade(r"\boxed{1+x}", "x+1").is_correct
    pids = grader.worker_ids()
    del grader
    wait_until_gone(pids)


@pytest.mark.parametrize("ending", ["", "os.kill(os.getpid(), 9)", "os._exit(3)"])
def test_workers_end_with_the_process_however_it_ends(ending: str) -> None:
    code = f"""
import os
from calibration.graders import get_grader
grader = get_grader("math")
print(grader.grade("\\\\boxed{{1+x}}", "x+1").is_correct, *grader.worker_ids(), flush=True)
{ending}
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    is_correct, *pids = done.stdout.split()
    assert (is_correct, done.stderr) == ("True", "")
    assert pids
    wait_until_gone([int(pid) for pid in pids])


def test_a_forked_child_starts_workers_of_its_own() -> None:
    code = """
import os, sys
from calibration.graders.math_equal import MathGrader
grader = MathGrader()
assert grader.grade("\\\\boxed{1+x}", "x+1").is_correct
before = grader.worker_ids()
if (child := os.fork()) == 0:
    ok = grader.grade("\\\\boxed{2+x}", "x+2").is_correct
    sys.exit(0 if ok and not set(before) & set(grader.worker_ids()) else 1)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0
assert grader.grade("\\\\boxed{3+x}", "x+3").is_correct
assert grader.worker_ids() == before
"""
    subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=60,
    )


def test_a_child_forked_while_all_workers_are_busy_is_not_stuck() -> None:
    code = """
import os, signal, threading, time
from calibration.graders.math_equal import MathGrader
grader = MathGrader(n_workers=1, cpu_limit_s=2.0)
busy = threading.Thread(target=grader.grade, args=("\\\\boxed{9^{9^{9^9}}}", "7"))
busy.start()
while not grader.worker_ids():
    time.sleep(0.01)
if (child := os.fork()) == 0:
    signal.alarm(40)
    os._exit(0 if grader.grade("\\\\boxed{2+x}", "x+2").is_correct else 1)
_, status = os.waitpid(child, 0)
busy.join()
assert os.waitstatus_to_exitcode(status) == 0
"""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=60,
    )


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(answer=st.text(max_size=60), gold=st.text(min_size=1, max_size=30))
def test_any_text_gets_a_grade(grader: MathGrader, answer: str, gold: str) -> None:
    assert grader.grade(f"Answer: {answer}", gold).problem is None


MARKUP = st.lists(
    st.sampled_from(
        [
            *(r"\frac", "{", "}", "(", ")", "[", "]", "1", "2", "x", "y", "+", "-", ",", "=", "<"),
            *(r"\sqrt", r"\text{", r"\pi", "^", "_", "%", r"\%", " ", r"\left", "$", r"\in", "|"),
            *(r"\begin{pmatrix}", r"\end{pmatrix}", "&", r"\\", r"\cup", "\u221a", "or", "\ud800"),
        ]
    ),
    max_size=12,
).map("".join)


@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(answer=MARKUP, gold=MARKUP)
def test_any_mixture_of_markup_gets_a_grade(grader: MathGrader, answer: str, gold: str) -> None:
    assert grader.grade(f"\\boxed{{{answer}}}", gold).problem is None


@given(st.fractions(max_denominator=10_000), st.fractions(max_denominator=10_000))
def test_rational_numbers_are_compared_exactly(a: Fraction, b: Fraction) -> None:
    grader = get_grader("math")
    latex = rf"\boxed{{{'-' if a < 0 else ''}\dfrac{{{abs(a.numerator)}}}{{{a.denominator}}}}}"
    assert grader.grade(latex, str(a)).is_correct
    assert grader.grade(latex, str(b)).is_correct is (a == b)


def test_a_hanging_worker_gives_a_problem_after_one_retry(tmp_path: Path) -> None:
    started = tmp_path / "started"
    code = f"""
open({str(started)!r}, "a").write("x")
read()
time.sleep(600)
"""
    workers = pool(tmp_path, code, wall_limit_s=3.0)
    reply = workers.ask({"gold": "1", "answer": "1"})
    assert reply.value is None
    assert "wall-clock" in str(reply.problem)
    assert started.read_text("utf-8") == "xx"
    assert workers.worker_ids() == []


def test_a_worker_that_dies_once_is_forgiven(tmp_path: Path) -> None:
    started = tmp_path / "started"
    code = f"""
read()
if not os.path.exists({str(started)!r}):
    open({str(started)!r}, "w").close()
    os.kill(os.getpid(), signal.SIGSEGV)
write({{"equal": True}})
read()
"""
    workers = pool(tmp_path, code)
    assert workers.ask({}) == Reply(value={"equal": True})
    workers.close()


def test_the_second_try_is_on_a_fresh_worker_even_if_another_one_is_idle(tmp_path: Path) -> None:
    code = """
n = 0
while True:
    path = read().get("path")
    if path is None and n:
        sys.exit(3)
    n += 1
    if path:
        open(f"{path}/{os.getpid()}", "w").close()
        while len(os.listdir(path)) < 2:
            time.sleep(0.01)
    write({"n": n})
"""
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    workers = pool(tmp_path, code, n_workers=2)
    with ThreadPoolExecutor(2) as threads:
        used = list(threads.map(workers.ask, [{"path": str(meeting)}] * 2))
    assert used == [Reply(value={"n": 1})] * 2
    assert workers.ask({}) == Reply(value={"n": 1})
    workers.close()


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("read(); os.kill(os.getpid(), signal.SIGSEGV)", "ended by signal 11"),
        ("read(); sys.exit(3)", "ended with status 3"),
        ("sys.exit(4)", "ended with status 4"),
        ("read(); os.write(1, struct.pack('>I', 4) + b'{{{{'); time.sleep(60)", "no JSON"),
    ],
)
def test_a_worker_that_always_fails_gives_a_problem(
    tmp_path: Path, code: str, problem: str
) -> None:
    workers = pool(tmp_path, code)
    assert problem in str(workers.ask({}).problem)
    assert workers.worker_ids() == []


def test_a_worker_that_closes_its_output_and_goes_on_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calibration.graders._worker_pool._EXIT_WAIT_S", 0.2)
    workers = pool(tmp_path, "read(); os.close(1); time.sleep(60)")
    assert "closed its output" in str(workers.ask({}).problem)
    assert workers.worker_ids() == []


def test_cpu_time_that_is_used_up_is_told_apart_and_not_tried_again(tmp_path: Path) -> None:
    started = tmp_path / "started"
    code = f"""
open({str(started)!r}, "a").write("x")
read()
signal.setitimer(signal.ITIMER_PROF, 0.05)
while True:
    pass
"""
    assert pool(tmp_path, code).ask({}) == Reply(is_exhausted=True)
    assert started.read_text("utf-8") == "x"


def test_a_worker_whose_library_does_not_load_says_so(tmp_path: Path) -> None:
    program = tmp_path / "worker.py"
    hello = HELLO.replace('{"ready": True}', '{"failure": "no such library"}')
    program.write_text(hello, encoding="utf-8")
    workers = WorkerPool(python_command(str(program)), n_workers=1, wall_limit_s=20)
    assert workers.ask({}).problem == "no such library"


def test_workers_are_replaced_after_so_many_requests(tmp_path: Path) -> None:
    program = tmp_path / "worker.py"
    program.write_text(HELLO + "while True: read(); write({'pid': os.getpid()})", "utf-8")
    workers = WorkerPool(python_command(str(program)), n_workers=1, wall_limit_s=20, max_requests=2)
    pids = [(workers.ask({}).value or {})["pid"] for _ in range(5)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 1]
    workers.close()


def test_an_interrupted_request_does_not_leave_its_reply_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = pool(tmp_path, "while True: write({'said': read()['x']})")
    assert workers.ask({"x": "1"}).value == {"said": "1"}
    from calibration.graders import _worker_pool

    with monkeypatch.context() as patch:

        def interrupt() -> None:
            raise KeyboardInterrupt

        patch.setattr(_worker_pool.select, "poll", interrupt)
        with pytest.raises(KeyboardInterrupt):
            workers.ask({"x": "2"})
    assert workers.ask({"x": "3"}).value == {"said": "3"}
    workers.close()


def test_two_workers_work_at_the_same_time(tmp_path: Path) -> None:
    code = """
while True:
    path = read()["path"]
    open(f"{path}/{os.getpid()}", "w").close()
    while len(os.listdir(path)) < 2:
        time.sleep(0.01)
    write({"done": True})
"""
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    workers = pool(tmp_path, code, n_workers=2)
    replies: list[Reply] = []
    threads = [
        threading.Thread(target=lambda: replies.append(workers.ask({"path": str(meeting)})))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [reply.value for reply in replies] == [{"done": True}] * 2
    workers.close()


def test_a_dead_worker_is_an_error_and_never_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    grader = MathGrader()
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    answer = Completion(r"\boxed{1+x}", FinishReason.STOP, Usage(1, 1), 0.0)
    judgement = judge(answer, "x+1", grader)
    assert judgement.outcome is Outcome.ERROR
    assert "could not be used" in str(judgement.problem)


@pytest.mark.parametrize(
    ("gold", "problem"), [("", "empty"), (" ", "empty"), ("1" * 1001, "1,001"), ("x+1", None)]
)
def test_gold_answers_that_cannot_match_are_named(gold: str, problem: str | None) -> None:
    said = get_grader("math").check_gold(gold)
    assert said is None if problem is None else problem in str(said)


@pytest.mark.parametrize("module", ["math_verify", "antlr4"])
def test_a_missing_library_names_the_extra(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = {"math_verify": "found", "antlr4": "found", module: None}
    monkeypatch.setattr("calibration.graders.math_equal.find_spec", specs.get)
    with pytest.raises(MissingPrerequisiteError, match=module) as caught:
        MathGrader()
    assert 'pip install "thinkroute[math]"' in str(caught.value)


def test_real_gold_answers_equal_their_rewritten_forms(grader: MathGrader) -> None:
    if not MATH500.exists():
        pytest.skip(f"needs {MATH500}, which is not there")
    import pyarrow.parquet as pq

    column: list[str] = pq.read_table(MATH500, columns=["gold"])["gold"].to_pylist()
    golds = list(dict.fromkeys(column))
    rewritten = [(gold, text) for gold in golds for text in rewrite(gold)]
    assert len(rewritten) > 900
    others = list(itertools.pairwise(golds))
    grades = grade_all(grader, rewritten)
    unequal = grade_all(grader, others)
    assert [p for p, grade in zip(rewritten, grades, strict=True) if not grade.is_correct] == []
    assert [p for p, grade in zip(others, unequal, strict=True) if grade.is_correct] in (
        [],
        [("5", "x=5")],
        [("x=5", "5")],
    )


def rewrite(gold: str) -> Iterator[str]:
    yield gold.replace("\\frac", "\\dfrac")
    if re.fullmatch(r"-?\d+", gold):
        value = int(gold)
        yield from (f"{value:,}", f"{gold}.0", f"x = {gold}", rf"\frac{{{2 * value}}}{{2}}")
        yield from (rf"{gold}\text{{ units}}", f"${gold}$")
    fraction = re.fullmatch(r"(-?)\\d?frac\{(\d+)\}\{(\d+)\}", gold)
    if fraction:
        sign, a, b = fraction.groups()
        yield from (f"{sign}{a}/{b}", rf"{sign}\tfrac{{{2 * int(a)}}}{{{2 * int(b)}}}")
    if gold[0] in "([":
        yield rf"\left{gold[:-1]}\right{gold[-1]}"
