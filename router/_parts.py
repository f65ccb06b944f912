"""What the content of an artifact comes to: the objects that a router works with, checked."""

from collections.abc import Mapping
from dataclasses import dataclass

from policies import ArtifactCorruptError, DecodingOptions, InvalidInputError
from policies.embedding import Embedder

from ._artifact import one_line
from ._caps import CallerCaps
from ._completion import BackendSpec
from ._contents import check_embedding, check_features, content_id, read_cascade
from ._decider import Decider, Identity
from ._document import RouterDocument
from ._guarantee import Guarantee
from ._members import model_from_members
from ._objective import Objective, Price
from .cascade._cascade import Cascade
from .model._embedding import PromptEmbedding
from .model._model import MIN_QUESTIONS, OutcomeModel

__all__ = ["RouterParts", "read_parts"]


@dataclass(frozen=True, slots=True)
class RouterParts:
    """The parts of a router.

    Attributes:
        model: Predicts p, tokens and cost.
        embedding: More features of prompts, `None` without any.
        decider: Chooses by the model.
        objective: The default objective.
        guarantee: What is promised about it, `None` for nothing.
        cascade: What evidence of a first answer means, `None` where it is not known.
        options: How the outcomes were decoded.
        backends: How each model is reached.
        artifact_id: Hash of everything that decides.
    """

    model: OutcomeModel
    embedding: PromptEmbedding | None
    decider: Decider
    objective: Objective
    guarantee: Guarantee | None
    cascade: Cascade | None
    options: DecodingOptions
    backends: Mapping[str, BackendSpec]
    artifact_id: str


def read_parts(
    document: RouterDocument,
    members: Mapping[str, bytes],
    *,
    caps: CallerCaps | None,
    embedder: Embedder | None,
) -> RouterParts:
    """Return the parts of the router in an artifact.

    Args:
        document: What the manifest says.
        members: The model.
        caps: What each caller may have.
        embedder: What the router's embeddings come from, if it was fitted with any.

    Raises:
        ArtifactCorruptError: Manifest and members do not fit each other.
        ArtifactTooNewError: The features are of a newer version.
        ArtifactError: The features are of an older version.
        InvalidInputError: The embedder is another one than the router was fitted with.
    """
    check_features(document.features)
    model = model_from_members(members)
    parameters = model.parameters
    names = [arm.name for arm in parameters.arms]
    task_types = sorted({label.task_type for label in parameters.labels})
    if (document.arms, document.task_types) != (names, task_types):
        raise ArtifactCorruptError("manifest and 'model.json' name different arms or task types")
    embedding = PromptEmbedding.read(members, embedder)
    check_embedding(embedding, parameters.n_extra)
    try:
        objective = Objective.from_json(document.objective)
        guarantee = None if document.guarantee is None else Guarantee.from_json(document.guarantee)
        prices = {name: Price(**price) for name, price in document.prices.items()}
        options = DecodingOptions(**(document.options or {}))
        backends = {name: BackendSpec.from_json(x) for name, x in document.backends.items()}
    except (InvalidInputError, TypeError) as error:
        raise ArtifactCorruptError(f"'manifest.json': {one_line(error)}") from error
    artifact_id = content_id(document, members)
    cascade = read_cascade(members, len(names))
    is_small = document.data.n_fitted < MIN_QUESTIONS
    identity = Identity(artifact_id, document.features_version, is_small)
    return RouterParts(
        model=model,
        embedding=embedding,
        decider=Decider(model, cascade, document.tasks, prices, caps, identity),
        objective=objective,
        guarantee=guarantee,
        cascade=cascade,
        options=options,
        backends=backends,
        artifact_id=artifact_id,
    )
