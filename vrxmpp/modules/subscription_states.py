"""The states of a subscription and what moves them: the tables of RFC 6121 Appendix A, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from vrxmpp.store.interfaces import RosterItem, Subscription


class State(Enum):
    """RFC 6121 §A.1, as the user sees it: the subscription, Pending Out, Pending In."""

    NONE = (Subscription.NONE, False, False)
    NONE_OUT = (Subscription.NONE, True, False)
    NONE_IN = (Subscription.NONE, False, True)
    NONE_OUT_IN = (Subscription.NONE, True, True)
    TO = (Subscription.TO, False, False)
    TO_IN = (Subscription.TO, False, True)
    FROM = (Subscription.FROM, False, False)
    FROM_OUT = (Subscription.FROM, True, False)
    BOTH = (Subscription.BOTH, False, False)

    def __init__(self, subscription: Subscription, asked: bool, requested: bool) -> None:
        self.subscription = subscription
        self.asked = asked
        self.requested = requested


class Way(Enum):
    """Whose stanza it is: the user's, or the contact's."""

    OUTBOUND = auto()
    INBOUND = auto()


@dataclass(frozen=True, slots=True)
class Move:
    """What a subscription stanza leads to.

    ``goes_on``: it is routed to the contact, or delivered to the user. ``reply``: what the user's server answers the
    contact on the user's behalf, if anything. ``approved``: requests will be granted unasked from now on (§3.4).
    """

    state: State
    goes_on: bool = False
    reply: str = ""
    approved: bool = False


_ROUTE = _DELIVER = True
_NOT = False
_Row = tuple[State, bool]

# Where a state is not listed, nothing changes and the stanza does not go on.
_TABLES: dict[tuple[Way, str], dict[State, _Row]] = {
    # §A.2.1, Table 2
    (Way.OUTBOUND, "subscribe"): {
        State.NONE: (State.NONE_OUT, _ROUTE),
        State.NONE_OUT: (State.NONE_OUT, _ROUTE),
        State.NONE_IN: (State.NONE_OUT_IN, _ROUTE),
        State.NONE_OUT_IN: (State.NONE_OUT_IN, _ROUTE),
        State.TO: (State.TO, _ROUTE),
        State.TO_IN: (State.TO_IN, _ROUTE),
        State.FROM: (State.FROM_OUT, _ROUTE),
        State.FROM_OUT: (State.FROM_OUT, _ROUTE),
        State.BOTH: (State.BOTH, _ROUTE),
    },
    # §A.2.2, Table 3
    (Way.OUTBOUND, "unsubscribe"): {
        State.NONE: (State.NONE, _ROUTE),
        State.NONE_OUT: (State.NONE, _ROUTE),
        State.NONE_IN: (State.NONE_IN, _ROUTE),
        State.NONE_OUT_IN: (State.NONE_IN, _ROUTE),
        State.TO: (State.NONE, _ROUTE),
        State.TO_IN: (State.NONE_IN, _ROUTE),
        State.FROM: (State.FROM, _ROUTE),
        State.FROM_OUT: (State.FROM, _ROUTE),
        State.BOTH: (State.FROM, _ROUTE),
    },
    # §A.2.3, Table 4
    (Way.OUTBOUND, "subscribed"): {
        State.NONE_IN: (State.FROM, _ROUTE),
        State.NONE_OUT_IN: (State.FROM_OUT, _ROUTE),
        State.TO_IN: (State.BOTH, _ROUTE),
    },
    # §A.2.4, Table 5
    (Way.OUTBOUND, "unsubscribed"): {
        State.NONE_IN: (State.NONE, _ROUTE),
        State.NONE_OUT_IN: (State.NONE_OUT, _ROUTE),
        State.TO_IN: (State.TO, _ROUTE),
        State.FROM: (State.NONE, _ROUTE),
        State.FROM_OUT: (State.NONE_OUT, _ROUTE),
        State.BOTH: (State.TO, _ROUTE),
    },
    # §A.3.1, Table 6
    (Way.INBOUND, "subscribe"): {
        State.NONE: (State.NONE_IN, _DELIVER),
        State.NONE_OUT: (State.NONE_OUT_IN, _DELIVER),
        State.TO: (State.TO_IN, _DELIVER),
    },
    # §A.3.2, Table 7
    (Way.INBOUND, "unsubscribe"): {
        State.NONE_IN: (State.NONE, _DELIVER),
        State.NONE_OUT_IN: (State.NONE_OUT, _DELIVER),
        State.TO_IN: (State.TO, _DELIVER),
        State.FROM: (State.NONE, _DELIVER),
        State.FROM_OUT: (State.NONE_OUT, _DELIVER),
        State.BOTH: (State.TO, _DELIVER),
    },
    # §A.3.3, Table 8
    (Way.INBOUND, "subscribed"): {
        State.NONE_OUT: (State.TO, _DELIVER),
        State.NONE_OUT_IN: (State.TO_IN, _DELIVER),
        State.FROM_OUT: (State.BOTH, _DELIVER),
    },
    # §A.3.4, Table 9
    (Way.INBOUND, "unsubscribed"): {
        State.NONE_OUT: (State.NONE, _DELIVER),
        State.NONE_OUT_IN: (State.NONE_IN, _DELIVER),
        State.TO: (State.NONE, _DELIVER),
        State.TO_IN: (State.NONE_IN, _DELIVER),
        State.FROM_OUT: (State.FROM, _DELIVER),
        State.BOTH: (State.FROM, _DELIVER),
    },
}

# The states in which a request can be approved before it comes (§A.2.3 [1]), and what its coming leads to (§A.3.1).
_GRANTED = {State.NONE: State.FROM, State.NONE_OUT: State.FROM_OUT, State.TO: State.BOTH}
# §A.3.1 [2]: the contact asks for what it has.
_SEEN = frozenset((State.FROM, State.FROM_OUT, State.BOTH))
_BY_VALUE = {(state.subscription, state.asked, state.requested): state for state in State}


def state_of(item: RosterItem) -> State:
    """Return the state an item is in; a request for what is there already counts for nothing."""
    to = item.subscription in {Subscription.TO, Subscription.BOTH}
    seen = item.subscription in {Subscription.FROM, Subscription.BOTH}
    return _BY_VALUE[item.subscription, item.asked and not to, item.request is not None and not seen]


def move(way: Way, type: str, state: State, approved: bool) -> Move:
    """Return what a stanza of this subscription type leads to in this state."""
    new, goes_on = _TABLES[way, type].get(state, (state, _NOT))
    reply = ""
    if way is Way.OUTBOUND and type == "subscribed":
        approved = approved or state in _GRANTED
    elif way is Way.OUTBOUND and type == "unsubscribed":
        approved = False
    elif way is Way.INBOUND and type == "subscribe":
        if state in _SEEN:
            reply = "subscribed"
        elif approved and state in _GRANTED:
            new, goes_on, reply = _GRANTED[state], _NOT, "subscribed"
    elif way is Way.INBOUND and type == "unsubscribe" and new is not state:
        reply = "unsubscribed"  # §A.3.2 [1]
    return Move(new, goes_on, reply, approved)
