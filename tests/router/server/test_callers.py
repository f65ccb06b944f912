"""Keys: who calls, what they may have, and what is never told."""

import base64
from hashlib import sha256
from pathlib import Path

import pytest

from policies import ConfigError
from router.server._callers import Callers, KeySettings, read_keys
from router.server._problems import ProblemError

CANARY = "sk-canary-77f1"


def hashed(key: str, **more: object) -> KeySettings:
    return KeySettings.model_validate({"sha256": sha256(key.encode()).hexdigest(), **more})


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_without_keys_everybody_is_one_caller() -> None:
    caller = Callers({}).identify({})
    assert (caller.name, caller.is_admin) == ("", True)


def test_a_key_is_known_by_its_hash_or_by_a_variable() -> None:
    keys = {"a": hashed("one"), "b": KeySettings(variable="B_KEY")}
    callers = Callers(keys, environ={"B_KEY": "two"})
    assert callers.identify(bearer("one")).name == "a"
    assert callers.identify({"x-api-key": "two"}).name == "b"
    basic = base64.b64encode(b"anybody:two").decode()
    assert callers.identify({"authorization": f"Basic {basic}"}).name == "b"


@pytest.mark.parametrize(
    "headers",
    [{}, bearer("wrong"), bearer(""), {"authorization": "Basic ###"}, {"authorization": "one"}],
)
def test_a_missing_or_wrong_key_opens_nothing(headers: dict[str, str]) -> None:
    with pytest.raises(ProblemError) as raised:
        Callers({"a": hashed("one")}).identify(headers)
    assert raised.value.status == 401
    assert raised.value.headers()["www-authenticate"] == "Bearer"


def test_only_an_admins_key_shows_the_numbers() -> None:
    callers = Callers({"a": hashed("one"), "boss": hashed("two", is_admin=True)})
    assert callers.identify(bearer("two"), as_admin=True).name == "boss"
    with pytest.raises(ProblemError) as raised:
        callers.identify(bearer("one"), as_admin=True)
    assert raised.value.status == 403


def test_requests_come_back_with_time() -> None:
    now = [0.0]
    keys = {"a": hashed("k", max_requests=2, window_s=10)}
    caller = Callers(keys, clock=lambda: now[0]).identify(bearer("k"))
    caller.admit()
    caller.admit()
    with pytest.raises(ProblemError) as raised:
        caller.admit()
    assert raised.value.status == 429
    assert raised.value.headers()["retry-after"] == "5"
    now[0] = 5.0
    caller.admit()
    with pytest.raises(ProblemError):
        caller.admit()


def test_money_that_was_overdrawn_is_paid_back_first() -> None:
    now = [0.0]
    keys = {"a": hashed("k", max_usd=1.0, window_s=100)}
    caller = Callers(keys, clock=lambda: now[0]).identify(bearer("k"))
    caller.admit()
    caller.pay(1.5)
    with pytest.raises(ProblemError, match="money"):
        caller.admit()
    now[0] = 49.0
    with pytest.raises(ProblemError):
        caller.admit()
    now[0] = 51.0
    caller.admit()


def test_a_file_of_keys_is_read(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    digest = sha256(b"k").hexdigest()
    path.write_text(
        f'[keys.team-a]\nsha256 = "{digest}"\nmax_tokens = 1000\nmax_dear_share = 0.2\n'
        '[keys.ops]\nvariable = "OPS"\nis_admin = true\n'
    )
    keys = read_keys(path)
    assert keys["team-a"].has_caps
    assert not keys["ops"].has_caps
    caller = Callers(keys, environ={"OPS": "x"}).identify(bearer("k"))
    assert caller.caps is not None
    assert caller.caps.limits.max_dear_share == 0.2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no keys"),
        ("[keys.a]\n", "give either sha256 or variable"),
        ('[keys.a]\nsha256 = "12"\n', r"keys\.a\.sha256"),
        ('[keys.a]\nvariable = "A"\nmax_token = 3\n', r"keys\.a\.max_token: Extra"),
        ('[keys.a]\nvariable = "A"\nmax_usd = -1\n', r"keys\.a\.max_usd"),
        ("port = 3\n[keys.a]\n", "holds port"),
        ("[keys", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_why(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_keys(path)


def test_a_variable_that_is_not_set_is_named_and_a_key_never_is() -> None:
    with pytest.raises(ConfigError, match="B_KEY is not set"):
        Callers({"b": KeySettings(variable="B_KEY")}, environ={})
    keys = {"a": hashed(CANARY), "b": KeySettings(variable="B_KEY")}
    with pytest.raises(ConfigError) as raised:
        Callers(keys, environ={"B_KEY": CANARY})
    assert CANARY not in str(raised.value)
    callers = Callers({"a": hashed("other")})
    with pytest.raises(ProblemError) as wrong:
        callers.identify(bearer(CANARY))
    assert CANARY not in str(wrong.value.to_json())
