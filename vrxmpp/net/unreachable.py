"""Why another server could not be reached, for its users, for administrators, for the next attempt (RFC 6120 §10.4)."""

from __future__ import annotations

from enum import Enum, StrEnum

from vrxmpp.errors import Condition, StanzaError, StreamCondition
from vrxmpp.net.race import NoConnection


class Side(StrEnum):
    """Where the cause is to be looked for."""

    HERE = "here"
    THERE = "there"
    BETWEEN = "between"


class Fault(Enum):
    """Whose fault it is that there is no stream, and what an administrator can do about it."""

    OUR_RULES = (
        Side.HERE,
        "The rules of this server forbid it: see enabled, allow and deny in [s2s] and [host.s2s].",
    )
    OURSELVES = Side.HERE, "Try again a little later."
    OUR_CERTIFICATE = (
        Side.HERE,
        "Our certificate is not accepted: run `vrxmpp check certificates`. If that finds nothing, ask them which "
        "authorities they trust.",
    )
    OUR_ADDRESS = (
        Side.HERE,
        "They have to be able to ask this server: run `vrxmpp check dns`, and see that its ports can be reached from "
        "outside. If they want a certificate instead: run `vrxmpp check certificates`.",
    )
    NO_ROUTE = Side.HERE, "This machine has no way to that address: see its network, and whether it has IPv6 and IPv4."
    NAME = (
        Side.THERE,
        "Check the spelling. If it is right, they have to publish in the DNS where their server is: SRV records, or an "
        "address of the domain itself.",
    )
    NAME_SERVERS = (
        Side.BETWEEN,
        "See whether this machine finds other names. If it does, their name servers are at fault; if not, those that "
        "this machine asks (/etc/resolv.conf, or resolver in [s2s]).",
    )
    NOTHING_LISTENS = (
        Side.THERE,
        "Nothing listens there: their server does not run, or their DNS (or our [s2s.route]) has the wrong address or "
        "port.",
    )
    NO_ANSWER = (
        Side.BETWEEN,
        "Often a firewall, here, there or between, drops what goes to that port. Otherwise their server hangs, or is "
        "overloaded.",
    )
    NO_TLS = (
        Side.THERE,
        'They have to set up TLS. To talk to them in the clear: tls = "optional" in their [s2s.peer] table.',
    )
    THEIR_CERTIFICATE = (
        Side.THERE,
        "They have to renew or replace it. If you know them, dialback can be enough for them: authentication = "
        '"dialback" in their [s2s.peer] table; an authority of their own can be trusted by ca_file in [s2s].',
    )
    WRONG_SERVER = (
        Side.THERE,
        "That server does not know the domain: check the spelling. If it is right, their DNS (or our [s2s.route]) "
        "leads to the wrong server.",
    )
    REFUSAL = Side.THERE, "Their rules forbid it: ask whoever runs it."
    THEIR_SERVER = (
        Side.THERE,
        "Their log may say more: ask whoever runs it. Is it an XMPP server, on a port for servers?",
    )

    def __init__(self, side: Side, advice: str) -> None:
        self.side = side
        self.advice = advice


class Unreachable(Exception):  # noqa: N818, it is named for what the server is
    """No stream could be opened. ``text`` says why, in plain words.

    ``lasting``: another attempt at once would end in the same way, so nobody is made to wait for one.
    """

    def __init__(self, condition: Condition, text: str, *, lasting: bool, fault: Fault = Fault.THEIR_SERVER) -> None:
        super().__init__(condition, text)
        self.condition = condition
        self.text = text
        self.lasting = lasting
        self.fault = fault

    @property
    def stanza_error(self) -> StanzaError:
        """What a sender is told."""
        return StanzaError(self.condition, self.text)


def unavailable(text: str, fault: Fault = Fault.THEIR_SERVER) -> Unreachable:
    """It may be there again soon."""
    return Unreachable(Condition.REMOTE_SERVER_TIMEOUT, text, lasting=False, fault=fault)


def not_connected(remote: str, error: NoConnection) -> Unreachable:
    """None of its addresses could be connected to."""
    reasons = {reason for _, reason in error.failures}
    if "connection refused" in reasons:
        fault = Fault.NOTHING_LISTENS
    else:
        fault = Fault.NO_ANSWER if "timed out" in reasons else Fault.NO_ROUTE
    return unavailable(f"{remote} cannot be connected to: {error}", fault)


FAULTS: dict[str, Fault] = {
    StreamCondition.HOST_UNKNOWN: Fault.WRONG_SERVER,
    StreamCondition.HOST_GONE: Fault.WRONG_SERVER,
    Condition.ITEM_NOT_FOUND: Fault.WRONG_SERVER,
    StreamCondition.NOT_AUTHORIZED: Fault.OUR_CERTIFICATE,
    StreamCondition.INVALID_FROM: Fault.OUR_CERTIFICATE,
    StreamCondition.POLICY_VIOLATION: Fault.REFUSAL,
}
"""What it means if a peer says that, by a stream error (RFC 6120 §4.9.3) or by one of dialback (XEP-0220 §2.4.2)."""
