"""The rooms of the house: imports point down, and only some rooms have a door to the reactor or to SQL."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import vrxmpp

HOUSE = Path(vrxmpp.__file__).parent
VOCABULARY = {"jid", "ns", "errors", "stanza", "dom", "xml", "waiting"}
# Which rooms of the house each room may look into, beside itself; the vocabulary is open to all.
ROOMS: dict[str, set[str]] = {
    **{word: set() for word in VOCABULARY},
    "wire": set(),
    "store.interfaces": set(),
    "negotiation": {"wire", "store.interfaces"},
    "core": {"wire", "store.interfaces"},
    "admin": {"store.interfaces"},
    "audit": set(),
    "modules": {"core", "store.interfaces"},
    "store": {"store.interfaces"},
    "net": {"core", "negotiation", "wire", "admin", "audit", "store.interfaces"},
}
FRONT_DOOR = {
    "__init__",
    "__main__",
    "archiving",
    "assembly",
    "cli",
    "config",
    "federation",
    "live",
    "policies",
    "reloading",
    "service",
    "standards",
    "tap",
}
NO_REACTOR = ("twisted.internet.defer", "twisted.internet.interfaces")


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of each thing that is imported, in functions too, but for type checking."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names)
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from imports(node)


def room(name: str) -> str:
    """Return the room of a module, by its name within the house."""
    return "store.interfaces" if name.startswith("store.interfaces") else name.partition(".")[0]


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(HOUSE).with_suffix("").parts)


FILES = sorted(HOUSE.rglob("*.py"), key=name_of)


def is_allowed(name: str, imported: str) -> bool:
    """May the module of the house with this name import that?"""
    own, at_front = room(name), room(name) in FRONT_DOOR
    top, _, within = imported.partition(".")
    if top == "vrxmpp":
        other = room(within)
        if (own, other) == ("modules", "modules"):
            return within.startswith(f"{name}_")  # no other module, but a table named after this one
        return at_front or other in {own, *VOCABULARY, *ROOMS[own]}
    if imported.startswith("twisted.internet.") and own != "audit":  # its processes have no reactor
        return imported.startswith(NO_REACTOR) or at_front or own == "net" or name == "store.database"
    if top in {"sqlalchemy", "alembic", "sqlite3"}:
        return at_front or own == "store" or (own == "audit" and top == "sqlite3")
    if top == "wokkel" or imported.startswith("twisted.words"):
        return name == "dom"
    return top != "" and (own, top) != ("audit", "twisted")


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_point_down(file: Path) -> None:
    tree = ast.parse(file.read_text())
    assert [imported for imported in imports(tree) if not is_allowed(name_of(file), imported)] == []


@pytest.mark.parametrize(
    ("name", "imported"),
    [
        ("jid", "vrxmpp.core.account.Account"),
        ("wire.framer", "vrxmpp.core.session"),
        ("negotiation.sasl", "vrxmpp.core.host"),
        ("core.router", "vrxmpp.net.c2s"),
        ("core.host", "vrxmpp.modules.presence.Presence"),
        ("core.host", "vrxmpp.store.accounts"),
        ("core.host", "twisted.internet.reactor"),
        ("modules.ping", "vrxmpp.modules.disco.Info"),
        ("modules.ping", "vrxmpp.wire.framer"),
        ("modules.offline", "sqlalchemy.select"),
        ("modules.vcard", "wokkel.data_form.Form"),
        ("store.rosters", "twisted.internet.threads.deferToThread"),
        ("net.c2s", "vrxmpp.service.Service"),
        ("net.c2s", "..core.session"),
        ("audit.recorder", "twisted.internet.defer"),
        ("audit.ledger", "vrxmpp.store.database"),
    ],
)
def test_what_points_up_is_found(name: str, imported: str) -> None:
    assert not is_allowed(name, imported)


def test_imports_are_found_wherever_they_are() -> None:
    source = "import a\ndef f():\n  from b import c\nif TYPE_CHECKING:\n  import d\nfrom . import e"
    assert list(imports(ast.parse(source))) == ["a", "b.c", ".None.e"]
