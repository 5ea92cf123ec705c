"""What recovers an archive: the sheet that an operator puts into a safe, and the root key sealed to its identity."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from vrxmpp.audit import files
from vrxmpp.audit.identity import SECRET_PREFIX, Identity, PublicKey
from vrxmpp.audit.root import RootKeyError, plain_errors

SHEET = "recovery-sheet.txt"
"""The file in the directory of keys where a recovery sheet lies until somebody has stored it elsewhere."""

_ESCROW = "root.escrow"

_TEXT = """\
vrxmpp: recovery sheet of the audit archive of {origin}
Made on {made}.

Print this now: it is shown once and stored nowhere. Keep it in a safe, away
from the server and from its backups. Whoever has it can read the whole
archive; without it, and without another officer, nobody can read any day
that is over.

Recovery identity (secret):

  {identity}

Its public key, by which the server seals to it:

  {public}

What it is for:
- It is the identity of the officer "recovery", to whom the keys of each day
  are sealed. With it the archive can be searched, exported, and opened to
  other officers.
- It opens keys/root.escrow, which holds the root key, should that be lost.

Dashes and spaces in the keys need not be typed. Should this sheet be lost,
add another officer and remove "recovery" while you still can.
"""


@dataclass(frozen=True, slots=True)
class Sheet:
    """What an operator must print and store when an archive is made."""

    identity: Identity
    origin: str
    made: date

    @property
    def text(self) -> str:
        """The sheet, for printing: it holds a secret."""
        digits = self.identity.text.removeprefix(SECRET_PREFIX)
        identity = "-".join((SECRET_PREFIX, *re.findall(".{1,8}", digits)))
        return _TEXT.format(origin=self.origin, made=self.made, identity=identity, public=self.identity.public.text)


def write_escrow(keys: Path, recovery: PublicKey, root: bytes) -> None:
    """Seal the root key to the recovery officer. Raises OSError."""
    value = {"version": 1, "recovery": recovery.text, "root": b64encode(recovery.seal(root)).decode()}
    files.replace(keys / _ESCROW, json.dumps(value).encode() + b"\n")


def read_escrow(keys: Path) -> tuple[PublicKey, bytes]:
    """Return the recovery officer's public key, and the root key as sealed to it. Raises RootKeyError, OSError."""
    path = keys / _ESCROW
    try:
        value = json.loads(path.read_bytes())
        return PublicKey.parse(value["recovery"]), b64decode(value["root"], validate=True)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise RootKeyError(f"{path}: this is no escrow, or it is damaged") from None


def open_escrow(keys: Path, identity: Identity) -> bytes:
    """Return the root key to whoever has the recovery identity. Raises RootKeyError."""
    with plain_errors(keys):
        return identity.open(read_escrow(keys)[1])
