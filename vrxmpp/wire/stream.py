"""The states of one XML stream, as the receiving entity sees it (RFC 6120 §4 to §7). Every change of state is here.

    OPENING ──header──► NEGOTIATING ──starttls──► SECURING ──secured──► OPENING
                         │  ▲   │
                   auth  ▼  │   └──bound──► ESTABLISHED
              AUTHENTICATING│
                 │  └─failed┘
                 └──authenticated──► OPENING

From every state: our ``close`` leads to CLOSING, their end of stream to CLOSED.
"""

from __future__ import annotations

from enum import Enum, auto

from vrxmpp.errors import StreamCondition, StreamError


class Phase(Enum):
    """What is expected next on the stream."""

    OPENING = auto()  # a stream header
    NEGOTIATING = auto()  # the choice of a feature
    SECURING = auto()  # the TLS handshake
    AUTHENTICATING = auto()  # a SASL response
    ESTABLISHED = auto()  # stanzas
    CLOSING = auto()  # their end of the stream; ours is written
    CLOSED = auto()  # nothing any more


class Sign(Enum):
    """What has happened."""

    HEADER = auto()
    STARTTLS = auto()
    SECURED = auto()
    AUTH = auto()
    RESPONSE = auto()
    FAILED = auto()
    AUTHENTICATED = auto()
    STANZA = auto()  # before there is a session
    BOUND = auto()
    CLOSE = auto()
    END = auto()


MOVES: dict[tuple[Phase, Sign], Phase] = {
    (Phase.OPENING, Sign.HEADER): Phase.NEGOTIATING,
    (Phase.NEGOTIATING, Sign.STARTTLS): Phase.SECURING,
    (Phase.SECURING, Sign.SECURED): Phase.OPENING,
    (Phase.NEGOTIATING, Sign.AUTH): Phase.AUTHENTICATING,
    (Phase.AUTHENTICATING, Sign.RESPONSE): Phase.AUTHENTICATING,
    (Phase.AUTHENTICATING, Sign.FAILED): Phase.NEGOTIATING,
    (Phase.AUTHENTICATING, Sign.AUTHENTICATED): Phase.OPENING,
    (Phase.NEGOTIATING, Sign.STANZA): Phase.NEGOTIATING,
    (Phase.NEGOTIATING, Sign.BOUND): Phase.ESTABLISHED,
    **{(phase, Sign.CLOSE): Phase.CLOSING for phase in Phase if phase not in (Phase.CLOSING, Phase.CLOSED)},
    **{(phase, Sign.END): Phase.CLOSED for phase in Phase if phase is not Phase.CLOSED},
}

# RFC 6120 §4.9.3.12: a stanza before the peer has authenticated and bound is not-authorized.
_VIOLATIONS = {Sign.STANZA: StreamCondition.NOT_AUTHORIZED, Sign.HEADER: StreamCondition.BAD_FORMAT}


class Stream:
    """The phase of one stream."""

    __slots__ = ("phase",)

    def __init__(self, phase: Phase = Phase.OPENING) -> None:
        self.phase = phase

    def move(self, sign: Sign) -> None:
        """Follow the table; raise StreamError for what it does not know."""
        phase = MOVES.get((self.phase, sign))
        if phase is None:
            condition = _VIOLATIONS.get(sign, StreamCondition.POLICY_VIOLATION)
            raise StreamError(condition, f"unexpected {sign.name.lower()} while {self.phase.name.lower()}")
        self.phase = phase
