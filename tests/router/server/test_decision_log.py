import dataclasses
import multiprocessing
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import traceback
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from log_records import CHEAP, DEAR, decision, record, records

from calibration import Outcome
from policies import (
    ArtifactTooNewError,
    InvalidInputError,
    MissingPrerequisiteError,
    StoreError,
    ThinkrouteError,
    Usage,
)
from router import DriftMonitor, FeedbackLog
from router.feedback._feedback_schema import SERVED_COLUMNS
from router.feedback._logged import LoggedOutcome
from router.server._record import ServedRequest
from router.server.decision_log import LogStore, _store, open_log, read_log
from router.server.decision_log._postgres_url import parse_postgres_url
from router.server.decision_log._served import storable
from tests.servers.postgres import ENCODED_PASSWORD, PASSWORD, PostgresServer

Opened = Callable[..., LogStore]

GOLDEN = Path(__file__).parents[2] / "golden" / "feedback"


def from_dump(name: str, path: Path) -> Path:
    connection = sqlite3.connect(path)
    connection.executescript((GOLDEN / name).read_text("utf-8"))
    connection.close()
    return path


def version_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return version


def everything_in(url: str) -> str:
    """Return all that a log holds, as text."""
    if "://" not in url:
        connection = sqlite3.connect(url)
        text = "\n".join(connection.iterdump())
        connection.close()
        folder = Path(url).parent
        return text + "".join(
            file.read_bytes().decode("utf-8", "replace") for file in folder.iterdir()
        )
    import psycopg

    tables = ("meta", "router", "decision", "outcome", "served", "served_outcome")
    with psycopg.connect(url) as connection:
        return "\n".join(
            str(row)
            for table in tables
            for row in connection.execute(f"SELECT * FROM thinkroute.{table}".encode())
        )


def test_every_field_of_a_record_has_a_column() -> None:
    fields = {field.name for field in dataclasses.fields(ServedRequest)}
    fields -= {"decision", "traceparent", "usage"}
    usage = {field.name for field in dataclasses.fields(Usage)}
    assert set(SERVED_COLUMNS) == {"id"} | usage | fields - {"decision_id"}


def test_what_is_written_is_read_back(log_url: str) -> None:
    written = records(200)
    store = open_log(log_url)
    store.write(written[:100])
    store.write(written[100:])
    found = list(store.served())
    assert [row.request for row in found] == [replace(made, decision=None) for made in written]
    assert [row.artifact_id for row in found] == ["abc" if i % 3 else "" for i in range(200)]
    store.close()
    reader = read_log(log_url)
    assert list(reader.served()) == found
    reader.close()


numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**53)
texts = st.text(st.characters(), max_size=12)
any_record = st.builds(
    ServedRequest,
    decision_id=st.just(""),
    time_s=st.floats(0, 4e9),
    endpoint=st.sampled_from(["chat", "completions", "responses"]),
    asked=texts,
    arm=texts,
    status=st.integers(100, 599),
    seconds=st.floats(0, 1e5),
    caller=texts,
    conversation=texts,
    mode=st.sampled_from(["ift", "reasoning", ""]),
    budget=st.none() | st.just("max") | counts,
    reasons=st.lists(texts, max_size=3).map(tuple),
    p=numbers,
    expected_tokens=numbers,
    expected_flops=numbers,
    reference_arm=texts,
    reference_tokens=numbers,
    reference_flops=numbers,
    reference_usd=numbers,
    max_tokens=st.none() | counts,
    usage=st.none() | st.builds(Usage, counts, counts, st.none() | counts, counts),
    usd=numbers,
    is_streamed=st.booleans(),
    error=texts,
    finish_reason=texts,
    upstream=texts,
    n_attempts=st.integers(0, 9),
    decision_s=st.floats(0, 10),
    added_s=st.floats(0, 10),
    first_token_s=st.none() | st.floats(0, 10),
)


def as_stored(made: ServedRequest) -> ServedRequest:
    clean: dict[str, Any] = {
        name: storable(value)
        for name in ServedRequest.__dataclass_fields__
        if isinstance(value := getattr(made, name), str)
    }
    return replace(made, **clean, reasons=tuple(map(storable, made.reasons)))


def check_any_records(store: LogStore, made: list[ServedRequest]) -> None:
    made = [replace(one, decision_id=uuid.uuid4().hex) for one in made]
    store.write(made)
    found = {row.request.decision_id: row.request for row in store.served()}
    for one in made:
        assert found[one.decision_id] == as_stored(one)


@pytest.fixture
def stores() -> dict[str, LogStore]:
    return {}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=st.lists(any_record, max_size=4))
def test_any_record_is_read_back(
    opened: Opened, log_url: str, made: list[ServedRequest], stores: dict[str, LogStore]
) -> None:
    store = stores.get(log_url) or stores.setdefault(log_url, opened(log_url))
    check_any_records(store, made)


def test_what_is_not_finite_is_not_known(opened: Opened, log_url: str) -> None:
    store = opened(log_url)
    store.write([record("d1", p=float("nan"), expected_flops=float("inf"))])
    (found,) = store.served()
    assert (found.request.p, found.request.expected_flops) == (None, None)


def test_writing_again_changes_nothing(opened: Opened, log_url: str) -> None:
    store = opened(log_url)
    store.write(records(20))
    store.write([replace(made, status=500) for made in records(30)])
    found = list(store.served())
    assert [row.request.status for row in found] == [200] * 20 + [500] * 10


def test_one_record_that_cannot_be_stored_leaves_none(opened: Opened, log_url: str) -> None:
    store = opened(log_url)
    with pytest.raises(InvalidInputError) as raised:
        store.write([*records(5), record("huge", usage=Usage(1, 2**70))])
    assert raised.value.code == "unstorable-record"
    assert list(store.served()) == []
    store.write(records(5))
    assert len(list(store.served())) == 5


def test_a_propensity_that_makes_no_sense_is_refused(opened: Opened, log_url: str) -> None:
    store = opened(log_url)
    bad = record("d1", decision=decision(propensities=(0.0, 1.0)))
    with pytest.raises(InvalidInputError, match="propensities"):
        store.write([bad])
    assert list(store.served()) == []


def test_it_is_a_feedback_log_that_drift_can_watch(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    store = opened(path, store_prompts=True, known_words={b"prompt"})
    store.write(records(60))
    for number in range(0, 60, 2):
        store.record_feedback(f"d{number}", outcome="correct")
    with FeedbackLog.read(path) as log:
        found = {logged.decision_id: logged for logged in log.decisions()}
        assert len(found) == 40
        one = found["d4"]
        assert (one.prompt, one.time_s, one.arms) == (
            "prompt 4",
            1.7e9 + 4,
            (CHEAP.name, DEAR.name),
        )
        assert one.features["unknown_word_share"] == 0.5
        assert one.outcome
        assert (one.outcome.outcome, one.outcome.seconds) == (Outcome.CORRECT, 1.5)
        assert one.outcome.completion_tokens is not None
        report = DriftMonitor.from_log(log).report()
    assert (report.n, report.n_outcomes) == (40, 20)
    # And the library may write to the file while the server has it open.
    with FeedbackLog.open(path) as log:
        log.record_outcome("d1", "wrong")
    store.write([record("d99", decision=decision())])
    assert sum(row.outcome is not None for row in store.served()) == 31


def test_feedback_is_kept_and_the_last_one_counts(
    opened: Opened, log_url: str, ticking: Callable[[], float]
) -> None:
    store = opened(log_url, clock=ticking)
    store.write([record("decided", decision=decision()), record("left-alone")])
    for name in ("decided", "left-alone"):
        store.record_feedback(name, outcome="wrong")
        store.record_feedback(name, score=0.25)
    assert [row.outcome for row in store.served()] == [
        LoggedOutcome(1002.0, None, 0.25, 40, 1.5),
        LoggedOutcome(1004.0, None, 0.25, 40, 1.5),
    ]
    store.record_feedback("decided", outcome="error")
    assert next(iter(store.served())).outcome == LoggedOutcome(1005.0, Outcome.ERROR, None, 40, 1.5)


def test_feedback_about_nothing_and_feedback_that_says_nothing_are_refused(
    opened: Opened, log_url: str
) -> None:
    store = opened(log_url)
    store.write([record("d1")])
    for name in ("d2", "", "\0", "x" * 10_000, "'; DROP TABLE served; --"):
        with pytest.raises(InvalidInputError) as raised:
            store.record_feedback(name, outcome="correct")
        assert raised.value.code == "unknown-decision"
    for outcome, score in ((None, None), ("correct", 1.0), ("good", None), (None, 1.5)):
        with pytest.raises(InvalidInputError):
            store.record_feedback("d1", outcome=outcome, score=score)
    assert [row.outcome for row in store.served()] == [None]


def test_requests_can_be_chosen_by_time_router_and_caller(
    opened: Opened, log_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_store, "_PAGE", 7)
    store = opened(log_url)
    # Many at one time: pages end amid equal times.
    made = [
        record(f"d{i:02}", time_s=float(i // 10), caller="ab"[i % 2], decision=decision())
        for i in range(50)
    ]
    store.write(made)

    def names(*arguments: float, **chosen: str) -> list[str]:
        return [row.request.decision_id for row in store.served(*arguments, **chosen)]

    everything = [one.decision_id for one in made]
    assert names() == everything
    assert names(2.0) == everything[20:]
    assert names(caller="b") == everything[1::2]
    assert names(3.0, caller="a", artifact_id="abc") == everything[30::2]
    assert names(artifact_id="other") == []


def test_prompts_are_absent_unless_asked_for(log_url: str) -> None:
    store = open_log(log_url, salt=b"s")
    store.write([record("d1", decision=decision(prompt="a secret sentence"))])
    assert "secret sentence" not in everything_in(log_url)
    store.close()
    store = open_log(log_url, salt=b"s", store_prompts=True)
    store.write([record("d2", decision=decision(prompt="another secret sentence\0"))])
    assert "another secret sentence" in everything_in(log_url)
    store.close()


def test_another_salt_is_refused(log_url: str) -> None:
    open_log(log_url, salt=b"s1").close()
    for salt in (b"s2", b""):
        with pytest.raises(StoreError) as raised:
            open_log(log_url, salt=salt)
        assert raised.value.code == "store-other-salt"
    open_log(log_url, salt=b"s1").close()


def test_a_log_of_a_newer_version_is_refused_and_left_alone(log_url: str) -> None:
    open_log(log_url).close()
    if "://" in log_url:
        import psycopg

        with psycopg.connect(log_url) as connection:
            connection.execute("UPDATE thinkroute.meta SET value = '99' WHERE key = 'version'")
    else:
        connection = sqlite3.connect(log_url)
        connection.execute("PRAGMA user_version=99")
        connection.close()
    for opening in (open_log, read_log):
        with pytest.raises(ArtifactTooNewError, match="version 99"):
            opening(log_url)


def test_a_feedback_log_of_version_1_is_read_as_it_is_and_extended_only_by_a_server(
    tmp_path: Path,
) -> None:
    path = from_dump("feedback_v1.sql", tmp_path / "old.sqlite")
    with FeedbackLog.read(path) as log:
        before = list(log.decisions())
    assert [one.decision_id for one in before] == ["d1", "d2", "d3"]
    reader = read_log(path)
    assert list(reader.served()) == []
    reader.close()
    with FeedbackLog.open(path) as log:
        log.record_outcome("d3", "wrong")
    assert version_of(path) == 1
    store = open_log(path)
    assert version_of(path) == 2
    store.write(records(3))
    store.record_feedback("d3", outcome="correct")
    with FeedbackLog.read(path) as log:
        after = {one.decision_id: one for one in log.decisions()}
    assert [after[one.decision_id] for one in before[:2]] == before[:2]
    assert after["d3"].outcome
    assert after["d3"].outcome.score == 1.0
    store.close()


def test_a_decision_log_of_version_2_is_read(tmp_path: Path) -> None:
    path = from_dump("decision_log_v2.sql", tmp_path / "old.sqlite")
    reader = read_log(path)
    first, second = reader.served()
    reader.close()
    assert first.request == record("d1", budget=256, max_tokens=900, usd=0.001, reference_usd=0.01)
    assert first.outcome == LoggedOutcome(1.7e9 + 5, Outcome.CORRECT, 1.0, 40, 1.5)
    assert second.request.error == "upstream-timeout"
    assert second.outcome == LoggedOutcome(1.7e9 + 5, None, 0.25, None, 1.5)
    with FeedbackLog.read(path) as log:
        assert [one.prompt for one in log.decisions()] == ["2+2?"]


def test_a_new_feedback_log_stays_readable_for_version_1(tmp_path: Path) -> None:
    FeedbackLog.open(tmp_path / "new.sqlite").close()
    assert version_of(tmp_path / "new.sqlite") == 1


def test_only_its_owner_reads_the_file(tmp_path: Path) -> None:
    store = open_log(f"sqlite:///{tmp_path}/below/log.sqlite")
    store.write(records(3))
    found = {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "below").iterdir()}
    assert found == {0o600}
    store.close()


def test_a_log_that_is_not_there_is_not_made_by_reading(tmp_path: Path, postgres_url: str) -> None:
    for place in (str(tmp_path / "none.sqlite"), postgres_url):
        with pytest.raises(StoreError, match="there is no decision log"):
            read_log(place)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "address", ["mysql://u:canary@h/d", "sqlite://", "sqlite:///", "sqlite://canary", "://canary"]
)
def test_an_address_that_is_none_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        open_log(address)
    assert raised.value.code == "invalid-log-url"
    assert "canary" not in str(raised.value)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        open_log(tmp_path / "file" / "log.sqlite")
    with pytest.raises(StoreError, match="not a"):
        open_log(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"


PRELUDE = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"


def run(program: str, *arguments: object) -> str:
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FULL_DISK = """
import resource
from log_records import records
from policies import StoreError
from router.server.decision_log import open_log
store = open_log(sys.argv[1])
store.write(records(20))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
for number in range(200):
    try:
        store.write(records(20, f"more{number}-"))
    except StoreError as error:
        print(number)
        break
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.write(records(20, "after"))
"""


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    n_batches = int(run(FULL_DISK, path))
    reader = read_log(path)
    found = {row.request.decision_id for row in reader.served()}
    reader.close()
    expected = {f"{p}{i}" for p in ("d", "after") for i in range(20)}
    expected |= {f"more{batch}-{i}" for batch in range(n_batches) for i in range(20)}
    assert found == expected


READ_ONLY = """
import os
from log_records import records
from policies import StoreError
from router.server.decision_log import open_log
os.geteuid() or (os.setgid(65534), os.setuid(65534))
for path in sys.argv[1:]:
    try:
        open_log(path).write(records(1))
    except StoreError as error:
        print(error.code)
"""


def test_a_read_only_folder_or_file_is_an_error_of_the_store(tmp_path: Path) -> None:
    # Not below pytest's folder, into which only its owner may look.
    folder = Path(tempfile.mkdtemp(prefix="closed-"))
    try:
        open_log(folder / "log.sqlite").close()
        (folder / "log.sqlite").chmod(0o444)
        folder.chmod(0o555)
        assert run(READ_ONLY, folder / "new.sqlite", folder / "log.sqlite") == "store-error\n" * 2
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def _write(url: str, first: int) -> None:
    store = open_log(url)
    for number in range(first, first + 200, 20):
        store.write(records(220)[number : number + 20])
        store.write(records(10, f"own{first}-{number}-"))
    store.close()


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_two_writers_at_once_lose_nothing_and_duplicate_nothing(log_url: str, kind: str) -> None:
    # The table is not there yet, and most records are written by both.
    context = multiprocessing.get_context("spawn")
    start = threading.Thread if kind == "threads" else context.Process
    writers = [start(target=_write, args=(log_url, first)) for first in (0, 20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert all(getattr(writer, "exitcode", 0) == 0 for writer in writers)
    reader = read_log(log_url)
    found = [row.request.decision_id for row in reader.served()]
    reader.close()
    assert len(found) == len(set(found)) == 220 + 200


def test_many_servers_may_start_at_once(postgres_url: str) -> None:
    errors: list[BaseException] = []
    barrier = threading.Barrier(8)

    def begin(number: int) -> None:
        barrier.wait()
        try:
            store = open_log(postgres_url)
            store.write(records(5, f"n{number}-"))
            store.close()
        except ThinkrouteError as error:
            errors.append(error)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    reader = read_log(postgres_url)
    assert len(list(reader.served())) == 40
    reader.close()


def test_feedback_from_many_at_once_is_one_row(log_url: str) -> None:
    stores = [open_log(log_url) for _ in range(4)]
    stores[0].write([record("d1", decision=decision()), record("d2")])

    def tell(store: Any, score: float) -> None:
        for _ in range(10):
            store.record_feedback("d1", score=score)
            store.record_feedback("d2", score=score)

    threads = [
        threading.Thread(target=tell, args=(store, 0.25 * number))
        for number, store in enumerate(stores)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(row.outcome is not None for row in stores[0].served())
    for store in stores:
        store.close()


def told(error: BaseException) -> str:
    """Return everything an error could show anywhere."""
    chain = "".join(traceback.format_exception(error))
    return chain + repr(error) + str(error) + repr(error.__dict__)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://tester:CANARY@127.0.0.1:1/x",
        "postgresql://tester:CANARY@nowhere.invalid/x?connect_timeout=2",
        "postgresql://tester:CANARY@127.0.0.1:{port}/x",
        "postgresql://tester:CANARY@127.0.0.1:{port}/postgres?sslmode=CANARY",
        "postgresql://tester:CANARY@127.0.0.1:{port}/postgres?nonsense=1",
        "postgresql://tester@127.0.0.1:{port}/postgres?password=CANARY",
        "postgresql://tester:CANARY/ss@127.0.0.1/x",
        "postgresql://tester:CANARY@ss@127.0.0.1/x",
        "postgresql://tester:CANARY#ss@127.0.0.1/x",
        "postgresql://tester:CANARY?ss@127.0.0.1/x",
        "postgresql://tester:CANARY",
        "postgresql://tester:CANARY@127.0.0.1:port/x",
        "postgresql://tester:CANARY@127.0.0.1:99999/x",
        "postgresql://tester:CANARY@127.0.0.1/x?CANARY",
        "postgresql://tester:CANARY@127.0.0.1/x y",
        "postgresql://tester:CANARY%00@127.0.0.1/x",
    ],
)
def test_no_error_repeats_a_password(
    url: str, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ThinkrouteError) as raised:
        open_log(url.format(port=postgres.port))
    assert "CANARY" not in told(raised.value) + caplog.text
    assert "\n" not in str(raised.value)


def test_a_password_may_come_from_the_environment(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = postgres_url.replace(f":{ENCODED_PASSWORD}", "")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    store = open_log(without)
    store.write(records(3))
    assert store.place == without
    store.close()
    monkeypatch.setenv("PGPASSWORD", "CANARY")
    with pytest.raises(StoreError) as raised:
        open_log(without)
    assert "CANARY" not in told(raised.value)
    assert raised.value.code == "store-unavailable"


words = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1)


@given(user=words, password=words, database=words)
def test_a_url_is_taken_apart_and_never_shows_its_password(
    user: str, password: str, database: str
) -> None:
    secret = f"<{password}>"
    url = parse_postgres_url(
        f"postgresql://{quote(user, safe='')}:{quote(secret, safe='')}@db.local:5433,[::1]:5434"
        f"/{quote(database, safe='')}?sslmode=require"
    )
    assert url.parameters == {
        "user": user,
        "password": secret,
        "host": "db.local,::1",
        "port": "5433,5434",
        "dbname": database,
        "sslmode": "require",
    }
    assert secret not in url.scrub(f"cannot {secret} and {quote(secret, safe='')}")
    assert "%3C" not in url.scrub(f"cannot {quote(secret, safe='')}").replace("%3C%3C", "")
    assert quote(secret, safe="") not in repr(url)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingPrerequisiteError, match=r"thinkroute\[serve\]"):
        open_log("postgresql://me@127.0.0.1/x")


def test_a_user_without_rights_on_the_database_may_write_to_tables_that_are_there(
    postgres_url: str,
) -> None:
    import psycopg

    open_log(postgres_url).close()
    role = f"writer_{postgres_url.rpartition('/')[2]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for statement in (
            f"CREATE ROLE {role} LOGIN PASSWORD 'w'",
            f"GRANT USAGE ON SCHEMA thinkroute TO {role}",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA thinkroute TO {role}",
        ):
            connection.execute(statement.encode())
    other = postgres_url.replace(f"tester:{ENCODED_PASSWORD}", f"{role}:w")
    store = open_log(other)
    store.write(records(5))
    store.record_feedback("d1", outcome="correct")
    assert len(list(store.served())) == 5
    store.close()


def test_damage_to_a_row_is_named(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    store = opened(path)
    store.write([record("d1")])
    connection = sqlite3.connect(path)
    connection.execute("UPDATE served SET reasons = '{'")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="'d1' of the decision log is damaged"):
        list(store.served())
