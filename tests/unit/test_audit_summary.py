"""What is shown of records that are no messages: one line that people can read."""

from __future__ import annotations

import pytest

from vrxmpp.audit.found import Json
from vrxmpp.audit.leaf import Type
from vrxmpp.audit.summary import describe_query, summarise

NOBODY = {"name": "", "groups": [], "subscription": "none", "asked": False, "request": None}
CAROL = NOBODY | {"name": "Carol", "groups": ["Friends", "Work"]}
WHO = {"by": "jane", "purpose": "complaint", "case": "17"}


@pytest.mark.parametrize(
    ("type", "facts", "line"),
    [
        (
            Type.SESSION,
            {"event": "ended", "session": "alice@library.example/desk", "reason": ""},
            "ended: session alice@library.example/desk",
        ),
        (
            Type.STREAM,
            {"event": "refused", "peer": "museum.example", "reason": "expired", "direction": "from"},
            "refused: peer museum.example, reason expired, direction from",
        ),
        (
            Type.ROSTER,
            {"account": "alice@library.example", "contact": "carol@museum.example", "before": None, "after": CAROL},
            "contact carol@museum.example, new, name Carol, groups Friends Work, subscription none",
        ),
        (
            Type.ROSTER,
            {
                "contact": "carol@museum.example",
                "before": CAROL,
                "after": CAROL | {"subscription": "to", "asked": True},
            },
            "contact carol@museum.example, subscription now to (was none), asked now yes (was no)",
        ),
        (
            Type.ROSTER,
            {"contact": "bob", "before": NOBODY, "after": NOBODY | {"request": "<presence from='x'/>"}},
            "contact bob, request now yes (was none)",
        ),
        (Type.ROSTER, {"contact": "bob", "before": CAROL, "after": None}, "contact bob, removed"),
        (Type.CONFIG, {"event": "started", "after": {"a": 1}, "not_in_force": []}, "started: configured as before"),
        (
            Type.CONFIG,
            {
                "event": "reloaded",
                "before": {"s2s": {"enabled": True}, "host": [{"domain": "a"}, {"domain": "b"}]},
                "after": {"s2s": {"enabled": False}, "host": [{"domain": "a"}, {"domain": "c"}]},
                "not_in_force": ["s2s.starttls"],
            },
            "reloaded: not_in_force s2s.starttls, s2s.enabled now no (was yes), host[1].domain now c (was b)",
        ),
        (
            Type.CONFIG,
            {
                "what": "set_retention",
                **WHO,
                "class": "staff",
                "days": 7,
                "locked": True,
                "before": {},
                "after": {"x": 1},
            },
            "set retention: by jane, purpose complaint, case 17, class staff, days 7, locked yes",
        ),
        (
            Type.ACCESS,
            {**WHO, "what": "search", "query": {"words": ["budget"], "since": 0}},
            "search: by jane, purpose complaint, case 17, with the words budget, from 1970-01-01T00:00:00.000000Z",
        ),
        (Type.ACCESS, {**WHO, "what": "show", "index": 0}, "show: by jane, purpose complaint, case 17, index 0"),
        (
            Type.ACCESS,
            {"what": "expire", "by": "root", "days": [["staff", "2026-11-24"]]},
            "expire: by root, days staff-2026-11-24",
        ),
        (
            Type.ERASE,
            {"kind": "expiry", "access": 12, "key_id": "ab", "removed": [[3, 7], [9, 9]], "resealed": {"4": "ab"}},
            "kind expiry, access 12, removed 3-7 9",
        ),
        (Type.VERIFY, {"size": 5, "problems": 0, "seconds": 0.5}, "size 5, problems 0, seconds 0.5"),
        (Type.WITNESS, {"sink": "directory", "size": 5, "note": "a\nb"}, "sink directory, size 5"),
        (Type.POLICY, {"policy": "ab"}, "the policy is another one: officers, retention, holds or configuration"),
        (Type.SESSION, {}, ""),
    ],
)
def test_a_record_in_a_line(type: Type, facts: Json, line: str) -> None:
    assert summarise(type, facts) == line


def test_a_line_stays_one_line_whatever_is_in_it() -> None:
    line = summarise(Type.SESSION, {"event": "log-in failed\nand more", "reason": "x" * 1000, "other": ["y"] * 1000})
    assert "\n" not in line
    assert len(line) <= 300
    assert line.endswith(" ...")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({}, "everything"),
        (
            {"words": ["a", "b"], "addresses": ["x@y"], "types": ["message", "edit"], "conversation": "p q"},
            "with the words a and b, from or to x@y, of the types message and edit, of the conversation p q",
        ),
        ({"until": 1_000_000}, "before 1970-01-01T00:00:01.000000Z"),
        ({"until": 10**30}, f"before {10**30}"),
    ],
)
def test_a_query_in_words(query: Json, words: str) -> None:
    assert describe_query(query) == words
