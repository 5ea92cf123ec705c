"""XEP-0157: Contact Addresses for XMPP Services."""

from __future__ import annotations

import pytest

from tests.world import World
from vrxmpp import dom, ns
from vrxmpp.config.models import Contacts
from vrxmpp.modules.contact import ContactAddresses
from vrxmpp.modules.disco import ServiceDiscovery


def _form(world: World) -> dict[str, list[str]] | None:
    """Return the fields of the form in the domain's disco#info."""
    world.add("alice")
    alice = world.login("alice")
    alice.says(f"<iq type='get' id='1' to='example.net'><query xmlns='{ns.DISCO_INFO}'/></iq>")
    [answer] = alice.hears()
    query = dom.children(dom.parse(answer.encode()))[0]
    form = dom.child(query, ns.DATA_FORMS, "x")
    if form is None:
        return None
    assert form.attributes["type"] == "result"
    return {field.attributes["var"]: [dom.text(value) for value in dom.children(field)] for field in dom.children(form)}


def test_the_addresses_are_in_the_form_of_the_domain() -> None:
    """§3; XEP-0128 §2."""
    contacts = ContactAddresses(
        {"abuse": ["mailto:abuse@example.net", "xmpp:abuse@example.net"], "admin": ["https://a/?b&c"], "sales": []}
    )
    assert _form(World(ServiceDiscovery(), contacts)) == {
        "FORM_TYPE": ["http://jabber.org/network/serverinfo"],
        "abuse-addresses": ["mailto:abuse@example.net", "xmpp:abuse@example.net"],
        "admin-addresses": ["https://a/?b&c"],
    }


def test_without_addresses_there_is_no_form() -> None:
    assert _form(World(ServiceDiscovery(), ContactAddresses({"abuse": []}))) is None


@pytest.mark.parametrize("purpose", ["abuse", "admin", "feedback", "sales", "security", "status", "support"])
def test_every_purpose_can_be_configured(purpose: str) -> None:
    """Those that are registered."""
    configured = Contacts.model_validate({purpose: ("mailto:a@example.net",)})
    form = _form(World(ServiceDiscovery(), ContactAddresses(configured.model_dump())))
    assert form == {
        "FORM_TYPE": ["http://jabber.org/network/serverinfo"],
        f"{purpose}-addresses": ["mailto:a@example.net"],
    }
