"""llmrouter-lib: four of its trained routers, with our embedding in the place of Longformer.

Each is made as its users make it, from a YAML file and its data files, and trained by its own
trainer. `route_single` tells no score, so scores are read off the trained models. It also reads
its model from disk on every call; that is left in where decisions are timed and spared after
that, which changes no decision.
"""

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ._embedding import Embedding
from ._job import Job, Variant, main, timed

ARMS = ("weak", "strong")


class Kind(NamedTuple):
    """One of its routers: module, classes, settings from its documentation, and its score."""

    module: str
    router: str
    trainer: str
    settings: dict[str, Any]
    score: Callable[[Any, Any, Any], Any]


def _share_of_neighbours(model: Any, router: Any, vectors: Any) -> Any:
    return model.predict_proba(vectors)[:, list(model.classes_).index("strong")]


def _distance(model: Any, router: Any, vectors: Any) -> Any:
    sign = 1.0 if list(model.classes_).index("strong") == 1 else -1.0
    return sign * model.decision_function(vectors)


def _logits(model: Any, router: Any, vectors: Any) -> Any:
    torch: Any = import_module("torch")
    with torch.no_grad():
        logits = model(torch.tensor(vectors, dtype=torch.float32)).numpy()
    return logits[:, router.model_to_idx["strong"]] - logits[:, router.model_to_idx["weak"]]


def _factors(model: Any, router: Any, vectors: Any) -> Any:
    torch: Any = import_module("torch")
    with torch.no_grad():
        projected = model.text_proj(torch.tensor(vectors, dtype=torch.float32))
        scores = torch.stack([model.score_all(row) for row in projected]).numpy()
    return scores[:, router.model_to_idx["strong"]] - scores[:, router.model_to_idx["weak"]]


KINDS = {
    "knnrouter": Kind(
        "knnrouter",
        "KNNRouter",
        "KNNRouterTrainer",
        # Its default of all cores costs a thread pool on every decision.
        {"n_neighbors": 5, "metric": "cosine", "n_jobs": 1},
        _share_of_neighbours,
    ),
    "svmrouter": Kind(
        "svmrouter",
        "SVMRouter",
        "SVMRouterTrainer",
        {"kernel": "rbf", "C": 1.0, "gamma": "scale"},
        _distance,
    ),
    "mlprouter": Kind(
        "mlprouter",
        "MLPRouter",
        "MLPTrainer",
        {"hidden_layer_sizes": [128, 64], "activation": "relu"},
        _logits,
    ),
    "mfrouter": Kind(
        "mfrouter",
        "MFRouter",
        "MFRouterTrainer",
        {"latent_dim": 128},
        _factors,
    ),
}


def run(job: Job) -> dict[str, Variant]:
    import_module("torch").set_num_threads(1)
    variants: dict[str, Variant] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.perf_counter()
        embed = Embedding(job.train_texts)
        vectors = embed(job.train_texts)
        _write_data(job, vectors, folder)
        prepared = time.perf_counter() - started
        for label, kind in KINDS.items():
            # What its classes report goes to standard output.
            with contextlib.redirect_stdout(sys.stderr):
                variants[label] = _one(job, kind, embed, vectors.shape[1], folder, prepared)
    return variants


def _one(
    job: Job, kind: Kind, embed: Embedding, n_dimensions: int, folder: Path, prepared: float
) -> Variant:
    torch: Any = import_module("torch")
    torch.manual_seed(0)
    package: Any = import_module(f"llmrouter.models.{kind.module}")
    module: Any = import_module(f"llmrouter.models.{kind.module}.router")

    def embedding(text: str) -> Any:
        return torch.tensor(embed([text])[0], dtype=torch.float32)

    module.get_longformer_embedding = embedding
    started = time.perf_counter()
    router = getattr(package, kind.router)(str(_write_settings(kind, n_dimensions, folder)))
    trainer = getattr(package, kind.trainer)(router=router, device="cpu")
    trainer.train()
    fit_s = prepared + time.perf_counter() - started
    latency = timed(router.route_single, [{"query": text} for text in job.test_texts], job.n_timed)

    test = embed(job.test_texts)
    rows = {text: torch.tensor(row, dtype=torch.float32) for text, row in zip(job.test_texts, test)}  # noqa: B905
    module.get_longformer_embedding = rows.__getitem__
    load = module.load_model
    kept: dict[str, Any] = {}

    def load_once(path: str) -> Any:
        if path not in kept:
            kept[path] = load(path)
        return kept[path]

    module.load_model = load_once
    chosen = [router.route_single({"query": text})["model_name"] for text in job.test_texts]
    module.load_model = load
    score = kind.score(trainer.model, router, test)
    return Variant(
        score=[float(value) for value in score],
        is_strong=[str(name) == "strong" for name in chosen],
        latency_ms=latency,
        fit_s=fit_s,
        note="TF-IDF and SVD in the place of Longformer; score read off the trained model",
    )


def _write_data(job: Job, vectors: Any, folder: Path) -> None:
    torch: Any = import_module("torch")
    torch.save(torch.tensor(vectors, dtype=torch.float32), folder / "embeddings.pt")
    with (folder / "routing.jsonl").open("w", encoding="utf-8") as file:
        for index, row in enumerate(job.train):
            for name in ARMS:  # the cheap arm first: it is the best of a tie
                line = {
                    "query": row["q"],
                    "task_name": row["task"],
                    "model_name": name,
                    "performance": row[name],
                    "embedding_id": index,
                }
                file.write(json.dumps(line) + "\n")
    (folder / "llms.json").write_text(json.dumps({name: {} for name in ARMS}), encoding="utf-8")


def _write_settings(kind: Kind, n_dimensions: int, folder: Path) -> Path:
    ending = "pkl"
    settings = {
        "data_path": {
            "routing_data_train": str(folder / "routing.jsonl"),
            "query_embedding_data": str(folder / "embeddings.pt"),
            "llm_data": str(folder / "llms.json"),
        },
        "model_path": {
            "ini_model_path": str(folder / f"{kind.module}-none.{ending}"),
            "save_model_path": str(folder / f"{kind.module}.{ending}"),
            "load_model_path": str(folder / f"{kind.module}.{ending}"),
        },
        "metric": {"weights": {"performance": 1}},
        "hparam": {
            **kind.settings,
            **({"text_dim": n_dimensions} if kind.module == "mfrouter" else {}),
        },
    }
    path = folder / f"{kind.module}.yaml"
    path.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    return path


if __name__ == "__main__":
    main(run)
