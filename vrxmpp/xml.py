"""Character data written safely into XML 1.0: text, attribute values, and what neither may hold."""

from __future__ import annotations

import re

# XML 1.0 §2.2, production Char, turned round.
_FORBIDDEN = "\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff"
_FORBIDDEN_CHARACTER = re.compile(f"[{_FORBIDDEN}]")
_SPECIAL_IN_TEXT = re.compile(f"[&<>\r{_FORBIDDEN}]")
_SPECIAL_IN_ATTRIBUTE = re.compile(f"[&<>'\"\t\n\r{_FORBIDDEN}]")
_REFERENCES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "'": "&apos;",
    '"': "&quot;",
    # A parser would turn these into other white space (XML 1.0 §2.11, §3.3.3).
    "\t": "&#9;",
    "\n": "&#10;",
    "\r": "&#13;",
}


def text(value: str) -> str:
    """Return ``value`` as character data; ``ValueError`` if XML cannot hold it."""
    return _SPECIAL_IN_TEXT.sub(_reference, value) if _SPECIAL_IN_TEXT.search(value) else value


def attribute(value: str) -> str:
    """Return ``value`` as an attribute's, without the quotes around it; ``ValueError`` if XML cannot hold it."""
    return _SPECIAL_IN_ATTRIBUTE.sub(_reference, value) if _SPECIAL_IN_ATTRIBUTE.search(value) else value


def attributes(*values: str) -> tuple[str, ...]:
    """Return each of ``values`` as an attribute's; faster than one by one, as there is seldom anything to do."""
    return tuple(map(attribute, values)) if _SPECIAL_IN_ATTRIBUTE.search("".join(values)) else values


def is_allowed(value: str) -> bool:
    """Can XML 1.0 hold every character of ``value``? (§2.2)"""
    return not _FORBIDDEN_CHARACTER.search(value)


def _reference(match: re.Match[str]) -> str:
    character = match[0]
    if character not in _REFERENCES:
        raise ValueError(f"U+{ord(character):04X} is not allowed in XML")
    return _REFERENCES[character]
