"""What the page on training costs shows is run, and its tables are computed again."""

import re
from pathlib import Path

import pytest

from advisor.cost import (
    Gpus,
    InferBudget,
    Range,
    Traffic,
    TrainBudget,
    Workload,
    memory_per_gpu,
    six_nd_flops,
    smallest_n_gpus,
    training_flops,
)

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "explanation" / "training-costs.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def table_after(words: str) -> list[list[str]]:
    """Cells of the first table behind some words, without its header and rule."""
    lines = PAGE[PAGE.index(words) :].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    rows: list[list[str]] = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_the_example_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("python")
    exec(compile(code, "training-costs.md", "exec"), {})
    (expected,) = blocks("text")
    assert capsys.readouterr().out == expected


def test_the_table_of_the_shortcut_is_computed_again() -> None:
    header, _, *rows = table_after("Exact / 6ND")
    assert len(rows) == 4
    for length, *cells in rows:
        workload = Workload(prompt_tokens=0, answer_tokens=int(length.replace(",", "")))
        for size, cell in zip(header[1:], cells, strict=True):
            ratio = training_flops(size, 0.0, workload) / six_nd_flops(size, 0.0, workload)
            assert f"{ratio:.2f}" == cell


def test_the_table_of_memory_is_computed_again() -> None:
    _, _, *rows = table_after("At 16,384 tokens on 8 H100")
    assert len(rows) == 4
    for size, state, activations, logits, total, fused_total, fewest in rows:
        plain = memory_per_gpu(size, sequence_tokens=16_384)
        fused = memory_per_gpu(size, sequence_tokens=16_384, fused_logits=True)
        assert state == span(plain.state)
        assert activations == f"{plain.activations.mid / 1e9:.1f}"
        assert logits == span(plain.logits)
        assert total == span(plain.total)
        assert fused_total == span(fused.total)
        counts = [
            smallest_n_gpus(size, sequence_tokens=16_384, fused_logits=on) for on in (False, True)
        ]
        assert fewest == f"{counts[0]} / {counts[1]}"


def test_every_spelling_on_the_page_is_read() -> None:
    _, _, *rows = table_after("## Budgets, GPUs, traffic")
    readers = [TrainBudget.parse, InferBudget.parse, Gpus.parse, Traffic.parse]
    for (_, cell), read in zip(rows, readers, strict=True):
        spellings = re.findall(r"`([^`]+)`", cell)
        assert len(spellings) >= 3
        for text in spellings:
            read(text)


def span(part: Range) -> str:
    return f"{part.low / 1e9:.0f}-{part.high / 1e9:.0f}"
