"""Who has the disk has nothing: no text anywhere in the state directory, no address in the archive, the keys apart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from stat import S_IMODE

import pytest

from tests.live.archive import Archive
from tests.live.client import Client, LoginRefused, login
from tests.live.server import Server, wait_for
from vrxmpp.audit.identity import Identity
from vrxmpp.audit.keys import KeyStore
from vrxmpp.audit.leaf import Type
from vrxmpp.audit.storage_key import storage_key

EDIT = "<replace xmlns='urn:xmpp:message-correct:0' id='said'/>"
RETRACT = "<retract xmlns='urn:xmpp:message-retract:1' id='said'/>"
TYPES = (Type.MESSAGE, Type.EDIT, Type.RETRACT, Type.OUTCOME, Type.SESSION, Type.ROSTER, Type.CONFIG)
PRIVATE = ("audit", "keys", "notary")
"""What only the server may look into, below a directory that only it may look into."""


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    server = make_server()
    server.start()
    return server


def found(directory: Path, secrets: Iterable[str | bytes]) -> set[tuple[str, str]]:
    """Return which of these stand in the files of a directory, and where, as a thief would find them."""
    wanted = {str(secret): secret.encode() if isinstance(secret, str) else secret for secret in secrets}
    contents = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    return {
        (str(path.relative_to(directory)), name)
        for path, content in contents.items()
        for name, secret in wanted.items()
        if secret in content
    }


@dataclass
class Life:
    """Some people, and what they say; each text is one that nobody has ever said."""

    server: Server
    people: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    async def come(self, name: str) -> Client:
        person = await login(self.server, self.account(name))
        await person.come()
        return person

    def account(self, name: str) -> str:
        jid = self.server.user(f"{name}-{token_hex(4)}")
        self.people.append(jid.partition("@")[0])
        return jid

    def text(self) -> str:
        self.texts.append(f"text-{token_hex(8)}")
        return self.texts[-1]

    async def say(self, one: Client, to: str, more: str = "") -> None:
        body, subject = self.text(), self.text()
        one.send_raw(f"<message to='{to}' type='chat'><subject>{subject}</subject><body>{body}</body>{more}</message>")
        await one.settle()

    async def go_by(self) -> None:
        """Let everything happen that is recorded of people."""
        alice, bob = await self.come("alice"), await self.come("bob")
        absent = self.account("absent")
        for to in (bob.boundjid.full, bob.boundjid.bare, absent, alice.boundjid.bare, "nobody@localhost"):
            await self.say(alice, to)
        for more in (EDIT, RETRACT):
            await self.say(bob, alice.boundjid.full, more)
        await alice.update_roster(bob.boundjid.bare, name="Bob")
        alice.send_presence_subscription(pto=bob.boundjid.bare)
        await bob.expect("presence", type="subscribe")
        with pytest.raises(LoginRefused):
            await login(self.server, alice.boundjid.bare, "wrong")
        await bob.leave()
        for _ in range(3):
            await self.say(alice, bob.boundjid.bare)

    def check(self) -> None:
        """Fail if a thief would find anything."""
        state = self.server.state
        assert found(state, self.texts) == set()
        assert found(state / "audit", [*self.people, "@localhost"]) == set()
        assert found(state / "notary", [*self.people, "@localhost"]) == set()


async def test_nothing_can_be_read_without_the_keys(server: Server) -> None:
    life = Life(server)
    await life.go_by()
    life.check()
    assert {person for _, person in found(server.state, life.people)} == set(life.people), "there are accounts"
    assert found(server.state / "audit", ["localhost/audit"]), "it is the directory of the log"
    assert server.state.joinpath("audit", "ledger.sqlite-wal").stat().st_size > 0
    server.kill()
    life.check()
    server.start()
    server.stop()
    life.check()
    assert not any(text in server.log for text in life.texts)

    archive = Archive(server.state)
    records = archive.records(*TYPES)
    assert {record.type for record in records} == set(TYPES)
    assert {text for text in life.texts if any(text in record.text for record in records)} == set(life.texts)

    server.start()
    absent = await login(server, f"{life.people[2]}@localhost")
    absent.send_presence()
    assert (await absent.expect("message"))["body"] in life.texts, "what has waited can be read by whom it is for"


async def test_only_the_server_may_look_into_its_archive_and_its_keys(server: Server) -> None:
    await Life(server).go_by()
    wait_for((server.state / "notary" / "notary.json").exists, lambda: "the notary has made no keys")
    assert S_IMODE(server.state.stat().st_mode) == 0o700
    directories = [server.state / name for name in PRIVATE]
    inside = [path for directory in directories for path in directory.rglob("*")]
    modes = {path: S_IMODE(path.stat().st_mode) for path in [*directories, *inside]}
    assert {path: mode for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}
    assert {path.name for path in inside} >= {"ledger.sqlite", "ledger.sqlite-wal", "recorder.sock", "root.key", "days"}


async def test_no_key_lies_about(server: Server) -> None:
    await Life(server).go_by()
    await asyncio.to_thread(server.stop)
    state = server.state
    root = bytes.fromhex((state / "keys" / "root.key").read_text())
    days = KeyStore(state / "keys")
    opened = [days.open_as_root(*day, root) for day in days.list()]
    notary = json.loads((state / "notary" / "notary.json").read_bytes())
    signing = [notary["log_key"], notary["witness_key"]]
    below = [
        storage_key(state / "keys", root),
        *(key for keys in opened if keys for key in (keys.id_key, keys.day_key)),
    ]
    assert len(below) >= 3
    assert not found(state, [root, *map(bytes.fromhex, signing), *filter(None, below)])
    assert not found(state, [each.hex() for each in below if each])
    assert found(state, [root.hex()]) == {("keys/root.key", root.hex())}
    assert found(state, signing) == {("notary/notary.json", key) for key in signing}

    said = server.vrxmpp("audit", "init").stdout
    [identity] = [line.strip() for line in said.splitlines() if line.strip().startswith("vrxmpp-identity-1")]
    assert Identity.parse(identity)
    digits = identity.removeprefix("vrxmpp-identity-1").replace("-", "")
    assert not found(state, [identity, digits, digits[:16], "vrxmpp-identity"])
