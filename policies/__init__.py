"""One query in, one completion out: messages, policies and backends."""

from ._backend import Backend, Capability, GenerationRequest, require
from ._errors import (
    ArtifactCorruptError,
    ArtifactError,
    ArtifactTooNewError,
    BackendConnectionError,
    BackendError,
    BackendRateLimitError,
    BackendRequestError,
    BackendResponseError,
    BackendTimeoutError,
    CapabilityError,
    ConfigError,
    DataFileError,
    InvalidInputError,
    InvalidPolicyError,
    InvalidSizeError,
    MissingPrerequisiteError,
    NoAdmissibleArmError,
    StoreError,
    ThinkrouteError,
    UnknownNameError,
)
from ._messages import Completion, Evidence, FinishReason, Message, Role, Usage, user_message
from ._policy import DecodingOptions, Policy
from ._registry import backend_names, build_backend, build_policy, policy_names
from ._siblings import check_sibling
from ._spec import MAX, Budget, ParameterValue, PolicySpec
from ._vocabulary import TASK_TYPES, Mode, ModelSize, check_task_type

__distribution__ = "thinkroute"

__all__ = [
    "MAX",
    "TASK_TYPES",
    "ArtifactCorruptError",
    "ArtifactError",
    "ArtifactTooNewError",
    "Backend",
    "BackendConnectionError",
    "BackendError",
    "BackendRateLimitError",
    "BackendRequestError",
    "BackendResponseError",
    "BackendTimeoutError",
    "Budget",
    "Capability",
    "CapabilityError",
    "Completion",
    "ConfigError",
    "DataFileError",
    "DecodingOptions",
    "Evidence",
    "FinishReason",
    "GenerationRequest",
    "InvalidInputError",
    "InvalidPolicyError",
    "InvalidSizeError",
    "Message",
    "MissingPrerequisiteError",
    "Mode",
    "ModelSize",
    "NoAdmissibleArmError",
    "ParameterValue",
    "Policy",
    "PolicySpec",
    "Role",
    "StoreError",
    "ThinkrouteError",
    "UnknownNameError",
    "Usage",
    "backend_names",
    "build_backend",
    "build_policy",
    "check_sibling",
    "check_task_type",
    "policy_names",
    "require",
    "user_message",
]
