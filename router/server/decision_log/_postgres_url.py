"""The address of a PostgreSQL database, taken apart here so that no error repeats its password.

libpq quotes what it cannot parse; of `postgresql://me:pa/ss@host/db` it would show `pa`.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote

from policies import InvalidInputError

__all__ = ["PostgresUrl", "parse_postgres_url"]

_SCHEMES = ("postgresql://", "postgres://")
_SECRET = ("password", "sslpassword")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """Where the database is.

    Attributes:
        place: The address without passwords and options, to show.
        parameters: Connection parameters of libpq, passwords among them.
    """

    place: str
    parameters: Mapping[str, str] = field(repr=False)

    def scrub(self, text: str) -> str:
        """Return text as one line in which no password is left, as written or encoded."""
        known = [self.parameters.get(name, "") for name in _SECRET]
        known.append(os.environ.get("PGPASSWORD", ""))
        for secret in sorted(_written(known), key=len, reverse=True):
            text = text.replace(secret, "***")
        return " ".join(text.split())


def parse_postgres_url(url: str) -> PostgresUrl:
    """Return the parts of `postgresql://user:password@host:port/database?option=value`.

    Several hosts are separated by commas; a folder with a Unix socket is percent-encoded in the
    place of the host, or given as `?host=`.

    Raises:
        InvalidInputError: It is none; the text does not repeat any part of it.

    Example:
        >>> parse_postgres_url("postgresql://me:secret@db.local/logs").place
        'postgresql://me@db.local/logs'
    """
    scheme = next((scheme for scheme in _SCHEMES if url.startswith(scheme)), None)
    if scheme is None:
        raise _bad("it must begin with postgresql://")
    userinfo, _, rest = url.removeprefix(scheme).rpartition("@")
    if re.search(r"[/?#@\s]", userinfo):
        raise _bad("in user and password, write / ? # @ percent-encoded, such as %2F")
    if re.search(r"[#\s]", rest):
        raise _bad("it holds a space or a #; write them percent-encoded")
    rest, _, query = rest.partition("?")
    hosts, _, database = rest.partition("/")
    user, _, password = userinfo.partition(":")
    parameters = {
        **_host_parameters(hosts),
        "user": unquote(user),
        "password": unquote(password),
        "dbname": unquote(database),
    }
    parameters = {name: value for name, value in parameters.items() if value}
    try:
        parameters |= dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise _bad("its options must be name=value, joined by &") from None
    if any("\0" in value for value in parameters.values()):
        raise _bad("it holds a NUL")
    shown = parameters.get("host", "").replace("/", "%2F")
    who = f"{quote(parameters['user'])}@" if "user" in parameters else ""
    port = f":{parameters['port']}" if "port" in parameters else ""
    return PostgresUrl(
        f"postgresql://{who}{shown}{port}/{quote(parameters.get('dbname', ''))}", parameters
    )


def _host_parameters(hosts: str) -> dict[str, str]:
    found = [_HOST.fullmatch(host) for host in hosts.split(",")]
    names: list[str] = []
    ports: list[str] = []
    for match in found:
        if match is None or (match[2] is not None and not 0 < int(match[2]) < 65536):
            raise _bad("expected host or host:port between @ and /")
        names.append(unquote(match[1]).strip("[]"))
        ports.append(match[2] or "")
    return {
        "host": ",".join(names) if any(names) else "",
        "port": ",".join(ports) if any(ports) else "",
    }


def _written(secrets: Iterable[str]) -> set[str]:
    return {
        text
        for secret in secrets
        if secret
        for text in (secret, quote(secret), quote(secret, safe=""), repr(secret)[1:-1])
    }


def _bad(what: str) -> InvalidInputError:
    return InvalidInputError(
        f"the URL of the PostgreSQL log cannot be used: {what}",
        hint="write postgresql://user@host:5432/database, the password in PGPASSWORD",
        code="invalid-log-url",
    )
