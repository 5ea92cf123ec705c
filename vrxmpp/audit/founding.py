"""The first start: the keys and the log of a new archive, and the recovery sheet that opens them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from vrxmpp.audit import files
from vrxmpp.audit.database import FILE
from vrxmpp.audit.identity import Identity
from vrxmpp.audit.keys import KeyStore
from vrxmpp.audit.ledger import Ledger, LedgerError
from vrxmpp.audit.policy import RECOVERY, Officer, Policy
from vrxmpp.audit.recovery import SHEET, Sheet, read_escrow, write_escrow
from vrxmpp.audit.root import RootKeyError, make_source, plain_errors, read_source
from vrxmpp.audit.storage_key import make_storage_key

_BUSY_SECONDS = 10


def initialise(state: Path, source: str, origin: str) -> Sheet | None:
    """Make the keys and the log of a new archive below the state directory; None if there is one. RootKeyError.

    The sheet it returns can never be had again: it is in a file, too, before there is a log. If a crash keeps the
    archive from being made, the next call begins anew; it never does so where there are keys without their log, or a
    log without its keys.
    """
    keys, audit = state / "keys", state / "audit"
    with plain_errors(keys):
        files.make_directory(keys)
        with files.changing(keys):
            if _is_made(audit):
                read_escrow(keys)
                return None
            if KeyStore(keys).list():
                raise RootKeyError(f"{audit}: the log is gone, and its keys are there; bring it back from its backup")
            make_source(source, keys)
            root = read_source(source, keys)
            make_storage_key(keys, root)
            now = datetime.now(UTC)
            sheet = Sheet(Identity.generate(), origin, now.date())
            files.replace(keys / SHEET, sheet.text.encode())
            write_escrow(keys, sheet.identity.public, root)
            try:
                officer = Officer(sheet.identity.public.text, int(now.timestamp() * 1_000_000))
                Ledger.create(audit, root, origin, Policy({RECOVERY: officer}))
            except LedgerError as error:
                raise RootKeyError(str(error)) from None
    return sheet


def _is_made(audit: Path) -> bool:
    ledger = audit / FILE
    if not ledger.exists():
        return False
    with closing(sqlite3.connect(ledger, timeout=_BUSY_SECONDS)) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
    return bool(version)
