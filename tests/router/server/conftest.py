"""What the tests of the decision log share: a PostgreSQL server, and logs of both kinds."""

import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from router.server.decision_log import LogStore, open_log
from tests.servers.postgres import PostgresServer, postgres_binaries, running_postgres

_NUMBERS = count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Run one PostgreSQL server for the session; tests that stop it must start it again."""
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed: no initdb in PATH or /usr/lib/postgresql/*/bin")
    with running_postgres(binaries) as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """Return the URL of a database of the test's own, with the password in it."""
    import psycopg

    name = f"log{next(_NUMBERS)}"
    with psycopg.connect(f"{postgres.base_url}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return f"{postgres.base_url}/{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def log_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of an empty log, once of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "decisions.sqlite")
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def opened() -> Iterator[Callable[..., LogStore]]:
    """Open logs to write to, and close them after the test."""
    stores: list[LogStore] = []

    def begin(*arguments: Any, **options: Any) -> LogStore:
        stores.append(open_log(*arguments, **options))
        return stores[-1]

    yield begin
    for store in stores:
        store.close()


@pytest.fixture
def ticking() -> Callable[[], float]:
    """Return a clock that counts seconds."""
    return map(float, count(1001)).__next__
