"""What the archive learns beside messages: of rosters, subscriptions, passwords, announcements, what waits."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from tests.archive import Archive
from tests.contacts import come, make
from tests.world import Client, World, parse, run
from vrxmpp import ns
from vrxmpp.errors import StreamCondition, StreamError
from vrxmpp.jid import Jid
from vrxmpp.modules.announce import Announcements
from vrxmpp.modules.blocking import Blocking
from vrxmpp.modules.offline import OfflineMessages
from vrxmpp.modules.password import PasswordChange
from vrxmpp.modules.presence import Presence
from vrxmpp.negotiation.scram import derive_keys
from vrxmpp.stanza import Stanza
from vrxmpp.store.interfaces import ScramKeys

ALICE, BOB = "alice@example.net", "bob@example.net"
NOTHING = {
    "name": "",
    "groups": [],
    "subscription": "none",
    "asked": False,
    "approved": False,
    "request": None,
    "listed": True,
}


def watch(world: World) -> Archive:
    archive = Archive()
    world.router.audit = archive
    return archive


# -- sessions


def test_a_session_begins_and_ends() -> None:
    world = World()
    world.add("alice")
    archive = watch(world)
    session = run(world.host.bind("alice", "here", Client(), address="192.0.2.1", security="TLSv1.3", cipher="AES"))
    assert archive.take("session") == [
        (
            ALICE,
            {
                "event": "logged in",
                "session": f"{ALICE}/here",
                "address": "192.0.2.1",
                "tls": "TLSv1.3 AES",
                "mechanism": "",
                "guest": False,
            },
        )
    ]
    world.host.end(session, StreamError(StreamCondition.POLICY_VIOLATION, "ended by an administrator"))
    world.host.end(session)
    reason = "policy-violation: ended by an administrator"
    assert archive.take("session") == [
        (ALICE, {"event": "ended", "session": f"{ALICE}/here", "reason": reason}),
    ]


# -- rosters


def test_each_change_of_a_roster_has_what_was_and_what_is() -> None:
    world = make("alice")
    alice = come(world, "alice")
    archive = watch(world)
    for item in (
        f"<item jid='{BOB}' name='Bob'><group>a</group><group>b</group></item>",
        f"<item jid='{BOB}' name='Robert'/>",
        f"<item jid='{BOB}' subscription='remove'/>",
        f"<item jid='{BOB}' subscription='remove'/>",  # which is not there any more
    ):
        alice.says(f"<iq type='set' id='1'><query xmlns='{ns.ROSTER}'>{item}</query></iq>")
    first = {**NOTHING, "name": "Bob", "groups": ["a", "b"]}
    second = {**NOTHING, "name": "Robert"}
    assert archive.take("roster") == [
        (ALICE, {"account": ALICE, "contact": BOB, "before": None, "after": first}),
        (ALICE, {"account": ALICE, "contact": BOB, "before": first, "after": second}),
        (ALICE, {"account": ALICE, "contact": BOB, "before": second, "after": None}),
    ]


def test_whom_somebody_blocks_is_noted_and_whom_no_longer() -> None:
    world, presence = World(), Presence()
    world.mount(presence, Blocking(world.stores.blocklists, presence, limit=10))
    world.add("alice")
    alice = come(world, "alice")
    archive = watch(world)
    for change in (
        f"<block xmlns='{ns.BLOCKING}'><item jid='{BOB}'/><item jid='example.org'/></block>",
        f"<block xmlns='{ns.BLOCKING}'><item jid='{BOB}'/></block>",  # who is blocked already
        f"<unblock xmlns='{ns.BLOCKING}'><item jid='{BOB}'/></unblock>",
        f"<unblock xmlns='{ns.BLOCKING}'/>",
        f"<unblock xmlns='{ns.BLOCKING}'/>",  # of whom there is none left
    ):
        alice.says(f"<iq type='set' id='1'>{change}</iq>")
    assert archive.take("roster") == [
        (ALICE, {"account": ALICE, "event": "blocked", "contacts": [BOB, "example.org"]}),
        (ALICE, {"account": ALICE, "event": "unblocked", "contacts": [BOB]}),
        (ALICE, {"account": ALICE, "event": "unblocked", "contacts": ["example.org"]}),
    ]


def test_a_subscription_is_seen_from_both_sides() -> None:
    world = make("alice", "bob")
    alice, bob = come(world, "alice"), come(world, "bob")
    archive = watch(world)
    alice.says(f"<presence to='{BOB}' type='subscribe'><status>It is I</status></presence>")
    asked, requested = archive.take("roster")
    assert asked == (ALICE, {"account": ALICE, "contact": BOB, "before": None, "after": {**NOTHING, "asked": True}})
    assert requested[0] == BOB
    assert requested[1]["contact"] == ALICE
    assert "<status>It is I</status>" in requested[1]["after"]["request"]
    assert requested[1]["after"]["listed"] is False
    bob.says(f"<presence to='{ALICE}' type='subscribed'/>")
    changed = [(owner, facts["after"]) for owner, facts in archive.take("roster")]
    assert [(owner, after["subscription"], after["request"]) for owner, after in changed] == [
        (BOB, "from", None),
        (ALICE, "to", None),
    ]


def test_a_request_from_elsewhere() -> None:
    world = make("alice")
    archive = watch(world)
    sender = Jid.parse("carol@elsewhere.example")
    for _ in range(2):
        waiting = world.router.route(Stanza("presence", to=Jid.parse(ALICE), sender=sender, type="subscribe"))
        assert waiting is not None
        run(waiting)
    [(owner, facts)] = archive.take("roster")  # the second changes nothing
    assert (owner, facts["contact"], facts["before"]) == (ALICE, "carol@elsewhere.example", None)
    assert "carol@elsewhere.example" in facts["after"]["request"]


# -- passwords


async def derive(password: str) -> tuple[ScramKeys, ScramKeys]:
    return derive_keys(password, 4096)


def test_a_password_is_changed_and_an_account_removed() -> None:
    world = World(Presence())
    world.mount(PasswordChange(world.stores.accounts, derive))
    world.add("alice")
    alice = world.login("alice")
    alice.session.security = "TLSv1.3"
    archive = watch(world)
    for content in (
        "<username>bob</username><password>geheim</password>",  # another's
        "<username>alice</username><password>geheim</password>",
        "<remove/>",
    ):
        alice.says(f"<iq type='set' id='1'><query xmlns='{ns.REGISTER}'>{content}</query></iq>")
    assert "geheim" not in repr(archive.notes)
    assert archive.take("config") == [
        (ALICE, {"event": "password changed", "by": f"{ALICE}/here"}),
        (ALICE, {"event": "account removed", "by": f"{ALICE}/here"}),
    ]


# -- announcements


class Hall:
    """An administrator, two others, and an archive."""

    def __init__(self) -> None:
        self.world = world = World(Announcements(frozenset({"admin@example.net"})))
        world.add("admin", "alice", "bob")
        self.admin, self.alice, self.bob = (world.login(name) for name in ("admin", "alice", "bob"))
        self.archive = watch(world)

    def announce(self) -> None:
        """Begin to announce something."""
        x = "<x xmlns='jabber:x:data' type='submit'><field var='announcement'><value>Fire!</value></field></x>"
        command = f"<command xmlns='{ns.COMMANDS}' node='{ns.ADMIN_ANNOUNCE}'>{x}</command>"
        [request] = parse(f"<iq type='set' id='c' to='example.net'>{command}</iq>")
        assert isinstance(request, Stanza)
        waiting = self.admin.session.receive(request)
        assert waiting is not None
        Deferred.fromCoroutine(waiting)


def test_an_announcement_is_archived_before_anybody_hears_it() -> None:
    hall = Hall()
    hall.archive.is_slow = True
    hall.announce()
    assert hall.alice.hears() == hall.admin.hears() == []
    hall.bob.leaves()
    hall.archive.notes.clear()
    hall.archive.write()
    [(raw, facts)] = hall.archive.records
    assert raw == ("<message to='example.net' from='example.net' type='headline'><body>Fire!</body></message>")
    assert facts == {"announced_by": "admin@example.net/here"}
    assert "Fire!" in hall.alice.hears()[0]
    assert "Sent to 2 sessions" in hall.admin.hears()[-1]
    assert hall.bob.hears() == []
    assert hall.archive.take("config") == [
        (
            "admin@example.net",
            {
                "event": "announced",
                "by": "admin@example.net/here",
                "sessions": ["admin@example.net/here", "alice@example.net/here"],
            },
        )
    ]
    assert hall.world.router.routed == 1


def test_an_announcement_that_cannot_be_archived_is_heard_by_nobody() -> None:
    hall = Hall()
    hall.archive.works = False
    hall.announce()
    [answer] = hall.admin.hears()
    assert "<error type='wait'><resource-constraint" in answer
    assert hall.alice.hears() == []
    assert hall.archive.take("config") == []
    assert hall.world.router.routed == 0


# -- what waits


def test_what_is_kept_and_handed_over() -> None:
    world = World(Presence())
    world.mount(OfflineMessages(world.stores.offline, limit=2))
    world.add("alice", "bob")
    alice = world.login("alice")
    archive = watch(world)
    for number in range(3):
        alice.says(f"<message type='chat' to='{BOB}'><body>{number}</body></message>")
    assert len(archive.records) == 3
    assert archive.outcomes == [(0, "kept"), (1, "kept"), (2, "refused: service-unavailable")]
    bob = world.login("bob")
    archive.notes.clear()
    bob.says("<presence/>")
    assert len([heard for heard in bob.hears() if "<body>" in heard]) == 2
    assert archive.take("session") == [
        (BOB, {"event": "handed over", "session": f"{BOB}/here", "messages": 2}),
    ]


def test_what_was_never_archived_has_no_outcome() -> None:
    world = World(Presence())
    world.mount(OfflineMessages(world.stores.offline, limit=2))
    world.add("bob")
    archive = watch(world)
    archive.wants = lambda stanza: False  # type: ignore[method-assign]
    sender = Jid.parse("carol@elsewhere.example")
    body = (ns.qname(ns.CLIENT, "body"),)
    waiting = world.router.route(
        Stanza("message", to=Jid.parse(BOB), sender=sender, payloads=body, inner=b"<body>a</body>")
    )
    assert waiting is not None
    run(waiting)
    assert (archive.records, archive.outcomes) == ([], [])
