"""Architectures of models on the Hugging Face hub, without downloading weights.

Needs the extra `hub`. Only `config.json` and the headers of the weights are fetched; code of a
repository is never run.
"""

from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from policies import (
    BackendConnectionError,
    BackendError,
    BackendRequestError,
    MissingPrerequisiteError,
)

from .architecture import Architecture
from .checkpoint import ParameterCheck, TensorHeader, check_parameters

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HubClient", "HubModel", "architecture_from_hub"]


class HubClient(Protocol):
    """What is used of `huggingface_hub.HfApi`."""

    def hf_hub_download(self, repo_id: str, filename: str, *, revision: str | None = None) -> str:
        """Return the local path of one file, which is downloaded if the cache lacks it."""
        ...

    def get_safetensors_metadata(self, repo_id: str, *, revision: str | None = None) -> Any:
        """Return the headers of all safetensors files: `.files_metadata[file].tensors[name]`."""
        ...


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model as it lies on the hub.

    Attributes:
        repo: Its repository, such as `Qwen/Qwen3-8B`.
        revision: Commit whose files were read.
        architecture: Shape of the network.
        check: Parameters of the formula and of the weights' headers; `None` if unchecked.
    """

    repo: str
    revision: str
    architecture: Architecture
    check: ParameterCheck | None


def architecture_from_hub(
    repo: str,
    revision: str | None = None,
    *,
    checks_parameters: bool = True,
    client: HubClient | None = None,
) -> HubModel:
    """Read a model's architecture from its hub repository and check it against the weights.

    Args:
        repo: Repository, such as `Qwen/Qwen3-8B`.
        revision: Branch, tag or commit; `None` is the default branch. The weights are read at
            the commit that `config.json` came from.
        checks_parameters: Whether headers of the weights are fetched too; without, one small
            file is, which works from the local cache as well.
        client: Asks the hub; `None` takes `huggingface_hub.HfApi()` with its own settings
            (`HF_TOKEN`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`, its cache).

    Raises:
        MissingPrerequisiteError: The extra `hub` is not installed.
        BackendConnectionError: The hub cannot be reached, or is switched off, and the file is not
            in the cache.
        BackendRequestError: There is no such repository, revision or file, or no access to it.
        InvalidInputError: The network is not modelled, or its parameters do not add up.
    """
    client = client or _default_client()
    config = Path(
        _ask(repo, lambda: client.hf_hub_download(repo, "config.json", revision=revision))
    )
    architecture = Architecture.from_config(config)
    # The cache keeps files as .../snapshots/COMMIT/config.json.
    commit = config.parent.name if config.parent.parent.name == "snapshots" else revision or ""
    check = None
    if checks_parameters:
        metadata = _ask(
            repo, lambda: client.get_safetensors_metadata(repo, revision=commit or revision)
        )
        check = check_parameters(architecture, _headers(metadata))
    return HubModel(repo, commit, architecture, check)


def _headers(metadata: Any) -> dict[str, TensorHeader]:
    return {
        str(name): TensorHeader(str(tensor.dtype), tuple(int(size) for size in tensor.shape))
        for file in metadata.files_metadata.values()
        for name, tensor in file.tensors.items()
    }


def _default_client() -> HubClient:
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingPrerequisiteError.extra("hub", "huggingface_hub") from error
    return HfApi()


def _ask(repo: str, call: "Callable[[], Any]") -> Any:
    try:
        import httpx
        from huggingface_hub import errors
    except ImportError as error:
        raise MissingPrerequisiteError.extra("hub", "huggingface_hub") from error
    try:
        return call()
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, httpx.TransportError) as e:
        raise BackendConnectionError(
            f"the hub cannot be reached for {repo!r}, and its file is not in the local cache",
            backend="huggingface",
            model=repo,
            hint="go online, or give a local config.json",
        ) from e
    except (
        errors.HfHubHTTPError,
        errors.HFValidationError,
        errors.NotASafetensorsRepoError,
        errors.SafetensorsParsingError,
    ) as e:
        raise _refused(repo, e) from e


def _refused(repo: str, error: Exception) -> BackendError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    text = str(error).strip().partition("\n")[0]
    return BackendRequestError(
        f"the hub gave nothing for {repo!r}: {text}",
        backend="huggingface",
        model=repo,
        status_code=status,
        retryable=status is not None and (status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500),
        hint="check the name, the revision, and that HF_TOKEN may read it",
    )
