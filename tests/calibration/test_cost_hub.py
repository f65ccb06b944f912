"""Architectures from the hub: the real client against a hub on this machine, and offline."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from calibration.cost import Architecture, architecture_from_hub
from policies import BackendConnectionError, BackendRequestError, InvalidInputError

pytest.importorskip("huggingface_hub", reason="needs the extra hub")

MODEL = Path(__file__).resolve().parents[2] / "models" / "pocket-xs"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"config.json", "model.safetensors"}


class Hub(BaseHTTPRequestHandler):
    """Serves one repository, `us/pocket`, the way the hub does."""

    ranges: list[str]
    folder: Path

    def do_HEAD(self) -> None:
        self._answer(has_body=False)

    def do_GET(self) -> None:
        self._answer(has_body=True)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Print nothing."""

    def _answer(self, *, has_body: bool) -> None:
        owner, name, _, revision, file = (self.path.lstrip("/").split("/", 4) + [""] * 5)[:5]
        body, status = b"", 404
        if (owner, name) == ("us", "pocket") and revision in {"main", COMMIT} and file in FILES:
            body, status = (self.folder / file).read_bytes(), 200
            if asked := self.headers.get("Range"):
                self.ranges.append(f"{file} {asked}")
                first, last = asked.removeprefix("bytes=").split("-")
                body, status = body[int(first) : int(last) + 1], 206
        self.send_response(status)
        if status == 404:
            is_there = (owner, name) == ("us", "pocket")
            self.send_header("X-Error-Code", "EntryNotFound" if is_there else "RepoNotFound")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{file}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if has_body:
            self.wfile.write(body)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[type[Hub], str]]:
    handler = type("OneHub", (Hub,), {"ranges": [], "folder": tmp_path / "served"})
    (tmp_path / "served").mkdir()
    for file in FILES:
        shutil.copy(MODEL / file, tmp_path / "served" / file)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield handler, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def no_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the library from asking huggingface.co about its surroundings."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)


class Client:
    """The real client with an endpoint and a cache of its own."""

    def __init__(self, endpoint: str, cache: Path) -> None:
        from huggingface_hub import HfApi

        self._api = HfApi(endpoint=endpoint, token=False)
        self._cache = cache

    def hf_hub_download(self, repo_id: str, filename: str, *, revision: str | None = None) -> str:
        return self._api.hf_hub_download(
            repo_id, filename, revision=revision, cache_dir=self._cache
        )

    def get_safetensors_metadata(self, repo_id: str, *, revision: str | None = None) -> Any:
        return self._api.get_safetensors_metadata(repo_id, revision=revision)


def test_configuration_and_headers_are_read_at_one_commit(
    hub: tuple[type[Hub], str], tmp_path: Path
) -> None:
    handler, endpoint = hub
    model = architecture_from_hub("us/pocket", client=Client(endpoint, tmp_path / "cache"))
    assert model.revision == COMMIT
    assert model.architecture == Architecture.from_config(MODEL)
    assert model.check is not None
    assert model.check.n_found == model.check.n_expected == model.architecture.n_params
    # Only the beginning of the weights was fetched.
    assert handler.ranges
    assert all(text.startswith("model.safetensors bytes=0-") for text in handler.ranges)


def test_a_configuration_of_another_model_is_refused(
    hub: tuple[type[Hub], str], tmp_path: Path
) -> None:
    handler, endpoint = hub
    config = json.loads((handler.folder / "config.json").read_text())
    config["intermediate_size"] *= 2
    (handler.folder / "config.json").write_text(json.dumps(config))
    client = Client(endpoint, tmp_path / "cache")
    with pytest.raises(InvalidInputError) as caught:
        architecture_from_hub("us/pocket", client=client)
    assert caught.value.code == "parameter-mismatch"
    assert architecture_from_hub("us/pocket", checks_parameters=False, client=client).check is None


@pytest.mark.parametrize(
    ("repo", "revision"), [("us/nothing", None), ("us/pocket", "v9"), ("not a name", None)]
)
def test_what_the_hub_does_not_have_is_a_refusal(
    repo: str, revision: str | None, hub: tuple[type[Hub], str], tmp_path: Path
) -> None:
    with pytest.raises(BackendRequestError, match=repo) as caught:
        architecture_from_hub(repo, revision, client=Client(hub[1], tmp_path / "cache"))
    assert not caught.value.retryable


def test_a_repository_without_safetensors_is_a_refusal(
    hub: tuple[type[Hub], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.FILES", {"config.json"})
    with pytest.raises(BackendRequestError, match="us/pocket"):
        architecture_from_hub("us/pocket", client=Client(hub[1], tmp_path / "cache"))


def test_without_a_hub_the_cache_still_serves_what_it_holds(
    hub: tuple[type[Hub], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    architecture_from_hub("us/pocket", client=Client(hub[1], cache))
    # What the variable of the same name sets when the library is imported.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    client = Client(hub[1], cache)
    model = architecture_from_hub("us/pocket", checks_parameters=False, client=client)
    assert model.revision == COMMIT
    with pytest.raises(BackendConnectionError, match="cannot be reached for 'us/pocket'") as caught:
        architecture_from_hub("us/pocket", client=client)
    assert "local config.json" in caught.value.hint
    with pytest.raises(BackendConnectionError):
        architecture_from_hub("us/pocket", client=Client(hub[1], tmp_path / "empty"))


def test_a_hub_that_nobody_answers_for_is_a_connection_error(tmp_path: Path) -> None:
    class Away:
        def hf_hub_download(
            self, repo_id: str, filename: str, *, revision: str | None = None
        ) -> str:
            del repo_id, filename, revision
            return str(MODEL / "config.json")

        def get_safetensors_metadata(self, repo_id: str, *, revision: str | None = None) -> Any:
            del repo_id, revision
            raise httpx.ConnectError("connection refused")

    with pytest.raises(BackendConnectionError) as caught:
        architecture_from_hub("us/pocket", client=Away())
    assert caught.value.retryable


def test_the_librarys_own_settings_hold_where_no_client_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BackendConnectionError, match="not in the local cache"):
        architecture_from_hub("us/nowhere")
