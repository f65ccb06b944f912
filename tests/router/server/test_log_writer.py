import logging
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from log_records import decision, record, records

from policies import InvalidInputError, StoreError
from router.server._record import ServedRequest
from router.server.decision_log import LogStore, LogWriter, ServedRow, open_log, read_log
from tests.servers.postgres import PostgresServer

Opened = Callable[..., LogStore]


class Disk:
    """What outlives the stores, and what goes wrong with them."""

    def __init__(self, *faults: str) -> None:
        self.kept: dict[str, ServedRequest] = {}
        self.n_repeated = 0
        self.feedback: list[tuple[str, str | None, float | None]] = []
        self.faults = list(faults)
        self.is_down = False
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.n_open = 0
        self.sizes: list[int] = []

    def open(self) -> LogStore:
        if self.is_down:
            raise StoreError("the disk is away", code="store-unavailable")
        self.n_open += 1
        return Store(self)


class Store:
    place = "a disk"

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def write(self, records: Sequence[ServedRequest]) -> None:
        disk = self._disk
        disk.may_go_on.wait(10)
        fault = disk.faults.pop(0) if disk.faults else ""
        if disk.is_down or fault == "lost":
            raise StoreError("the disk is away")
        if fault == "defect":
            raise RuntimeError("canary")
        if any(made.asked == "poison" for made in records):
            raise InvalidInputError("it cannot be stored")
        disk.sizes.append(len(records))
        for made in records:
            disk.n_repeated += made.decision_id in disk.kept
            disk.kept.setdefault(made.decision_id, made)
        if fault == "acknowledgement-lost":
            raise StoreError("the disk went away")

    def record_feedback(
        self, decision_id: str, *, outcome: str | None = None, score: float | None = None
    ) -> None:
        self._disk.may_go_on.wait(10)
        if self._disk.is_down:
            raise StoreError("the disk is away")
        if decision_id not in self._disk.kept:
            raise InvalidInputError("no such decision", code="unknown-decision")
        self._disk.feedback.append((decision_id, outcome, score))

    def served(self, since_s: float = 0.0, **_: str | None) -> Iterator[ServedRow]:
        return (ServedRow(made) for made in self._disk.kept.values() if made.time_s >= since_s)

    def close(self) -> None:
        self._disk.n_open -= 1


def until(is_so: Callable[[], bool], timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.005)


@pytest.fixture
def begin() -> Iterator[Callable[..., LogWriter]]:
    writers: list[LogWriter] = []

    def make(factory: Callable[[], LogStore], **options: Any) -> LogWriter:
        writers.append(LogWriter(factory, **options))
        return writers[-1]

    yield make
    for writer in writers:
        writer.close(5)


Begin = Callable[..., LogWriter]


def test_records_are_written_in_order_without_asking(begin: Begin) -> None:
    disk = Disk()
    writer = begin(disk.open, flush_s=0.01)
    made = records(300)
    for one in made:
        writer.put(one)
    until(lambda: writer.n_written == 300)
    assert list(disk.kept.values()) == made
    assert (writer.n_waiting, writer.n_dropped, writer.is_down, writer.last_error) == (
        0, 0, False, "",
    )  # fmt: skip


def test_records_are_written_in_batches(begin: Begin) -> None:
    disk = Disk()
    disk.may_go_on.clear()
    writer = begin(disk.open, batch=10, flush_s=60.0)
    for one in records(35):
        writer.put(one)
    disk.may_go_on.set()
    until(lambda: writer.n_written == 30)
    assert writer.n_waiting == 5
    assert writer.flush(5)
    assert disk.sizes == [10, 10, 10, 5]


def test_a_log_that_is_down_from_the_start_gets_everything_later(begin: Begin) -> None:
    disk = Disk()
    disk.is_down = True
    writer = begin(disk.open)
    until(lambda: writer.is_down)
    for one in records(100):
        writer.put(one)
    assert not writer.flush(0.05)
    assert (writer.n_written, writer.n_waiting) == (0, 100)
    assert "the disk is away" in writer.last_error
    disk.is_down = False
    assert writer.flush(20)
    assert (writer.is_down, len(disk.kept), writer.n_dropped) == (False, 100, 0)


def test_beyond_the_limit_the_oldest_are_dropped_and_counted(begin: Begin) -> None:
    disk = Disk()
    disk.is_down = True
    writer = begin(disk.open, max_waiting=10)
    until(lambda: writer.is_down)
    made = records(35)
    for one in made:
        writer.put(one)
    assert (writer.n_waiting, writer.n_dropped) == (10, 25)
    disk.is_down = False
    assert writer.flush(20)
    assert list(disk.kept.values()) == made[-10:]
    assert writer.n_written == 10


def test_a_record_that_no_store_takes_is_dropped_alone(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk()
    writer = begin(disk.open)
    with caplog.at_level(logging.WARNING, "thinkroute.server"):
        for one in [*records(5), record("bad", asked="poison"), *records(5, "e")]:
            writer.put(one)
        assert writer.flush(20)
    assert (writer.n_written, writer.n_dropped, writer.is_down) == (10, 1, False)
    assert "bad" not in disk.kept
    assert "1 records cannot be logged: it cannot be stored" in caplog.text


def test_an_unexpected_error_is_told_without_its_text(begin: Begin) -> None:
    disk = Disk("defect", "defect")
    writer = begin(disk.open, flush_s=60.0)
    for one in records(3):
        writer.put(one)
    assert writer.flush(20)
    assert (writer.n_written, writer.n_dropped, writer.last_error) == (2, 1, "RuntimeError")


def test_whatever_opening_raises_the_thread_lives_on(begin: Begin) -> None:
    disk = Disk()
    errors: list[Exception] = [RuntimeError("canary"), OSError("canary"), ImportError("canary")]

    def factory() -> LogStore:
        if errors:
            raise errors.pop(0)
        return disk.open()

    writer = begin(factory)
    writer.put(record("d1"))
    assert writer.flush(20)
    assert (list(disk.kept), writer.last_error) == (["d1"], "ImportError")


FAULTS = st.lists(st.sampled_from(["", "lost", "acknowledgement-lost"]), max_size=4)


@settings(max_examples=20)
@given(faults=FAULTS, n=st.integers(0, 40), batch=st.integers(1, 12))
def test_no_fault_loses_or_doubles_a_record(faults: list[str], n: int, batch: int) -> None:
    disk = Disk(*faults)
    writer = LogWriter(disk.open, batch=batch, flush_s=0.0)
    for one in records(n):
        writer.put(one)
    assert writer.flush(30)
    assert list(disk.kept.values()) == records(n)
    assert (writer.n_written, writer.n_dropped) == (n, 0)
    assert writer.close(5)
    assert disk.n_open == 0


def test_many_threads_may_put(begin: Begin) -> None:
    disk = Disk()
    writer = begin(disk.open)

    def put(name: str) -> None:
        for one in records(200, name):
            writer.put(one)

    threads = [threading.Thread(target=put, args=(f"t{number}-",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.flush(20)
    assert (len(disk.kept), writer.n_written, disk.n_repeated) == (1200, 1200, 0)


def test_feedback_comes_after_the_records_put_before(begin: Begin) -> None:
    disk = Disk()
    writer = begin(disk.open, flush_s=60.0, batch=4)
    for one in records(10):
        writer.put(one)
    writer.feedback("d9", score=0.5)
    assert disk.feedback == [("d9", None, 0.5)]
    with pytest.raises(InvalidInputError) as raised:
        writer.feedback("d10", outcome="correct")
    assert raised.value.code == "unknown-decision"
    assert not writer.is_down


def test_feedback_fails_while_the_log_is_down(begin: Begin) -> None:
    disk = Disk()
    writer = begin(disk.open)
    writer.put(record("d0"))
    assert writer.flush(20)
    disk.is_down = True
    for _ in range(2):  # the first one finds it out
        with pytest.raises(StoreError, match="the disk is away"):
            writer.feedback("d0", outcome="correct")
    assert writer.is_down
    disk.is_down = False
    until(lambda: not writer.is_down)
    writer.feedback("d0", outcome="correct")
    assert disk.feedback == [("d0", "correct", None)]


def test_feedback_that_gave_up_is_not_written_later(begin: Begin) -> None:
    disk = Disk()
    disk.may_go_on.clear()
    writer = begin(disk.open)
    writer.put(record("d0"))
    with pytest.raises(StoreError, match=r"within 0\.05 s"):
        writer.feedback("d0", outcome="correct", timeout_s=0.05)
    disk.may_go_on.set()
    assert writer.flush(20)
    writer.feedback("d0", outcome="wrong")
    assert disk.feedback == [("d0", "wrong", None)]


def test_closing_writes_what_waits_and_counts_what_comes_after() -> None:
    disk = Disk()
    writer = LogWriter(disk.open, flush_s=60.0, batch=3)
    for one in records(10):
        writer.put(one)
    assert writer.close(20)
    assert (len(disk.kept), disk.n_open) == (10, 0)
    writer.put(record("late"))
    assert (writer.n_written, writer.n_dropped, writer.n_waiting) == (10, 1, 0)
    with pytest.raises(StoreError, match="closed"):
        writer.feedback("d1", outcome="correct")
    assert writer.close(1)


def test_closing_while_the_log_is_down_tells_what_is_lost() -> None:
    disk = Disk()
    disk.is_down = True
    writer = LogWriter(disk.open)
    for one in records(10):
        writer.put(one)
    assert not writer.close(20)
    assert (writer.n_written, writer.n_dropped, writer.n_waiting) == (0, 10, 0)


def test_a_log_that_hangs_holds_up_neither_requests_nor_the_end() -> None:
    disk = Disk()
    disk.may_go_on.clear()
    writer = LogWriter(disk.open, max_waiting=50, batch=5)
    started = time.monotonic()
    for one in records(500):
        writer.put(one)
    assert not writer.close(0.1)
    assert time.monotonic() - started < 5
    assert writer.n_written + writer.n_dropped == 500
    disk.may_go_on.set()


def test_going_down_and_coming_back_is_logged_once(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk()
    disk.is_down = True
    with caplog.at_level(logging.WARNING, "thinkroute.server"):
        writer = begin(disk.open)
        time.sleep(0.6)  # several attempts
        disk.is_down = False
        until(lambda: not writer.is_down)
    assert [entry.getMessage() for entry in caplog.records] == [
        "the decision log is down: the disk is away",
        "the decision log is back; 0 records were dropped",
    ]


def test_putting_takes_microseconds(tmp_path: Any, begin: Begin) -> None:
    writer = begin(lambda: open_log(tmp_path / "log.sqlite"))
    seconds: list[float] = []
    for one in [record(f"d{number}", decision=decision()) for number in range(3000)]:
        start = time.perf_counter()
        writer.put(one)
        seconds.append(time.perf_counter() - start)
    # The median: a busy machine takes the processor away from single calls.
    assert statistics.median(seconds) < 20e-6
    assert writer.flush(60)
    assert writer.n_written == 3000


def test_a_database_that_is_killed_in_the_middle_loses_nothing(
    postgres: PostgresServer, postgres_url: str, begin: Begin
) -> None:
    writer = begin(lambda: open_log(postgres_url), flush_s=0.01, batch=50)
    made = records(600)
    for one in made[:300]:
        writer.put(one)
    until(lambda: writer.n_written > 0)
    postgres.stop("immediate")
    try:
        for one in made[300:]:
            writer.put(one)
        until(lambda: writer.is_down)
        with pytest.raises(StoreError) as raised:
            writer.feedback("d1", outcome="correct")
        assert "canary" not in str(raised.value) + writer.last_error
        assert "\n" not in writer.last_error
    finally:
        postgres.start()
    assert writer.flush(30)
    writer.feedback("d1", outcome="correct")
    reader = read_log(postgres_url)
    found = [row.request.decision_id for row in reader.served()]
    reader.close()
    assert found == [one.decision_id for one in made]
    assert (writer.n_written, writer.n_dropped) == (600, 0)
