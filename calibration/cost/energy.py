"""Energy of a piece of work, from the GPU's own counter.

NVML counts the millijoules a GPU has used since its driver was loaded. What a run used is the
difference of two readings, and what it used beyond waiting is that minus idle power times its
seconds. Power limits and data sheets (TDP) say nothing about it and are never used.

Source: J.-W. Chung et al., The ML.ENERGY Benchmark, arXiv 2505.06371 (the counter, steady state,
energy as a property of load); `nvmlDeviceGetTotalEnergyConsumption` in NVIDIA's NVML reference.
"""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, cast

from policies import InvalidInputError, MissingPrerequisiteError

if TYPE_CHECKING:
    from typing import Self

__all__ = ["MIN_SECONDS", "EnergyMeter", "EnergyReading", "Nvml"]

MIN_SECONDS = 1.0
"""Shortest stretch that is reported: the counter moves in steps of up to about 0.1 s."""


class Nvml(Protocol):
    """What is used of `pynvml`; a test may give its own."""

    @property
    def NVMLError(self) -> type[Exception]:  # noqa: N802
        """What the functions raise."""
        ...

    def nvmlInit(self) -> None:  # noqa: N802
        """Start."""
        ...

    def nvmlShutdown(self) -> None:  # noqa: N802
        """Stop."""
        ...

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        """Return the number of GPUs."""
        ...

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:  # noqa: N802
        """Return what stands for one GPU."""
        ...

    def nvmlDeviceGetName(self, handle: Any) -> str | bytes:  # noqa: N802
        """Return its product name."""
        ...

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any) -> int:  # noqa: N802
        """Return millijoules since the driver was loaded."""
        ...


@dataclass(frozen=True, slots=True)
class EnergyReading:
    """Energy of one stretch of work, over all its GPUs.

    Attributes:
        joules: All that the GPUs used.
        idle_power_w: What they use while waiting, measured before.
        seconds: Length of the stretch.
        devices: Product names.
        concurrency: Requests under way, or the batch: energy per request is a property of it.
    """

    joules: float
    idle_power_w: float
    seconds: float
    devices: tuple[str, ...]
    concurrency: int

    @property
    def net_joules(self) -> float:
        """Energy beyond waiting; below 0 only where the work is lost in the noise of idling."""
        return self.joules - self.idle_power_w * self.seconds

    @property
    def label(self) -> str:
        """What must stand beside the figures."""
        return f"{' + '.join(self.devices)}, {self.concurrency} requests under way, minus idle"

    def net_joules_per(self, n: int) -> float:
        """Return the net energy by token, request or whatever was counted in the stretch.

        Raises:
            InvalidInputError: `n` is not positive.
        """
        if n < 1:
            raise InvalidInputError(f"energy cannot be divided by {n!r}")
        return self.net_joules / n

    def to_json(self) -> dict[str, Any]:
        """Return all fields and the net energy as JSON values."""
        return {**asdict(self), "devices": list(self.devices), "net_joules": self.net_joules}


class EnergyMeter:
    """Context manager that reads the energy counters before and after its body.

    Idle power is measured first, with the model loaded and no request under way; then the body
    should run in steady state, for much longer than a second. Other programs on the same GPUs are
    counted as well. Not to be shared between threads.

    Example:
        Needs a GPU::

            with EnergyMeter(concurrency=8) as meter:
                meter.measure_idle(seconds=30)
                with meter.measure():
                    report = asyncio.run(measure_load(backend, requests, concurrency=8))
            meter.reading.net_joules_per(report.n_completions)
    """

    def __init__(
        self,
        *,
        concurrency: int,
        device_indices: Sequence[int] | None = None,
        nvml: Nvml | None = None,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Choose what to read; nothing is opened yet.

        Args:
            concurrency: Requests under way, or the batch, while it measures; positive.
            device_indices: GPUs as NVML numbers them (CUDA_VISIBLE_DEVICES does not count);
                `None` takes all.
            nvml: The library; `None` takes `pynvml` of the extra `energy`.
            clock: Seconds of a clock that only goes forward.
            sleep: Waits for seconds.

        Raises:
            InvalidInputError: `concurrency` is not positive, or no or double devices are given.
        """
        if concurrency < 1:
            raise InvalidInputError(f"concurrency={concurrency!r}: expected >= 1")
        indices = None if device_indices is None else tuple(device_indices)
        if indices is not None and (not indices or len(set(indices)) < len(indices)):
            raise InvalidInputError(f"device_indices={indices!r}: expected different GPUs")
        self._concurrency = concurrency
        self._indices = indices
        self._given = nvml
        self._clock = clock
        self._sleep = sleep
        self._nvml: Nvml | None = None
        self._handles: list[Any] = []
        self._names: tuple[str, ...] = ()
        self._idle_power_w: float | None = None
        self._reading: EnergyReading | None = None

    def __enter__(self) -> "Self":
        """Open NVML and find the GPUs.

        Raises:
            MissingPrerequisiteError: No `pynvml`, no driver, no GPU, or one without the counter
                (older than Volta).
            InvalidInputError: There is no GPU of a given index.
        """
        nvml = self._given or _default_nvml()
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            raise MissingPrerequisiteError(
                f"NVML cannot be started: {error}", hint="energy needs an NVIDIA GPU and driver"
            ) from error
        self._nvml = nvml
        try:
            self._open(nvml)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close NVML."""
        self._close()

    @property
    def devices(self) -> tuple[str, ...]:
        """Product names of the GPUs that are read; empty while the meter is closed."""
        return self._names if self._nvml is not None else ()

    @property
    def reading(self) -> EnergyReading:
        """What the last `measure` read.

        Raises:
            InvalidInputError: Nothing has been measured.
        """
        if self._reading is None:
            raise InvalidInputError("no energy was measured", hint="run work in meter.measure()")
        return self._reading

    def measure_idle(self, seconds: float = 10.0) -> float:
        """Wait, and return the watts that the GPUs use meanwhile; `measure` subtracts them.

        Raises:
            InvalidInputError: `seconds` is below 1, or the meter is not open.
            MissingPrerequisiteError: A counter cannot be read.
        """
        if not seconds >= MIN_SECONDS:
            raise InvalidInputError(f"seconds={seconds!r}: expected at least {MIN_SECONDS}")
        before, started = self._joules(), self._clock()
        self._sleep(seconds)
        self._idle_power_w = (self._joules() - before) / (self._clock() - started)
        return self._idle_power_w

    @contextmanager
    def measure(self) -> Generator[None]:
        """Measure the body of a with statement; what it used is in `reading` afterwards.

        Raises:
            InvalidInputError: `measure_idle` has not run, or the body took less than a second.
            MissingPrerequisiteError: A counter cannot be read, or was reset meanwhile.
        """
        idle_power_w, self._reading = self._idle_power_w, None
        if idle_power_w is None:
            raise InvalidInputError(
                "idle power is unknown", hint="call measure_idle() before measure()"
            )
        before, started = self._joules(), self._clock()
        yield
        joules, seconds = self._joules() - before, self._clock() - started
        if seconds < MIN_SECONDS:
            raise InvalidInputError(
                f"{seconds:.3g} s are too short for the energy counter",
                hint=f"run at least {MIN_SECONDS} s, better 30 s, in one measure()",
            )
        if joules < 0:
            raise MissingPrerequisiteError(
                "the energy counter went backwards: the driver was loaded again meanwhile"
            )
        self._reading = EnergyReading(joules, idle_power_w, seconds, self._names, self._concurrency)

    def _open(self, nvml: Nvml) -> None:
        n_devices = _ask(nvml, nvml.nvmlDeviceGetCount)
        if not n_devices:
            raise MissingPrerequisiteError("NVML finds no GPU")
        indices = self._indices if self._indices is not None else tuple(range(n_devices))
        if wrong := [index for index in indices if not 0 <= index < n_devices]:
            raise InvalidInputError(f"there is no GPU {wrong[0]}: NVML finds {n_devices}")
        handles = [_ask(nvml, nvml.nvmlDeviceGetHandleByIndex, index) for index in indices]
        names = [_ask(nvml, nvml.nvmlDeviceGetName, handle) for handle in handles]
        self._handles = handles
        self._names = tuple(n.decode() if isinstance(n, bytes) else str(n) for n in names)
        self._joules()

    def _joules(self) -> float:
        if self._nvml is None:
            raise InvalidInputError("the meter is not open", hint="use it in a with statement")
        read = self._nvml.nvmlDeviceGetTotalEnergyConsumption
        millijoules = [int(_ask(self._nvml, read, handle)) for handle in self._handles]
        return sum(millijoules) / 1000

    def _close(self) -> None:
        if self._nvml is not None:
            self._nvml.nvmlShutdown()
        self._nvml = None
        self._handles = []


def _ask(nvml: Nvml, call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except nvml.NVMLError as error:
        raise MissingPrerequisiteError(
            f"NVML refused: {error}", hint="the energy counter needs a Volta GPU or newer"
        ) from error


def _default_nvml() -> Nvml:
    try:
        import pynvml
    except ImportError as error:
        raise MissingPrerequisiteError.extra("energy", "pynvml") from error
    return cast("Nvml", pynvml)
