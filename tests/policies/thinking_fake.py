"""A scripted model that thinks, for the tests of contracts and of the fake backend itself."""

from typing import Any

from policies.backends.fake import FakeAnswer, FakeBackend

THOUGHT = "First one counts to ten then one adds two and so one ends at a dozen as it is . " * 2
ANSWER = FakeAnswer(
    "The answer is twelve",
    thinking=THOUGHT.strip(),
    direct="It is about eleven",
    when_cut=lambda n_left: f"After {n_left} words I say ten",
    samples=("The answer is twelve", "Maybe it is thirteen", "Who can tell"),
)


def fake(**options: Any) -> FakeBackend:
    return FakeBackend(lambda request: ANSWER, **options)
