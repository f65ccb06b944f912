"""Talk to a backend that runs in the environment of its library, `.venv-vllm`."""

import json
import os
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from policies import (
    Completion,
    Evidence,
    FinishReason,
    GenerationRequest,
    ThoughtMarkers,
    Usage,
    user_message,
)
from tests.vllm.serving import PYTHON, ROOT

# On purpose without `if __name__ == "__main__"`: the backends must start from such a script.
SCRIPT = "from tests.vllm.driver import serve\n\nserve()\n"
MODEL = ROOT / "models" / "pocket-m"
STOP_S = 60.0

Json = dict[str, Any]


class RefusedError(Exception):
    """An error of ours on the other side.

    Attributes:
        kind: Name of its class.
        code: Its stable code.
        retryable: Whether another try may help; `None` if it is no backend error.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        super().__init__(fields["text"])
        self.kind: str = fields["type"]
        self.code: str = fields["code"]
        self.retryable: bool | None = fields["retryable"]


class Driver:
    """The process with the backends."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self.process = process
        self.log = log

    def call(self, backend: Mapping[str, Any], do: str, **fields: Any) -> Any:
        """Have one command done and return its result.

        Raises:
            RefusedError: The other side raised an error of ours.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"backend": backend, "do": do, **fields}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the driver ended: {self.log.read_text(errors='replace')[-4000:]}"
        reply = json.loads(line)
        if "error" in reply:
            raise RefusedError(reply["error"])
        return reply["reply"]

    def outcomes(
        self, backend: Mapping[str, Any], requests: Sequence[GenerationRequest]
    ) -> list[Completion | RefusedError]:
        """Ask all at once."""
        replies = self.call(backend, "generate", requests=[asdict(r) for r in requests])
        return [
            RefusedError(reply["error"]) if "error" in reply else completion_of(reply["completion"])
            for reply in replies
        ]

    def generate(
        self, backend: Mapping[str, Any], requests: Sequence[GenerationRequest]
    ) -> list[Completion]:
        """Ask all at once; all must succeed."""
        completions: list[Completion] = []
        for outcome in self.outcomes(backend, requests):
            if isinstance(outcome, RefusedError):
                raise outcome
            completions.append(outcome)
        return completions

    def markers(self, backend: Mapping[str, Any]) -> ThoughtMarkers:
        fields = self.call(backend, "markers")
        return ThoughtMarkers(tuple(fields["start"]), tuple(fields["end"]), fields["n_in_prompt"])


@contextmanager
def run_driver(log: Path, **variables: str) -> Generator[Driver]:
    """Start the process; end its input afterwards and wait for its own end.

    Its backends are not closed, so that the end shows that nothing keeps the process alive.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
        **variables,
    }
    script = log.with_name("script.py")
    script.write_text(SCRIPT, "utf-8")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(PYTHON), str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            cwd=log.parent,
            env=environment,
        )
    try:
        yield Driver(process, log)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(STOP_S) == 0, log.read_text(errors="replace")[-4000:]
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def completion_of(fields: Json) -> Completion:
    evidence = fields["evidence"]
    return Completion(
        text=fields["text"],
        finish_reason=FinishReason(fields["finish_reason"]),
        usage=Usage(**fields["usage"]),
        seconds=fields["seconds"],
        thinking=fields["thinking"],
        thinking_closed=fields["thinking_closed"],
        token_ids=tuple(fields["token_ids"]),
        evidence=evidence and Evidence(**evidence),
        wire=fields["wire"],
    )


def ask(prompt: str, *, thinking: bool = True, **fields: Any) -> GenerationRequest:
    fields = {"max_tokens": 160, **fields}
    return GenerationRequest(user_message(prompt), thinking=thinking, **fields)


def ids(completion: Completion) -> tuple[int, ...]:
    assert completion.token_ids is not None
    return completion.token_ids


def essence(completion: Completion) -> tuple[object, ...]:
    """Return what two backends must agree on."""
    usage = completion.usage
    return (
        completion.token_ids,
        completion.text,
        completion.thinking,
        completion.thinking_closed,
        completion.finish_reason,
        (usage.prompt_tokens, usage.completion_tokens, usage.thinking_tokens),
    )
