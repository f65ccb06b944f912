"""Energy meter against a GPU whose power is known."""

import json
from typing import Any

import pytest

from calibration.cost import EnergyMeter, EnergyReading
from policies import InvalidInputError, MissingPrerequisiteError


class RefusedError(Exception):
    """What the library raises."""


class FakeNvml:
    """GPUs that use a fixed power at any moment of a clock that only `sleep` moves."""

    def __init__(self, n_devices: int = 1, *, has_driver: bool = True, has_counter: bool = True):
        self.NVMLError: type[Exception] = RefusedError
        self.n_devices = n_devices
        self.has_driver = has_driver
        self.has_counter = has_counter
        self.power_w = 50.0
        self.now = 1000.0
        self.used_j = 0.0
        self.n_open = 0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.used_j += self.power_w * seconds

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.has_driver:
            raise RefusedError("driver not loaded")
        self.n_open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.n_open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self.n_devices

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:  # noqa: N802
        return b"Card 0" if handle == 0 else f"Card {handle}"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        if not self.has_counter:
            raise RefusedError("not supported")
        # Counters start anywhere; GPU number n uses n+1 times the power.
        return 10**9 * (handle + 3) + round(self.used_j * (handle + 1) * 1000)


def meter(gpu: FakeNvml, **arguments: Any) -> EnergyMeter:
    arguments.setdefault("concurrency", 8)
    return EnergyMeter(nvml=gpu, clock=gpu.clock, sleep=gpu.sleep, **arguments)


def test_idle_power_is_subtracted() -> None:
    gpu = FakeNvml()
    with meter(gpu) as energy:
        assert energy.measure_idle(30) == pytest.approx(50)
        gpu.power_w = 300
        with energy.measure():
            gpu.sleep(20)
        reading = energy.reading
    assert reading.joules == pytest.approx(6000)
    assert reading.net_joules == pytest.approx(5000)
    assert reading.seconds == pytest.approx(20)
    assert reading.net_joules_per(2000) == pytest.approx(2.5)
    assert gpu.n_open == 0


def test_the_label_names_load_and_devices() -> None:
    gpu = FakeNvml(2)
    with meter(gpu, concurrency=16) as energy:
        energy.measure_idle()
        with energy.measure():
            gpu.sleep(2)
    assert energy.reading.label == "Card 0 + Card 1, 16 requests under way, minus idle"
    document = json.loads(json.dumps(energy.reading.to_json()))
    assert document["concurrency"] == 16
    assert document["devices"] == ["Card 0", "Card 1"]
    assert document["net_joules"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("indices", "factor"), [(None, 1 + 2 + 3), ([1], 2), ([0, 2], 1 + 3)])
def test_gpus_are_summed(indices: list[int] | None, factor: int) -> None:
    gpu = FakeNvml(3)
    with meter(gpu, device_indices=indices) as energy:
        energy.measure_idle(10)
        gpu.power_w = 100
        with energy.measure():
            gpu.sleep(10)
    assert energy.reading.joules == pytest.approx(1000 * factor)
    assert energy.reading.net_joules == pytest.approx(500 * factor)


def test_work_below_idle_is_told_as_it_was_read() -> None:
    gpu = FakeNvml()
    with meter(gpu) as energy:
        energy.measure_idle(10)
        gpu.power_w = 40
        with energy.measure():
            gpu.sleep(10)
    assert energy.reading.net_joules == pytest.approx(-100)


def test_energy_needs_idle_power_first() -> None:
    with (
        meter(FakeNvml()) as energy,
        pytest.raises(InvalidInputError, match="idle power is unknown"),
        energy.measure(),
    ):
        pass


def test_a_stretch_too_short_for_the_counter_is_refused() -> None:
    gpu = FakeNvml()
    with meter(gpu) as energy:
        energy.measure_idle(1)
        with pytest.raises(InvalidInputError, match="too short"), energy.measure():
            gpu.sleep(0.5)
        with pytest.raises(InvalidInputError, match="no energy was measured"):
            _ = energy.reading
        with pytest.raises(InvalidInputError, match=r"seconds=0\.5"):
            energy.measure_idle(0.5)


def test_failed_work_has_no_reading() -> None:
    gpu = FakeNvml()
    with meter(gpu) as energy:
        energy.measure_idle(1)
        with energy.measure():
            gpu.sleep(5)
        with pytest.raises(ZeroDivisionError), energy.measure():
            gpu.sleep(5 // 0)
        with pytest.raises(InvalidInputError, match="no energy was measured"):
            _ = energy.reading
    assert gpu.n_open == 0


def test_a_counter_that_was_reset_is_no_reading() -> None:
    gpu = FakeNvml()
    with meter(gpu) as energy:
        energy.measure_idle(1)
        stretch = energy.measure()
        stretch.__enter__()
        gpu.sleep(5)
        gpu.used_j = 0
        with pytest.raises(MissingPrerequisiteError, match="backwards"):
            stretch.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("gpu", "named"),
    [
        (FakeNvml(has_driver=False), "driver not loaded"),
        (FakeNvml(0), "no GPU"),
        (FakeNvml(has_counter=False), "not supported"),
    ],
)
def test_without_a_counter_there_is_an_error_and_no_guess(gpu: FakeNvml, named: str) -> None:
    with pytest.raises(MissingPrerequisiteError, match=named), meter(gpu):
        pass
    assert gpu.n_open == 0


def test_gpus_that_are_not_there_are_refused() -> None:
    gpu = FakeNvml(2)
    with (
        pytest.raises(InvalidInputError, match="no GPU 2: NVML finds 2"),
        meter(gpu, device_indices=[0, 2]),
    ):
        pass
    assert gpu.n_open == 0
    for wrong in ([], [1, 1]):
        with pytest.raises(InvalidInputError, match="different GPUs"):
            meter(gpu, device_indices=wrong)
    with pytest.raises(InvalidInputError, match="concurrency=0"):
        meter(gpu, concurrency=0)


def test_a_closed_meter_reads_nothing() -> None:
    with pytest.raises(InvalidInputError, match="not open"):
        meter(FakeNvml()).measure_idle(5)


def test_energy_is_divided_by_something() -> None:
    reading = EnergyReading(100.0, 10.0, 5.0, ("Card",), 1)
    assert reading.net_joules_per(10) == 5
    with pytest.raises(InvalidInputError):
        reading.net_joules_per(0)


def test_the_real_library_without_a_driver_says_so() -> None:
    pynvml: Any = pytest.importorskip("pynvml", reason="needs the extra energy")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        pass
    else:
        pynvml.nvmlShutdown()
        pytest.skip("there is a driver")
    with (
        pytest.raises(MissingPrerequisiteError, match="NVML cannot be started"),
        EnergyMeter(concurrency=1),
    ):
        pass


@pytest.mark.gpu
def test_a_real_gpu_uses_energy_while_idle() -> None:
    pytest.importorskip("pynvml", reason="needs the extra energy")
    with EnergyMeter(concurrency=1) as energy:
        assert 5 < energy.measure_idle(2) < 2000 * len(energy.devices)
