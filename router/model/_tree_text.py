"""LightGBM's text format without what neither it nor we need to predict."""

__all__ = ["slim_text"]

_UNUSED = (
    "tree_sizes=",  # of the text before; without it LightGBM reads tree after tree
    "split_gain=",
    "leaf_weight=",
    "leaf_count=",
    "internal_value=",
    "internal_weight=",
    "internal_count=",
)


def slim_text(text: str) -> str:
    """Return a text model without statistics of its training, a third of the length.

    LightGBM still loads it and predicts the same.

    Args:
        text: What `Booster.model_to_string` gives.
    """
    model, end, _ = text.partition("end of trees")
    lines = (line for line in model.split("\n") if not line.startswith(_UNUSED))
    return "\n".join(lines) + end + "\n"
