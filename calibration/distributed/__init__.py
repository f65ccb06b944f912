"""Many machines: workers of a cluster behind the interface of one backend."""

from .ray import RayBackend

__all__ = ["RayBackend"]
