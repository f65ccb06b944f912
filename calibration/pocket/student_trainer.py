"""One model in memory that is trained as one student after the other. Needs the extra `train`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from policies import MissingPrerequisiteError
from policies.backends.pocket import pocket_directory

from .onnx_weights import write_onnx
from .students import StudentRow, Tuning, fine_tune, load_state
from .tokenizer import build_tokenizer

__all__ = ["StudentTrainer"]


class StudentTrainer:
    """Trains pocket students from base models; whoever calls decides on what and in which order.

    Example:
        trainer = StudentTrainer(Path("bases"))
        trainer.load_base("pocket-xs")
        trainer.run(rows, TUNING["pocket-xs"])
        trainer.export(Path("student"))

    Raises:
        MissingPrerequisiteError: The extra `train` is not installed.
    """

    def __init__(self, bases: Path, *, device: str = "cpu") -> None:
        """Take the folder of the bases; nothing is read yet.

        Args:
            bases: Holds `SIZE/model` for each size, as `calibration.pocket.base` writes them.
            device: A torch device.
        """
        try:
            import onnx
            import torch
            import transformers
        except ImportError as error:
            raise MissingPrerequisiteError.extra("train", str(error.name)) from error
        self.versions = {one.__name__: str(one.__version__) for one in (torch, transformers, onnx)}
        transformers.utils.logging.disable_progress_bar()  # Whoever calls shows progress.
        # One core per student: there are more students than cores, and results do not depend on
        # how many cores there are.
        torch.set_num_threads(1)
        self._bases = bases
        self._device = device
        self._tokenizer = build_tokenizer()

    def load_base(self, size: str) -> None:
        """Begin a new student from the base of a size."""
        from transformers import Qwen3ForCausalLM

        folder = self._bases / size / "model"
        self._model = Qwen3ForCausalLM.from_pretrained(folder).to(self._device)
        self._size = size

    def load_state(self, state: Path) -> None:
        """Give the student the weights of a state that `run` has kept."""
        load_state(self._model, state)

    def run(
        self,
        rows: Sequence[StudentRow],
        tuning: Tuning,
        *,
        start: Path | None = None,
        keep: Mapping[int, Path] | None = None,
        on_step: Callable[[int, int, float], None] | None = None,
    ) -> None:
        """Train the student on rows, see `fine_tune`."""
        fine_tune(
            self._model, self._tokenizer, rows, tuning, start=start, keep=keep, on_step=on_step
        )

    def export(self, target: Path) -> None:
        """Write the student's ONNX form to a folder."""
        weights = {name: one.detach().cpu().numpy() for name, one in self._model.named_parameters()}
        write_onnx(weights, pocket_directory(self._size), target)
