"""How the learning rate moves, as all three libraries take it from `transformers`."""

from ._layout import Entry
from ._training import TrainingRun

__all__ = ["scheduler_entries"]


def scheduler_entries(run: TrainingRun, key: str = "lr_scheduler_type") -> list[Entry]:
    """Return the keys of warm-up, plateau and decay; without a decay the peak is kept.

    Args:
        run: The stage, whose warm-up is a key of its own.
        key: What the library calls the kind of schedule.
    """
    if not run.decay_steps:
        return [Entry(key, "constant_with_warmup")]
    return [
        Entry(key, "warmup_stable_decay"),
        Entry(
            "lr_scheduler_kwargs",
            {"num_decay_steps": run.decay_steps, "min_lr_ratio": run.min_lr_ratio},
        ),
    ]
