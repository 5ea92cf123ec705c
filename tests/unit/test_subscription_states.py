"""RFC 6121 Appendix A, table by table: every state with every stanza, either way."""

from __future__ import annotations

import pytest

from vrxmpp.jid import Jid
from vrxmpp.modules.subscription_states import Move, State, Way, move, state_of
from vrxmpp.store.interfaces import RosterItem, Subscription

STATES = {
    "None": State.NONE,
    "None + Pending Out": State.NONE_OUT,
    "None + Pending In": State.NONE_IN,
    "None + Pending Out+In": State.NONE_OUT_IN,
    "To": State.TO,
    "To + Pending In": State.TO_IN,
    "From": State.FROM,
    "From + Pending Out": State.FROM_OUT,
    "Both": State.BOTH,
}

# The rows of the RFC, in its own words; "-" is its "no state change".
OUTBOUND = {
    "subscribe": """
        None                  | MUST | None + Pending Out
        None + Pending Out    | MUST | -
        None + Pending In     | MUST | None + Pending Out+In
        None + Pending Out+In | MUST | -
        To                    | MUST | -
        To + Pending In       | MUST | -
        From                  | MUST | From + Pending Out
        From + Pending Out    | MUST | -
        Both                  | MUST | -
    """,
    "unsubscribe": """
        None                  | MUST | -
        None + Pending Out    | MUST | None
        None + Pending In     | MUST | -
        None + Pending Out+In | MUST | None + Pending In
        To                    | MUST | None
        To + Pending In       | MUST | None + Pending In
        From                  | MUST | -
        From + Pending Out    | MUST | From
        Both                  | MUST | From
    """,
    "subscribed": """
        None                  | M.N. | pre-approval
        None + Pending Out    | M.N. | pre-approval
        None + Pending In     | MUST | From
        None + Pending Out+In | MUST | From + Pending Out
        To                    | M.N. | pre-approval
        To + Pending In       | MUST | Both
        From                  | M.N. | -
        From + Pending Out    | M.N. | -
        Both                  | M.N. | -
    """,
    "unsubscribed": """
        None                  | S.N. | -
        None + Pending Out    | S.N. | -
        None + Pending In     | MUST | None
        None + Pending Out+In | MUST | None + Pending Out
        To                    | S.N. | -
        To + Pending In       | MUST | To
        From                  | MUST | None
        From + Pending Out    | MUST | None + Pending Out
        Both                  | MUST | To
    """,
}
INBOUND = {
    "subscribe": """
        None                  | MUST     | None + Pending In
        None + Pending Out    | MUST     | None + Pending Out+In
        None + Pending In     | S.N.     | -
        None + Pending Out+In | S.N.     | -
        To                    | MUST     | To + Pending In
        To + Pending In       | S.N.     | -
        From                  | S.N. [R] | -
        From + Pending Out    | S.N. [R] | -
        Both                  | S.N. [R] | -
    """,
    "unsubscribe": """
        None                  | S.N.     | -
        None + Pending Out    | S.N.     | -
        None + Pending In     | MUST [R] | None
        None + Pending Out+In | MUST [R] | None + Pending Out
        To                    | S.N.     | -
        To + Pending In       | MUST [R] | To
        From                  | MUST [R] | None
        From + Pending Out    | MUST [R] | None + Pending Out
        Both                  | MUST [R] | To
    """,
    "subscribed": """
        None                  | S.N. | -
        None + Pending Out    | MUST | To
        None + Pending In     | S.N. | -
        None + Pending Out+In | MUST | To + Pending In
        To                    | S.N. | -
        To + Pending In       | S.N. | -
        From                  | S.N. | -
        From + Pending Out    | MUST | Both
        Both                  | S.N. | -
    """,
    "unsubscribed": """
        None                  | S.N. | -
        None + Pending Out    | MUST | None
        None + Pending In     | S.N. | -
        None + Pending Out+In | MUST | None + Pending In
        To                    | MUST | None
        To + Pending In       | MUST | None + Pending In
        From                  | S.N. | -
        From + Pending Out    | MUST | From
        Both                  | MUST | From
    """,
}
REPLIES = {"subscribe": "subscribed", "unsubscribe": "unsubscribed"}

CASES = [
    (way, stanza, *(cell.strip() for cell in row.split("|")))
    for way, tables in ((Way.OUTBOUND, OUTBOUND), (Way.INBOUND, INBOUND))
    for stanza, table in tables.items()
    for row in table.strip().splitlines()
]


def test_every_state_meets_every_stanza_either_way() -> None:
    assert len({case[:3] for case in CASES}) == 9 * 4 * 2


@pytest.mark.parametrize(("way", "type", "before", "passes", "after"), CASES)
def test_appendix_a(way: Way, type: str, before: str, passes: str, after: str) -> None:
    state = STATES[before]
    expected = Move(
        state=STATES.get(after, state),
        goes_on=passes.startswith("MUST"),
        reply=REPLIES[type] if "[R]" in passes else "",
        approved=after == "pre-approval",
    )
    assert move(way, type, state, approved=False) == expected


@pytest.mark.parametrize(
    ("before", "after"), [("None", "From"), ("None + Pending Out", "From + Pending Out"), ("To", "Both")]
)
def test_a_request_approved_before_it_came_is_granted(before: str, after: str) -> None:
    """RFC 6121 §3.4.2, §A.3.1 [1]."""
    granted = move(Way.INBOUND, "subscribe", STATES[before], approved=True)
    assert granted == Move(STATES[after], goes_on=False, reply="subscribed", approved=True)


@pytest.mark.parametrize("state", State)
def test_unsubscribed_takes_an_approval_back(state: State) -> None:
    """RFC 6121 §3.2.2, rule 2."""
    taken_back = move(Way.OUTBOUND, "unsubscribed", state, approved=True)
    assert taken_back == move(Way.OUTBOUND, "unsubscribed", state, approved=False)
    assert not taken_back.approved


@pytest.mark.parametrize(
    ("way", "type"),
    [(way, stanza) for way in Way for stanza in OUTBOUND if (way, stanza) != (Way.OUTBOUND, "unsubscribed")],
)
@pytest.mark.parametrize("state", State)
def test_nothing_else_takes_an_approval_back(way: Way, type: str, state: State) -> None:
    assert move(way, type, state, approved=True).approved


@pytest.mark.parametrize("state", State)
def test_an_item_says_which_state_it_is_in(state: State) -> None:
    item = RosterItem(
        Jid.parse("bob@example.net"),
        subscription=state.subscription,
        asked=state.asked,
        request=b"<presence/>" if state.requested else None,
    )
    assert state_of(item) is state


def test_an_item_that_asks_for_what_it_has_is_read_without_the_asking() -> None:
    item = RosterItem(Jid.parse("bob@example.net"), subscription=Subscription.BOTH, asked=True, request=b"<presence/>")
    assert state_of(item) is State.BOTH
