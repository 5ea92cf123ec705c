"""The first start makes the archive; a start without it is recorded in one that is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from vrxmpp import config
from vrxmpp.archiving import make_archive, note_absence
from vrxmpp.audit.identity import Identity
from vrxmpp.audit.keys import KeyStore
from vrxmpp.audit.leaf import Type
from vrxmpp.audit.reader import Query, Reader
from vrxmpp.audit.recovery import SHEET


@pytest.fixture
def settings(tmp_path: Path) -> config.Config:
    (tmp_path / "state").mkdir(mode=0o700)
    text = "state = 'state'\n[[host]]\ndomain = 'example.net'\n[audit]\nenabled = false\n"
    return config.parse(text, tmp_path / "vrxmpp.toml")


def identity(settings: config.Config) -> Identity:
    lines = (settings.state / "keys" / SHEET).read_text().splitlines()
    [line] = [line.strip() for line in lines if line.strip().startswith("vrxmpp-identity-")]
    return Identity.parse(line)


def facts(settings: config.Config) -> Iterator[object]:
    reader = Reader(settings.state / "audit", KeyStore(settings.state / "keys"), "recovery", identity(settings))
    yield from (found.facts for found in reader.search(Query(types=frozenset((Type.CONFIG,)))))


def test_the_sheet_of_the_first_start_lies_with_the_keys_and_opens_the_archive(settings: config.Config) -> None:
    make_archive(settings)
    assert (settings.state / "keys" / SHEET).stat().st_mode & 0o777 == 0o600
    made = {path.name for path in settings.state.rglob("*")}
    make_archive(settings)
    assert {path.name for path in settings.state.rglob("*")} == made
    assert list(facts(settings)) == []


def test_a_start_without_the_archive_is_recorded_in_it(settings: config.Config) -> None:
    note_absence(settings)
    assert not (settings.state / "audit").exists()
    make_archive(settings)
    note_absence(settings)
    [noted] = facts(settings)
    assert "started without the archive" in json.dumps(noted)
