"""A real PostgreSQL server on 127.0.0.1, made for the tests and thrown away after them."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["PostgresServer", "postgres_binaries", "running_postgres"]

PASSWORD = "canary/p@ss:word"  # needs to be percent-encoded in a URL
ENCODED_PASSWORD = "canary%2Fp%40ss%3Aword"


def postgres_binaries() -> Path | None:
    """Return the folder with `initdb` and `pg_ctl`, `None` where PostgreSQL is not installed."""
    places = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((p for p in places if all((p / b).exists() for b in ("initdb", "pg_ctl"))), None)


class PostgresServer:
    """A server that can be stopped, killed and started again."""

    def __init__(self, folder: Path, binaries: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self._binaries = binaries
        # PostgreSQL refuses to run as root.
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None

    @property
    def base_url(self) -> str:
        """Return the URL without the database's name."""
        return f"postgresql://tester:{ENCODED_PASSWORD}@127.0.0.1:{self.port}"

    def create(self) -> None:
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        secret = self.folder / "password"
        secret.write_text(PASSWORD, "utf-8")
        secret.chmod(0o644)
        self._run(
            "initdb", "-D", "data", "-U", "tester", "-A", "scram-sha-256", "--pwfile=password",
            "-E", "UTF8", "--locale=C", "--no-sync",
        )  # fmt: skip
        settings = (
            f"listen_addresses = '127.0.0.1'\nport = {self.port}\nmax_connections = 40\n"
            f"unix_socket_directories = ''\nshared_buffers = 16MB\n"
        )
        with (self.folder / "data" / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(settings)

    def start(self) -> None:
        self._run("pg_ctl", "-D", "data", "-w", "-t", "60", "-l", "log", "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", "data", "-w", "-m", mode, "stop")

    def _run(self, program: str, *arguments: str) -> None:
        identity: dict[str, Any] = {}
        if self._user is not None:
            identity = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        # To a file: the server outlives `pg_ctl` and would keep a pipe open.
        with (self.folder / "errors").open("wb") as errors:
            done = subprocess.run(
                [str(self._binaries / program), *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                timeout=120,
                check=False,
                **identity,
            )
        if done.returncode:
            told = (self.folder / "errors").read_text("utf-8", "replace")
            raise RuntimeError(f"{program} failed: {told}")


@contextmanager
def running_postgres(binaries: Path) -> Generator[PostgresServer]:
    """Run a server of its own, in a folder that its user may enter."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o755)
    server = PostgresServer(folder, binaries, port)
    try:
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder)
