"""The page of standards: made from the code, and true of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import pytest
from twisted.internet.task import Clock

from tests.world import NoRemote
from vrxmpp.assembly import Foundations, assemble
from vrxmpp.config import parse
from vrxmpp.core.module import Rfc, Xep
from vrxmpp.core.router import Router
from vrxmpp.core.witnessing import Signed
from vrxmpp.negotiation.throttle import Throttle
from vrxmpp.standards import BELOW_THE_MODULES, module_classes, page
from vrxmpp.store.database import Database

ROOT = Path(__file__).parent.parent.parent
T = TypeVar("T")


class Nobody:
    """Cosigns nothing."""

    async def cosign(self, domain: str, submission: Signed) -> Signed:
        raise NotImplementedError


async def run_here(work: Callable[[], T]) -> T:
    return work()


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs/standards.md").read_text() == page()


def test_the_page_has_what_modules_declare_and_what_is_below_them() -> None:
    lines = page().splitlines()
    [ping] = [line for line in lines if "XEP-0199" in line]
    assert ping.endswith("| XMPP Ping | 2.0.1 |  | `modules/ping.py` |")
    [binding] = [line for line in lines if "§7" in line]
    assert binding.endswith("| XMPP: Core | §7 Resource Binding |  | `negotiation/bind.py` |")


def test_every_module_on_the_page_serves_clients() -> None:
    """A module that is written, but not mounted, would make the page lie."""
    foundations = Foundations(
        database=Database.open("sqlite://"),
        router=Router(NoRemote()),
        throttle=Throttle(Clock().seconds),
        secret=b"secret",
        run_in_thread=run_here,
        started=datetime(2026, 1, 1, tzinfo=UTC),
        archiving=SimpleNamespace(sealer=None, checkpoints=Nobody(), retention=lambda _: None),
    )
    audit = "[audit]\nencrypted = 'refuse'\ncheckpoints.witness_for = ['elsewhere.example']\n"
    settings = parse(f"{audit}[[host]]\ndomain = 'example.net'", ROOT / "vrxmpp.toml")
    host = assemble(settings, settings.hosts[0], foundations).host
    assert {type(module) for module in host.modules} == set(module_classes())


@pytest.mark.parametrize(("standard", "file"), BELOW_THE_MODULES)
def test_a_file_below_the_modules_names_what_it_speaks(standard: Rfc | Xep, file: str) -> None:
    text = (ROOT / "vrxmpp" / file).read_text()
    name = f"RFC {standard.number}" if isinstance(standard, Rfc) else f"XEP-{standard.number:04}"
    assert name in text
