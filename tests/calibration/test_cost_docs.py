"""What the page on costs shows is run."""

import re
from pathlib import Path

import pytest

from calibration.cost import bound_step, decode_step, known_architecture, known_device, load_prices

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "explanation" / "costs.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_example_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    (code,) = blocks("python")
    exec(compile(code, "costs.md", "exec"), {})
    assert int(capsys.readouterr().out) > 1e6


def test_the_price_file_loads(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    (tmp_path / "prices.toml").write_text(text)
    assert load_prices(tmp_path / "prices.toml")["my-model"].output_usd_per_million == 10


def test_decode_is_bound_by_memory_at_every_batch_the_page_says() -> None:
    device = known_device("H200-SXM")
    for name in ("Qwen3-0.6B", "Qwen3-8B", "Qwen3-30B-A3B"):
        architecture = known_architecture(name)
        for batch in range(1, 257):
            assert (
                bound_step(decode_step(architecture, 4096, batch=batch), device).limit == "memory"
            )
