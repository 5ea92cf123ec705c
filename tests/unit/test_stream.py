"""The states of a stream: every pair of a phase and a sign, in a table of its own (RFC 6120 §4 to §7)."""

from __future__ import annotations

import itertools

import pytest

from vrxmpp.errors import StreamCondition, StreamError
from vrxmpp.wire.stream import Phase, Sign, Stream

# One line a phase; where the table of the server has no move, what the peer is told.
#                 leads to, by sign
WALK = """
                  OPENING           NEGOTIATING       SECURING          AUTHENTICATING    ESTABLISHED
HEADER            NEGOTIATING       bad-format        bad-format        bad-format        bad-format
STARTTLS          policy-violation  SECURING          policy-violation  policy-violation  policy-violation
SECURED           policy-violation  policy-violation  OPENING           policy-violation  policy-violation
AUTH              policy-violation  AUTHENTICATING    policy-violation  policy-violation  policy-violation
RESPONSE          policy-violation  policy-violation  policy-violation  AUTHENTICATING    policy-violation
FAILED            policy-violation  policy-violation  policy-violation  NEGOTIATING       policy-violation
AUTHENTICATED     policy-violation  policy-violation  policy-violation  OPENING           policy-violation
STANZA            not-authorized    NEGOTIATING       not-authorized    not-authorized    not-authorized
BOUND             policy-violation  ESTABLISHED       policy-violation  policy-violation  policy-violation
CLOSE             CLOSING           CLOSING           CLOSING           CLOSING           CLOSING
END               CLOSED            CLOSED            CLOSED            CLOSED            CLOSED
"""


def outcomes() -> dict[tuple[Phase, Sign], str]:
    head, *lines = WALK.strip("\n").splitlines()
    phases = [Phase[name] for name in head.split()]
    rows = {Sign[line.split()[0]]: line.split()[1:] for line in lines}
    return {(phase, sign): row[at] for sign, row in rows.items() for at, phase in enumerate(phases)}


def outcome(phase: Phase, sign: Sign) -> str:
    """Make one move; return the name of the phase that follows, or of the violation."""
    stream = Stream(phase)
    try:
        stream.move(sign)
    except StreamError as error:
        assert stream.phase is phase, "a violation moves nothing"
        return error.condition
    return stream.phase.name


@pytest.mark.parametrize(("phase", "sign"), list(itertools.product(Phase, Sign)))
def test_every_pair(phase: Phase, sign: Sign) -> None:
    if phase in {Phase.CLOSING, Phase.CLOSED}:
        violations = {Sign.STANZA: StreamCondition.NOT_AUTHORIZED, Sign.HEADER: StreamCondition.BAD_FORMAT}
        expected = violations.get(sign, StreamCondition.POLICY_VIOLATION)
        if (phase, sign) == (Phase.CLOSING, Sign.END):
            assert outcome(phase, sign) == "CLOSED"
        else:
            assert outcome(phase, sign) == expected
    else:
        assert outcome(phase, sign) == outcomes()[phase, sign]


def test_the_walk_knows_every_phase_and_sign() -> None:
    pairs = outcomes()
    assert {sign for _, sign in pairs} == set(Sign)
    assert {phase for phase, _ in pairs} == set(Phase) - {Phase.CLOSING, Phase.CLOSED}


def test_a_whole_life() -> None:
    stream = Stream()
    for sign, phase in (
        (Sign.HEADER, Phase.NEGOTIATING),
        (Sign.STARTTLS, Phase.SECURING),
        (Sign.SECURED, Phase.OPENING),
        (Sign.HEADER, Phase.NEGOTIATING),
        (Sign.AUTH, Phase.AUTHENTICATING),
        (Sign.FAILED, Phase.NEGOTIATING),
        (Sign.AUTH, Phase.AUTHENTICATING),
        (Sign.RESPONSE, Phase.AUTHENTICATING),
        (Sign.AUTHENTICATED, Phase.OPENING),
        (Sign.HEADER, Phase.NEGOTIATING),
        (Sign.BOUND, Phase.ESTABLISHED),
        (Sign.CLOSE, Phase.CLOSING),
        (Sign.END, Phase.CLOSED),
    ):
        stream.move(sign)
        assert stream.phase is phase


def test_from_every_phase_there_is_an_end() -> None:
    for phase in set(Phase) - {Phase.CLOSED}:
        assert outcome(phase, Sign.END) == "CLOSED"
