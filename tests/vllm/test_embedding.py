"""A local encoder against plain transformers, and a real vLLM server against the local encoder."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies import BackendRequestError
from policies.embedding import OpenAIEmbedder
from router.features.embedding import EmbeddingProjection
from tests.vllm.in_process import MODEL
from tests.vllm.serving import PYTHON, ROOT, VllmServer, serve_vllm

pytestmark = pytest.mark.vllm

TEXTS = ["Compute 3 + 4.", "Compute 3 + 5.", "What is the color of ava?", "a", "xyz " * 60]
POOLED = (
    *("--runner", "pooling", "--convert", "embed"),
    *("--pooler-config", '{"seq_pooling_type": "MEAN", "use_activation": true}'),
)

# Runs where the libraries are. Plain: one text at a time, no padding, numpy's own mean.
LOCAL = """
import asyncio, json, sys
import numpy as np
from policies import ThinkrouteError
from policies.embedding import LocalEmbedder

task = json.loads(sys.stdin.read())
embedder = LocalEmbedder(task["model"], **task["options"])
try:
    rows = embedder.embed(task["texts"])
except ThinkrouteError as error:
    print(json.dumps({"error": str(error), "kind": type(error).__name__}))
    raise SystemExit
again = asyncio.run(embedder.aembed(task["texts"][::-1]))[::-1]
import torch
from transformers import AutoModel, AutoTokenizer
tokenizer, model = AutoTokenizer.from_pretrained(task["model"]), AutoModel.from_pretrained(task["model"])
plain = []
for text in task["texts"]:
    ids = tokenizer(text)["input_ids"][: task["options"].get("max_tokens")]
    with torch.inference_mode():
        states = model(torch.tensor([ids])).last_hidden_state[0].float().numpy()
    mean = states.mean(axis=0)
    plain.append((mean / np.linalg.norm(mean)).tolist())
print(json.dumps({
    "rows": rows.tolist(), "again": again.tolist(), "plain": plain, "dtype": str(rows.dtype),
    "dimensions": embedder.dimensions, "n_truncated": embedder.n_truncated,
}))
asyncio.run(embedder.aclose())
"""


def local(model: Path = MODEL, texts: list[str] | None = None, **options: Any) -> dict[str, Any]:
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing: run scripts/make_venv_vllm.sh")
    task = {"model": str(model), "texts": texts or TEXTS, "options": options}
    done = subprocess.run(
        [str(PYTHON), "-c", LOCAL],
        input=json.dumps(task),
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_vectors_are_the_mean_of_the_last_states_whatever_the_batch() -> None:
    found = local(max_batch=3)
    assert (found["dtype"], found["n_truncated"]) == ("float32", 0)
    assert found["dimensions"] == len(found["rows"][0])
    np.testing.assert_allclose(found["rows"], found["plain"], atol=2e-5)
    np.testing.assert_allclose(found["again"], found["rows"], atol=2e-5)
    # Another number is nearer than another task.
    rows = np.array(found["rows"])
    assert rows[0] @ rows[1] > rows[0] @ rows[2]


def test_long_texts_are_cut_to_what_is_read_and_counted() -> None:
    found = local(max_tokens=5)
    np.testing.assert_allclose(found["rows"], found["plain"], atol=2e-5)
    assert found["n_truncated"] == 2 * (len(TEXTS) - 1)  # embedded twice; "a" is short enough


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"dtype": "float33"}, "InvalidInputError", "float33"),
        ({"device": "abacus"}, "InvalidInputError", "abacus"),
        ({"device": "cuda:0"}, "MissingPrerequisiteError", "cuda:0"),
    ],
)
def test_options_that_cannot_be_used_are_named(
    options: dict[str, Any], kind: str, words: str
) -> None:
    found = local(**options)
    assert found["kind"] == kind
    assert words in found["error"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing: run scripts/make_venv_vllm.sh")
    log = tmp_path_factory.mktemp("vllm-embed") / "server.log"
    with serve_vllm(MODEL, log, flags=POOLED) as running:
        yield running


async def test_a_real_server_embeds_as_the_local_encoder_does(server: VllmServer) -> None:
    embedder = OpenAIEmbedder(server.model, server.base_url, max_batch=2)
    rows = await embedder.aembed(TEXTS)
    await embedder.aclose()
    expected = np.array(local()["rows"])
    assert rows.shape == expected.shape
    np.testing.assert_allclose((rows * expected).sum(axis=1), 1.0, atol=1e-4)
    projection = EmbeddingProjection.fit(rows, 3, 0, identity=embedder.identity())
    np.testing.assert_allclose(
        projection.apply(expected.astype(np.float32)), projection.apply(rows), atol=2e-2
    )


async def test_a_text_beyond_a_real_servers_context_names_the_cure(server: VllmServer) -> None:
    embedder = OpenAIEmbedder(server.model, server.base_url, max_bytes=10**6)
    with pytest.raises(BackendRequestError, match="lower max_bytes"):
        await embedder.aembed(["word " * 5000])
    await embedder.aclose()


async def test_a_name_that_a_real_server_does_not_serve_is_named(server: VllmServer) -> None:
    embedder = OpenAIEmbedder("other", server.base_url)
    with pytest.raises(BackendRequestError, match="check the model's name") as caught:
        await embedder.aembed(["a"])
    await embedder.aclose()
    assert caught.value.status_code == 404
