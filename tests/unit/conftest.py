"""What the tests of the archive share: an empty one, and its log, open for writing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.audit_log import Archive
from vrxmpp.audit.ledger import Ledger


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


@pytest.fixture
def ledger(archive: Archive) -> Iterator[Ledger]:
    with closing(archive.open()) as ledger:
        yield ledger
