"""The reward that is exported beside GRPO configurations."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.export import _reward
from advisor.export._reward import accuracy, final_answer, is_right

RIGHT = [
    ("<think>\nso 3\n</think>\n\nAnswer: 42", "42"),
    (r"Thus \boxed{\frac{3}{4}}.", "3/4"),
    (r"$\boxed{1{,}000}$", r"\boxed{1{,}000}"),
    (r"\boxed{\text{Paris}}", "paris"),
    ("The answer is **C**.", "C"),
    ("The final answer is: $12.50$", "12.5"),
    ("It costs 1,250 dollars in total, 12 each. Answer: 1,250", "1250"),
    ("There are 7 of them, so we get 42 apples.", "42"),
    ("B", "b"),
    ("Answer: (B)", "B"),
    ("<think>\n\\boxed{1}\n</think>\n\n\\boxed{2}", "2"),
]
WRONG = [
    ("<think>\nthe answer is 42", "42"),
    ("<think>\n\\boxed{42}\n</think>\n\n\\boxed{41}", "42"),
    ("Answer: 42", "43"),
    ("", "42"),
    ("<think>\n42\n</think>", "42"),
    ("Answer: B", "A"),
    ("Answer: 1/0", "0"),
]


@pytest.mark.parametrize(("text", "solution"), RIGHT)
def test_right_answers_are_rewarded(text: str, solution: str) -> None:
    assert is_right(text, solution)


@pytest.mark.parametrize(("text", "solution"), WRONG)
def test_wrong_missing_and_unfinished_answers_are_not(text: str, solution: str) -> None:
    assert not is_right(text, solution)


def test_the_trainer_gets_one_number_per_completion() -> None:
    completions = [[{"role": "assistant", "content": "Answer: 1"}], "Answer: 2"]
    assert accuracy(completions, ["1", "1"], prompts=["p", "p"], completion_ids=[[1], [2]]) == [
        1.0,
        0.0,
    ]


@given(st.text(), st.text())
def test_no_text_breaks_it(text: str, solution: str) -> None:
    assert accuracy([text], [solution]) in ([0.0], [1.0])


@given(st.integers(-(10**9), 10**9), st.text(alphabet="abc \n.", max_size=40))
def test_any_number_is_recognised_after_a_closed_thought(number: int, thought: str) -> None:
    text = f"<think>\n{thought}\n</think>\n\nAnswer: {number:,}"
    assert is_right(text, str(number))
    assert not is_right(text, str(number + 1))


def test_thoughts_hold_no_answer() -> None:
    assert final_answer("<think>\nAnswer: 1\n</think>\n\nAnswer: 2") == "2"


def test_it_runs_without_this_package(tmp_path: Path) -> None:
    script = Path(_reward.__file__).read_text("utf-8")
    (tmp_path / "rewards.py").write_text(script, "utf-8")
    code = "import rewards, sys; print(rewards.accuracy(['Answer: 1'], ['1']), *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, '.'); {code}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.startswith("[1.0]")
    assert "policies" not in done.stdout
