"""A record that is no message, in one line for people: what the server noted, without what would fill pages."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import shorten
from typing import Any

from vrxmpp.audit.found import Json, written
from vrxmpp.audit.leaf import Type

_LONGEST, _LONGEST_VALUE = 300, 80  # characters
_LAST = 253_402_300_800_000_000  # microseconds since 1970: the end of the last year that can be written
# Told in another way, told by another column, or of no use to people: the whole record has them.
_LEFT_OUT = frozenset(
    ("event", "what", "before", "after", "account", "query", "note", "root", "key_id", "resealed", "policy", "public")
)


def summarise(type: int, facts: Json) -> str:
    """Return what happened, who did it and why, shortened to a line."""
    if type == Type.POLICY:
        return "the policy is another one: officers, retention, holds or configuration"
    head = str(facts.get("event") or facts.get("what") or "").replace("_", " ")
    details = [f"{name} {text}" for name, value in facts.items() if name not in _LEFT_OUT and (text := _brief(value))]
    if isinstance(facts.get("query"), dict):
        details.append(describe_query(facts["query"]))
    if "what" not in facts:  # else its arguments tell it all
        details += _changes(facts)
    return shorten(": ".join(filter(None, (head, ", ".join(details)))), _LONGEST, placeholder=" ...")


def describe_query(query: Json) -> str:
    """Return what was searched for (``reader.Query.to_json``) in words; times are UTC."""
    parts = [
        f"{words} {' and '.join(map(str, query[name]))}"
        for name, words in (("words", "with the words"), ("addresses", "from or to"), ("types", "of the types"))
        if query.get(name)
    ]
    parts += [f"of the conversation {query['conversation']}"] if query.get("conversation") else []
    parts += [
        f"{word} {_time(query[name])}" for name, word in (("since", "from"), ("until", "before")) if name in query
    ]
    return ", ".join(parts) or "everything"


def _time(micros: Any) -> str:
    return written(micros) if isinstance(micros, int) and abs(micros) < _LAST else str(micros)


def _brief(value: Any) -> str:
    """Return a value in few words, "" if it says nothing."""
    match value:
        case None | False | "" | [] | {}:
            return ""
        case True:
            return "yes"
        case list():
            return " ".join(_range(each) if isinstance(each, list) else _brief(each) for each in value)
        case dict():
            return " ".join(f"{name} {text}" for name, each in value.items() if (text := _brief(each)))
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _range(parts: list[Any]) -> str:
    return "-".join(map(str, dict.fromkeys(parts)))


def _changes(facts: Json) -> Iterator[str]:
    """Say what a contact or the configuration was, and is now."""
    if "after" not in facts:
        return
    before, after = (dict(_leaves(facts.get(name) or {})) for name in ("before", "after"))
    if "before" not in facts:
        yield "configured as before"
    elif not before:
        yield "new"
        yield from (f"{name} {value}" for name, value in after.items() if value not in ("", "no"))
    elif not after:
        yield "removed"
    else:
        for name in dict.fromkeys((*before, *after)):
            was, now = before.get(name, ""), after.get(name, "")
            if was != now:
                yield f"{name} now {now or 'none'} (was {was or 'none'})"


def _leaves(value: Json, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each value within, by the names that lead to it, in few words."""
    for name, each in value.items():
        match each:
            case dict():
                yield from _leaves(each, f"{path}{name}.")
            case [{}, *_]:
                for number, one in enumerate(each):
                    yield from _leaves(one, f"{path}{name}[{number}].")
            case False:
                yield path + name, "no"
            case str() if each.startswith("<"):  # the request of somebody who wants to be a contact
                yield path + name, "yes"
            case _:
                yield path + name, _brief(each)
