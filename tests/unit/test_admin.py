"""What an administrator may do: each request, on a running server and beside a stopped one, and each refusal."""

from __future__ import annotations

import json
from collections.abc import Coroutine, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from vrxmpp.admin import (
    AdminError,
    Administration,
    Json,
    Keys,
    SessionInfo,
    Status,
    keys_from_json,
    keys_to_json,
    perform,
)
from vrxmpp.jid import Jid
from vrxmpp.store import Stores, open_stores
from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import LastActivity, ScramKeys

T = TypeVar("T")
KEYS = Keys(ScramKeys(b"s1", 4096, b"a", b"b"), ScramKeys(b"s2", 5000, b"c", b"d"))
OTHER_KEYS = Keys(ScramKeys(b"t1", 4096, b"e", b"f"), ScramKeys(b"t2", 5000, b"g", b"h"))
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Finish a coroutine that has nothing to wait for; raise what it raises."""
    with pytest.raises(StopIteration) as finished:
        work.send(None)
    result: T = finished.value.value
    return result


class Others:
    """What a server has with museums.example, and nobody else; writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def status(self, remote: str) -> object:
        self.asked.append(("status", remote))
        return {"streams": [], "since": NOON}

    async def test(self, local: str, remote: str) -> object:
        self.asked.append(("test", local, remote))
        if remote == "library.example":
            raise AdminError("served-here", "library.example is served here")
        return {"reached": True}

    def close(self, remote: str) -> int:
        self.asked.append(("close", remote))
        return 2 if remote == "museums.example" else 0


class Running:
    """A server with two sessions of alice; writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.others = Others()
        self.open = ["alice@library.example/desk", "alice@library.example/phone"]

    def status(self) -> Status:
        return Status("1.0", 77, NOON, ["127.0.0.1:5222"], 3, {"library.example": 2, "museum.example": 0})

    def sessions(self) -> list[SessionInfo]:
        return [SessionInfo(jid, "192.0.2.1", "TLSv1.3", NOON, None) for jid in self.open]

    def federation(self) -> Others:
        return self.others

    def kick(self, jid: Jid) -> int:
        self.told.append(("kick", jid.text))
        return sum(jid.text in {full, Jid.parse(full).bare.text} for full in self.open)

    async def end_subscriptions(self, jid: Jid) -> None:
        self.told.append(("end subscriptions", jid.text))

    def account_removed(self, jid: Jid) -> None:
        self.told.append(("removed", jid.text))

    def account_disabled(self, jid: Jid) -> None:
        self.told.append(("disabled", jid.text))

    def password_changed(self, jid: Jid) -> None:
        self.told.append(("password", jid.text))


class Office:
    """An administration of two domains with alice in the first, beside a server or not."""

    def __init__(self, live: Running | None) -> None:
        self.live = live
        self.database = Database.open("sqlite://")
        self.stores: dict[str, Stores] = {
            domain: open_stores(self.database, domain) for domain in ("library.example", "museum.example")
        }
        accounts = {domain: stores.accounts for domain, stores in self.stores.items()}
        self.administration = Administration(accounts, live)
        run(self.administration.add_user("alice@library.example", KEYS))

    def ask(self, command: str, **arguments: Json) -> Json:
        """Put a request as it comes over the socket: through JSON and back."""
        request = json.loads(json.dumps({"command": command, **arguments}))
        return json.loads(json.dumps(run(perform(self.administration, request))))

    def refusal(self, command: str, **arguments: Json) -> str:
        with pytest.raises(AdminError) as caught:
            self.ask(command, **arguments)
        return f"{caught.value.code}: {caught.value}"

    def keys(self, local: str) -> Keys | None:
        found = run(self.stores["library.example"].accounts.credentials(local))
        return Keys(found.sha1, found.sha256) if found else None


@pytest.fixture
def stopped() -> Iterator[Office]:
    office = Office(None)
    yield office
    run(office.database.close())


@pytest.fixture
def running() -> Iterator[tuple[Office, Running]]:
    live = Running()
    office = Office(live)
    yield office, live
    run(office.database.close())


def test_a_user_is_added_with_keys_only(stopped: Office) -> None:
    assert stopped.ask("user add", jid="BOB@Library.Example", keys=keys_to_json(OTHER_KEYS)) is None
    assert stopped.keys("bob") == OTHER_KEYS
    assert stopped.ask("user show", jid="bob@library.example")["enabled"] is True


def test_a_user_is_added_once(stopped: Office) -> None:
    said = stopped.refusal("user add", jid="alice@library.example", keys=keys_to_json(OTHER_KEYS))
    assert said == "exists: alice@library.example exists already"
    assert stopped.keys("alice") == KEYS


def test_a_password_is_changed_and_the_server_told(running: tuple[Office, Running]) -> None:
    office, live = running
    office.ask("user password", jid="alice@library.example", keys=keys_to_json(OTHER_KEYS))
    assert office.keys("alice") == OTHER_KEYS
    assert live.told == [("password", "alice@library.example")]


def test_a_user_is_disabled_and_enabled(running: tuple[Office, Running]) -> None:
    office, live = running
    office.ask("user disable", jid="alice@library.example")
    assert office.ask("user show", jid="alice@library.example")["enabled"] is False
    assert live.told == [("disabled", "alice@library.example")]
    office.ask("user enable", jid="alice@library.example")
    assert office.ask("user show", jid="alice@library.example")["enabled"] is True


def test_a_removed_users_sessions_end_while_they_can_still_write(running: tuple[Office, Running]) -> None:
    office, live = running
    existed: list[bool] = []
    live.account_disabled = lambda jid: existed.append(office.keys(jid.local) is not None)  # type: ignore[method-assign]
    office.ask("user remove", jid="alice@library.example")
    assert existed == [True]
    assert live.told == [("end subscriptions", "alice@library.example"), ("removed", "alice@library.example")]
    assert office.keys("alice") is None


@pytest.mark.parametrize("command", ["user remove", "user disable", "user enable", "user show", "user password"])
def test_who_is_not_there_is_not_found(running: tuple[Office, Running], command: str) -> None:
    office, live = running
    said = office.refusal(command, jid="nobody@library.example", keys=keys_to_json(KEYS))
    assert said == "not-found: nobody@library.example does not exist"
    assert live.told == []


@pytest.mark.parametrize(
    ("jid", "said"),
    [
        ("alice@elsewhere.example", "unknown-domain: elsewhere.example is not served here"),
        ("library.example", "invalid-jid: library.example is not the address of an account: user@domain"),
        ("a@library.example/desk", "invalid-jid: a@library.example/desk is not the address of an account: user@domain"),
        ("a b@library.example", "invalid-jid: localpart 'a b' is not allowed"),
        ("", "invalid-jid: domainpart '' is not a domain name"),
    ],
)
@pytest.mark.parametrize("command", ["user add", "user remove", "user show"])
def test_only_accounts_of_served_domains(stopped: Office, command: str, jid: str, said: str) -> None:
    assert stopped.refusal(command, jid=jid, keys=keys_to_json(KEYS)).startswith(said)


def test_users_are_listed_with_what_is_known_of_them(running: tuple[Office, Running]) -> None:
    office, _ = running
    run(office.administration.add_user("bob@museum.example", KEYS))
    stores = office.stores["library.example"]
    state = run(stores.accounts.wake("alice"))
    assert state
    run(stores.accounts.set_last_activity(state.id, LastActivity(NOON, "gone home")))
    run(stores.offline.add(state.id, NOON, b"<message/>", 5))
    alice, bob = office.ask("user list", domain=None)
    created = datetime.fromisoformat(alice.pop("created"))
    assert abs(created - datetime.now(UTC)).total_seconds() < 60
    assert alice == {
        "jid": "alice@library.example",
        "enabled": True,
        "last_activity": "2026-03-01T12:00:00Z",
        "last_status": "gone home",
        "offline_messages": 1,
        "contacts": 0,
        "sessions": 2,
    }
    assert (bob["jid"], bob["last_activity"], bob["sessions"]) == ("bob@museum.example", None, 0)
    assert [user["jid"] for user in office.ask("user list", domain="Museum.Example")] == ["bob@museum.example"]
    assert office.refusal("user list", domain="elsewhere.example").startswith("unknown-domain")


def test_beside_a_stopped_server_nobody_has_a_session(stopped: Office) -> None:
    [alice] = stopped.ask("user list", domain=None)
    assert alice["sessions"] == 0


def test_an_import_adds_all_it_can(stopped: Office) -> None:
    jids = ("bob@library.example", "alice@library.example", "carol@museum.example", "x@elsewhere.example", "bad")
    answer = stopped.ask("user import", users={jid: keys_to_json(OTHER_KEYS) for jid in jids})
    assert answer["added"] == 2
    assert {each["jid"]: each["code"] for each in answer["refused"]} == {
        "alice@library.example": "exists",
        "x@elsewhere.example": "unknown-domain",
        "bad": "invalid-jid",
    }
    assert stopped.keys("bob") == OTHER_KEYS
    assert stopped.keys("alice") == KEYS


def test_sessions_and_status_come_from_the_server(running: tuple[Office, Running]) -> None:
    office, live = running
    assert office.ask("session list")[0] == {
        "jid": "alice@library.example/desk",
        "address": "192.0.2.1",
        "security": "TLSv1.3",
        "since": "2026-03-01T12:00:00Z",
        "priority": None,
    }
    assert office.ask("status") == {**asdict(live.status()), "started": "2026-03-01T12:00:00Z"}


def test_one_session_is_ended_or_all(running: tuple[Office, Running]) -> None:
    office, live = running
    assert office.ask("session kick", jid="alice@library.example/desk") == 1
    assert office.ask("session kick", jid="Alice@library.example") == 2
    assert live.told == [("kick", "alice@library.example/desk"), ("kick", "alice@library.example")]
    assert office.refusal("session kick", jid="bob@library.example") == "not-found: bob@library.example has no session"
    assert office.refusal("session kick", jid="a@elsewhere.example").startswith("unknown-domain")


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("session list", {}),
        ("session kick", {"jid": "a@library.example"}),
        ("status", {}),
        ("s2s status", {"jid": ""}),
        ("s2s test", {"jid": "museums.example", "from": None}),
        ("s2s close", {"jid": "museums.example"}),
    ],
)
def test_a_stopped_server_has_no_sessions(stopped: Office, command: str, arguments: dict[str, str]) -> None:
    assert stopped.refusal(command, **arguments) == "not-running: the server is not running"


# -- other servers


def asked(live: Running) -> list[tuple[str, ...]]:
    return live.others.asked


def test_what_there_is_with_all_other_servers_or_with_one(running: tuple[Office, Running]) -> None:
    office, live = running
    assert office.ask("s2s status", jid="") == {"streams": [], "since": "2026-03-01T12:00:00Z"}
    office.ask("s2s status", jid="Museums.Example")
    assert asked(live) == [("status", ""), ("status", "museums.example")]


def test_another_server_is_tried_from_the_first_domain_or_another(running: tuple[Office, Running]) -> None:
    office, live = running
    assert office.ask("s2s test", jid="MUSEUMS.example", **{"from": None}) == {"reached": True}
    office.ask("s2s test", jid="museums.example", **{"from": "Museum.Example"})
    assert asked(live) == [
        ("test", "library.example", "museums.example"),
        ("test", "museum.example", "museums.example"),
    ]
    assert office.refusal("s2s test", jid="library.example", **{"from": None}).startswith("served-here: ")


def test_streams_are_ended_if_there_are_any(running: tuple[Office, Running]) -> None:
    office, live = running
    assert office.ask("s2s close", jid="Museums.Example") == 2
    said = office.refusal("s2s close", jid="else.example")
    assert said == "not-found: there is no stream to or from else.example"
    assert asked(live) == [("close", "museums.example"), ("close", "else.example")]


S2S: list[dict[str, Json]] = [
    {"command": "s2s status"},
    {"command": "s2s test", "from": None},
    {"command": "s2s test", "from": "museum.example"},
    {"command": "s2s close"},
]


@pytest.mark.parametrize("jid", ["a@museums.example", "museums.example/desk", "a b", "museums..example", "\ud800"])
@pytest.mark.parametrize("request_", S2S, ids=lambda request: str(request["command"]))
def test_other_servers_are_named_by_their_domain(
    running: tuple[Office, Running], request_: dict[str, Json], jid: str
) -> None:
    office, live = running
    assert office.refusal(**request_, jid=jid).startswith("invalid-jid: ")
    if request_["command"] == "s2s test":
        assert office.refusal("s2s test", **{"from": jid}, jid="museums.example").startswith("invalid-jid: ")
    assert asked(live) == []


@pytest.mark.parametrize(
    "request_",
    [
        None,
        [],
        "status",
        {},
        {"command": "user explode", "jid": "alice@library.example"},
        {"command": "user remove"},
        {"command": "user remove", "jid": 1},
        {"command": "user list", "domain": 1},
        {"command": "s2s status"},
        {"command": "s2s status", "jid": None},
        {"command": "s2s test", "jid": "museums.example"},
        {"command": "s2s test", "jid": "museums.example", "from": 1},
        {"command": "s2s close", "jid": ["museums.example"]},
        {"command": "user import", "users": []},
        {"command": "user add", "jid": "b@library.example", "keys": None},
        {"command": "user add", "jid": "b@library.example", "keys": []},
        {"command": "user add", "jid": "b@library.example", "keys": [["00", 1, "00"]] * 2},
        {"command": "user add", "jid": "b@library.example", "keys": [["zz", 1, "00", "00"]] * 2},
        {"command": "user add", "jid": "b@library.example", "keys": [["00", 1, "00", "00"]] * 3},
    ],
)
def test_what_is_no_request_is_refused(stopped: Office, request_: Json) -> None:
    with pytest.raises(AdminError) as caught:
        run(perform(stopped.administration, request_))
    assert caught.value.code == "bad-request"


def test_a_failing_database_is_told(stopped: Office) -> None:
    run(stopped.database.close())
    assert stopped.refusal("user list", domain=None) == "storage: the database is closed"


def test_keys_survive_json() -> None:
    assert keys_from_json(json.loads(json.dumps(keys_to_json(KEYS)))) == KEYS
