"""Other servers whose certificate is no good, seen from both sides (RFC 6120 §13.7.2, XEP-0178)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.authority import SERVER_AUTH
from tests.peers.ejabberd import Ejabberd
from tests.peers.federation import Federation, federation
from tests.peers.peer import Peer, Policy
from tests.peers.person import Person, newcomer
from tests.peers.prosody import Prosody
from tests.peers.vrxmpp import Vrxmpp
from vrxmpp.net.tls import CertificateFiles

KINDS: dict[str, type[Peer]] = {"prosody": Prosody, "ejabberd": Ejabberd}
FAULTS = {"expired": "has expired", "misnamed": "is for elsewhere.example, not for", "self-signed": "is self-signed"}


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    with federation(tmp_path_factory.mktemp("federation")) as members:
        members.add(Vrxmpp, "ours", Policy.CERTIFICATE, [members.certificate("strict.ours.example")])
        members.add(Vrxmpp, "ours", Policy.EITHER, [for_servers_only(members, "ours.example")])
        for name, kind in KINDS.items():
            if kind.installed():
                expired, misnamed, self_signed = [faulty(members, fault, f"{fault}.{name}.example") for fault in FAULTS]
                # They would do with dialback, so if anybody refuses, it is we.
                members.add(kind, name, Policy.DIALBACK, [expired, self_signed])
                # A server of its own, as ejabberd chooses certificates by the names in them.
                members.add(kind, f"misnamed {name}", Policy.DIALBACK, [misnamed])
                members.add(kind, name, Policy.EITHER, [for_servers_only(members, f"{name}.example")])
        members.start()
        yield members


def for_servers_only(members: Federation, domain: str) -> CertificateFiles:
    """Issue a certificate as authorities issue them today, of which ejabberd believes none that a client shows."""
    return members.authority.issue(domain, usages=(SERVER_AUTH,))


def faulty(members: Federation, fault: str, domain: str) -> CertificateFiles:
    match fault:
        case "expired":
            return members.authority.issue(domain, expired=True)
        case "misnamed":
            return members.authority.issue(domain, wrong_name="elsewhere.example")
    return members.authority.self_signed(domain)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if not KINDS[name].installed():
        pytest.skip(f"{name} is not installed; as root: sh tests/peers/install.sh")
    return name


async def people(members: Federation, policy: Policy, kind: str, fault: str) -> tuple[Person, Person]:
    """Return somebody of ours, and somebody of a server whose certificate is no good."""
    theirs = members.peer(f"misnamed {kind}" if fault == "misnamed" else kind, Policy.DIALBACK)
    ours = members.peer("ours", policy)
    return await newcomer(ours, "alice"), await newcomer(theirs, "mallory", f"{fault}.{kind}.example")


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_server_with_a_bad_certificate_is_refused_and_its_people_and_ours_are_told(
    members: Federation, kind: str, fault: str
) -> None:
    alice, mallory = await people(members, Policy.CERTIFICATE, kind, fault)

    await refused(alice, mallory, FAULTS[fault])


@pytest.mark.parametrize("fault", FAULTS)
async def test_dialback_is_enough_where_no_certificate_was_ever_good(
    members: Federation, kind: str, fault: str
) -> None:
    alice, mallory = await people(members, Policy.EITHER, kind, fault)

    await talk(alice, mallory)


async def test_who_has_shown_a_good_certificate_must_show_one_ever_after(members: Federation, kind: str) -> None:
    ours, theirs = [members.peer(name, Policy.EITHER) for name in ("ours", kind)]
    await talk(await newcomer(ours, "alice"), await newcomer(theirs, "bob"))

    theirs.hosts = [members.authority.self_signed(theirs.domain)]
    await asyncio.to_thread(theirs.restart)

    await refused(await newcomer(ours, "alice"), await newcomer(theirs, "bob"), "is self-signed")


async def talk(alice: Person, bob: Person) -> None:
    for one, other in ((alice, bob), (bob, alice)):
        one.send_message(other.boundjid.full, "hello", mtype="chat")
        assert (await other.expect("message", sender=one.boundjid.full))["body"] == "hello"


async def refused(alice: Person, mallory: Person, why: str) -> None:
    """See that neither can write to the other, that both are told, and that Alice is told why."""
    alice.send_message(mallory.boundjid.full, "hello", mtype="chat")
    error = (await alice.expect("message", sender=mallory.boundjid.full, type="error"))["error"]
    assert error["condition"] == "not-authorized"
    assert f"the certificate of {mallory.boundjid.domain} {why}" in error["text"]

    mallory.send_message(alice.boundjid.full, "hello", mtype="chat")
    await mallory.expect("message", sender=alice.boundjid.full, type="error")
    for person in (alice, mallory):
        await person.hears_nothing()
