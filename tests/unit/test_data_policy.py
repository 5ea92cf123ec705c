"""XEP-0504: Data Policy, in the disco#info of the domain."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.world import Client, NoRemote, World
from vrxmpp import config, dom, ns
from vrxmpp.assembly import Foundations, assemble
from vrxmpp.core.router import Router
from vrxmpp.modules.caps import EntityCapabilities
from vrxmpp.modules.data_policy import DataPolicy
from vrxmpp.modules.disco import ServiceDiscovery
from vrxmpp.modules.encrypted import EncryptedMessages
from vrxmpp.negotiation.throttle import Throttle
from vrxmpp.store.database import Database

TYPES = {  # XEP-0504, Summary
    "FORM_TYPE": "hidden",
    "auth_data": "list-single",
    "data_retention": "text-single",
    "data_deletion": "boolean",
    "encryption_at_rest": "boolean",
    "data_export": "boolean",
    "access_policy": "list-multi",
    "full_erasure": "boolean",
    "extra_info": "text-multi",
}


class Site:
    """A domain, and somebody who asks it."""

    def __init__(self, *, plain: bool = True, refuses_encrypted: bool = False) -> None:
        self.days: float | None = None
        policy = DataPolicy(lambda: self.days, plain=plain, refuses_encrypted=refuses_encrypted)
        self.caps = EntityCapabilities("urn:node")
        self.world = World(ServiceDiscovery(), self.caps, policy)
        self.world.add("alice")
        self.alice: Client = self.world.login("alice")

    def form(self) -> dict[str, tuple[str, list[str]]]:
        """Return the type and the values of each field."""
        self.alice.says(f"<iq type='get' id='1' to='example.net'><query xmlns='{ns.DISCO_INFO}'/></iq>")
        [answer] = self.alice.hears()
        form = dom.child(dom.children(dom.parse(answer.encode()))[0], ns.DATA_FORMS, "x")
        assert form is not None
        assert form.attributes["type"] == "result"
        return {
            field.attributes["var"]: (field.attributes["type"], [dom.text(value) for value in dom.children(field)])
            for field in dom.children(form)
        }

    def version(self) -> str:
        """Return the string that stands for all of it (XEP-0115)."""
        [version] = re.findall("ver='([^']*)'", self.caps.stream_feature().decode())
        return str(version)


def test_each_field_is_as_the_standard_has_it() -> None:
    form = Site().form()
    assert {name: type for name, (type, _) in form.items()} == TYPES
    assert form["FORM_TYPE"][1] == ["urn:xmpp:data-policy:0"]
    for name in ("data_deletion", "data_export", "full_erasure"):
        assert form[name][1] == ["false"]
    assert form["encryption_at_rest"][1] == ["true"]
    assert set(form["access_policy"][1]) <= {"admins", "moderators", "organization_member", "government", "partners"}


@pytest.mark.parametrize(("days", "hours"), [(None, "unknown"), (math.inf, "infinite"), (2190, "52560"), (1, "24")])
def test_the_time_is_in_hours_or_a_word(days: float | None, hours: str) -> None:
    site = Site()
    site.days = days
    assert site.form()["data_retention"][1] == [hours]


def test_a_policy_that_changes_is_told_at_once() -> None:
    """And seen by who knows the old one by its hash (XEP-0115)."""
    site = Site()
    unknown = site.version()
    site.days = 30
    changed = site.version()
    assert changed != unknown
    assert site.form()["data_retention"][1] == ["720"]
    assert site.version() == changed


def test_how_passwords_are_sent_and_what_may_be_encrypted() -> None:
    lax, strict = Site().form(), Site(plain=False, refuses_encrypted=True).form()
    assert (lax["auth_data"][1], strict["auth_data"][1]) == (["plain"], ["hidden"])
    assert "recorded" in lax["extra_info"][1][1]
    assert "refused" in strict["extra_info"][1][1]


@pytest.mark.parametrize(
    ("table", "told", "refuses"),
    [
        ("", True, False),
        ("[audit]\nenabled = false\nencrypted = 'refuse'", False, False),
        ("[audit]\nencrypted = 'refuse'", True, True),
        ("[host.audit]\nencrypted = 'refuse'", True, True),
        ("[host.audit]\nencrypted = 'record'\n[audit]\nencrypted = 'refuse'", True, False),
    ],
)
def test_the_configuration_decides(table: str, told: bool, refuses: bool) -> None:
    settings = config.parse(f"[[host]]\ndomain = 'example.net'\n{table}", Path("vrxmpp.toml"))
    asked: list[str] = []
    foundations = Foundations(
        Database.open("sqlite://"),
        Router(NoRemote()),
        Throttle(lambda: 0.0),
        b"secret",
        lambda _: pytest.fail("no thread is needed"),
        datetime.now(UTC),
        archiving=SimpleNamespace(sealer=None, checkpoints=None, retention=asked.append),
    )
    host = assemble(settings, settings.hosts[0], foundations).host
    assert len(host.info.forms) == told
    assert asked == ["staff"] * told
    assert any(isinstance(module, EncryptedMessages) for module in host.modules) == refuses
