"""The published figures that recommendations rest on."""

from dataclasses import dataclass

from calibration.published import (
    InferenceFit,
    PublishedTable,
    load_inference_fits,
    load_published_table,
)

__all__ = ["PublishedEvidence"]


@dataclass(frozen=True, slots=True)
class PublishedEvidence:
    """Figures of one paper.

    Attributes:
        table: Printed accuracies.
        fits: Printed inference-FLOPs fits.
    """

    table: PublishedTable
    fits: tuple[InferenceFit, ...]

    @classmethod
    def shipped(cls) -> "PublishedEvidence":
        """Return the figures of arXiv 2509.22193v2 that ship with the package."""
        return cls(load_published_table("scale_or_reason_table1"), load_inference_fits())
