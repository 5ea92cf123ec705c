"""The office: how an officer gets at the archive, and how nothing is done there without a record of who and why."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any, Protocol

from vrxmpp.audit.database import FILE
from vrxmpp.audit.desk import Desk, DeskError
from vrxmpp.audit.found import Found
from vrxmpp.audit.frames import LONGEST, SOCKET, Frames, Kind, frame_json
from vrxmpp.audit.identity import Identity, PublicKey
from vrxmpp.audit.keys import KeyStore
from vrxmpp.audit.ledger import Ledger, LedgerError
from vrxmpp.audit.policy import Policy
from vrxmpp.audit.reader import Query, Reader, Search
from vrxmpp.audit.root import RootKeyError
from vrxmpp.audit.rotation import is_interrupted, read_root, rotate
from vrxmpp.audit.seal import SealError
from vrxmpp.audit.storage_key import has_storage_key, renew_storage_key

_PATIENCE = 600  # seconds for one answer: a large erasure takes its time
_LONGEST_NAME = 64  # characters of an officer's name that is not one


class AccessError(Exception):
    """Nobody is let in like that; the try is on record. One line says why."""


class Ask(Protocol):
    """The way to the desk of the archive."""

    is_live: bool
    """Whether a recorder is running, so that checkpoints are being made."""

    def __call__(self, name: str, /, **arguments: Any) -> Any:
        """Ask the desk (``Desk.perform``). Raises DeskError."""


def is_there(state: Path) -> bool:
    """Whether an archive was made in this state directory. DeskError where only its keys are left."""
    if (state / "audit" / FILE).exists():
        return True
    if KeyStore(state / "keys").list():
        raise DeskError(f"{state / 'audit'}: the log is gone, and its keys are there: restore it")
    return False


@contextmanager
def open_desk(state: Path, root_key: str) -> Iterator[Ask]:
    """Have the desk: that of the recorder, where one runs, or else one of our own. Raises DeskError.

    ``state`` is the state directory, ``root_key`` where the root key comes from (``rotation.read_root``).
    """
    line = _call(state / "audit" / SOCKET)
    if line is not None:
        with closing(line):
            yield _Remote(line)
        return
    with _own_ledger(state, root_key) as ledger:
        yield _Own(Desk(ledger, state))


def change(ask: Ask, change: str, *, by: str, purpose: str, case: str, **arguments: Any) -> tuple[Policy, int]:
    """Change the policy (``Desk.change``): return the new one, and the index of the record. Raises DeskError."""
    answer = ask("change", change=change, by=by, purpose=purpose, case=case, arguments=arguments)
    if change == "remove_officer":
        finish(ask)
    return Policy.from_json(answer["policy"]), answer["record"]


def finish(ask: Ask) -> None:
    """Have done all that is recorded and not yet done, step by step. Raises DeskError."""
    while ask("finish"):
        pass


def policy(ask: Ask) -> Policy:
    """Return the policy in force. Raises DeskError."""
    return Policy.from_json(ask("policy"))


def rotate_root(state: Path, root_key: str, new_root_key: str, *, by: str, purpose: str, case: str) -> None:
    """Replace the root key, while no recorder runs, with a record before and one of the outcome.

    Raises DeskError, RootKeyError.
    """
    _refuse_beside_recorder(state)
    facts = {"what": "rotate_root", "by": by, "purpose": purpose, "case": case}
    if new_root_key and is_interrupted(root_key, state / "keys", new_root_key):
        # The log opens to neither key until this is finished; that it was begun is on record.
        rotate(root_key, state / "keys", new_root_key)
        _record(state, new_root_key, {**facts, "outcome": "done"})
        return
    with _on_record(state, root_key, facts, after=new_root_key or root_key):
        rotate(root_key, state / "keys", new_root_key)


def replace_lost_storage_key(
    state: Path, root_key: str, forget: Callable[[], int], *, by: str, purpose: str, case: str
) -> int:
    """Make another storage key in the place of one that is lost, with a record before and one of the outcome.

    ``forget`` deletes what waits sealed under the lost one, and returns how many messages that were, as this does.
    Raises DeskError, RootKeyError, and what it raises.
    """
    _refuse_beside_recorder(state)
    if has_storage_key(state / "keys"):
        raise DeskError("the storage key is there: only one that is lost is replaced")
    facts: dict[str, Any] = {"what": "replace_storage_key", "by": by, "purpose": purpose, "case": case}
    with _on_record(state, root_key, facts, after=root_key):
        facts["forgotten"] = forget()
        renew_storage_key(state / "keys", read_root(root_key, state / "keys"))
    return int(facts["forgotten"])


def _refuse_beside_recorder(state: Path) -> None:
    line = _call(state / "audit" / SOCKET)
    if line is not None:
        line.close()
        raise DeskError("the server is running, and has the root key in use: stop it first")


@contextmanager
def _on_record(state: Path, root_key: str, facts: dict[str, Any], *, after: str) -> Iterator[None]:
    """Record that something is begun, and what comes of it; ``after`` is the source of the root key then.

    What is interrupted, or leaves nothing that a record could be written with, has a beginning without an outcome.
    """
    _record(state, root_key, {**facts, "outcome": "begun"})
    try:
        yield
    except Exception as error:
        with suppress(DeskError):
            _record(state, root_key, {**facts, "outcome": "failed", "reason": str(error)})
        raise
    _record(state, after, {**facts, "outcome": "done"})


def _record(state: Path, root_key: str, facts: dict[str, Any]) -> None:
    with _own_ledger(state, root_key) as ledger:
        Desk(ledger, state).perform({"ask": "record", "type": "config", "facts": facts})


class Visit:
    """An officer at work, whose key was checked: all they do here is recorded before they see anything of it."""

    def __init__(
        self, state: Path, ask: Ask, name: str, identity: Identity, policy: Policy, *, purpose: str, case: str
    ) -> None:
        self.state, self.ask, self.policy = state, ask, policy
        self.name, self.purpose, self.case = name, purpose, case
        self.keys = KeyStore(state / "keys")
        self.reader = Reader(state / "audit", self.keys, name, identity)
        self._identity = identity

    @classmethod
    def begin(cls, state: Path, ask: Ask, name: str, identity: str, *, purpose: str, case: str) -> Visit:
        """Let an officer in, who shows their identity. AccessError if it is not theirs: that is recorded. DeskError."""
        if not purpose.strip() or not case.strip():
            raise AccessError("say what for: a purpose and a case are needed")
        in_force = policy(ask)
        known = in_force.public_keys().get(name)
        try:
            own = Identity.parse(identity)
            reason = _why_not(name, known, own)
        except ValueError as error:
            reason = str(error)
        if reason:
            tried = {"by": name[:_LONGEST_NAME], "purpose": purpose, "case": case, "what": "refused", "reason": reason}
            ask("record", type="access", facts=tried)
            raise AccessError(reason)
        return cls(state, ask, name, own, in_force, purpose=purpose, case=case)

    def record(self, what: str, *, type: str = "access", **facts: Any) -> int:
        """Record what is about to be done; return the index of the record. DeskError: then it must not be done."""
        who = {"by": self.name, "purpose": self.purpose, "case": self.case, "what": what}
        index: int = self.ask("record", type=type, facts=who | facts)
        return index

    def search(self, query: Query) -> Search:
        """Record a search, and begin it. Raises DeskError."""
        self.record("search", query=query.to_json())
        return self.reader.search(query)

    def show(self, index: int) -> Found:
        """Record that a record is looked at, and return it. Raises DeskError, RecordsError."""
        self.record("show", index=index)
        return self.reader.show(index)

    def share(self, name: str, first: date | None = None) -> list[tuple[str, date]]:
        """Let another officer read the days so far, from ``first`` on; return which could be shared.

        Raises DeskError; AccessError if there is no such officer.
        """
        public = self.policy.public_keys().get(name)
        if public is None:
            raise AccessError(f"there is no officer {name}")
        self.record("share", officer=name, first=first and first.isoformat())
        shared = []
        for class_name, day in self.keys.list():
            if first is not None and day < first:
                continue
            try:
                self.keys.share(class_name, day, self.name, self._identity, new_name=name, new_public=public)
            except SealError:
                continue  # it was never sealed to this officer
            shared.append((class_name, day))
        return shared

    def change(self, what: str, **arguments: Any) -> int:
        """Change the policy (``Desk.change``); return the index of the record. Raises DeskError."""
        who = {"by": self.name, "purpose": self.purpose, "case": self.case}
        self.policy, record = change(self.ask, what, **who, **arguments)
        return record


def _why_not(name: str, known: PublicKey | None, identity: Identity) -> str:
    if known is None:
        return f"there is no officer {name[:_LONGEST_NAME]}"
    return "" if known == identity.public else f"this is not the identity of {name}"


class _Own:
    is_live = False

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def __call__(self, name: str, /, **arguments: Any) -> Any:
        return self._desk.perform({"ask": name, **arguments})


class _Remote:
    is_live = True

    def __init__(self, line: socket.socket) -> None:
        self._line, self._frames, self._number = line, Frames(), 0

    def __call__(self, name: str, /, **arguments: Any) -> Any:
        self._number += 1
        question = frame_json(Kind.ASK, {"ask": name, "id": self._number, **arguments})
        if len(question) > LONGEST:
            raise DeskError("this is too much for the recorder at once; stop the server and try again")
        try:
            self._line.sendall(question)
            answer = self._answer()
        except (OSError, ValueError) as error:
            raise DeskError(f"the recorder does not answer: {error}") from None
        if "error" in answer:
            raise DeskError(answer["error"])
        return answer["ok"]

    def _answer(self) -> dict[str, Any]:
        while data := self._line.recv(65_536):
            for kind, body in self._frames.feed(data):
                answer: dict[str, Any] = json.loads(body) if kind == Kind.ANSWER else {}
                if answer.get("id") == self._number:
                    return answer
        raise OSError("it has ended")


def _call(path: Path) -> socket.socket | None:
    """Return a line to the recorder; None if none is running."""
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(_PATIENCE)
    try:
        line.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):  # it has ended, or was killed
        line.close()
        return None
    except OSError as error:
        line.close()
        raise DeskError(f"{path}: {error}") from None
    return line


@contextmanager
def _own_ledger(state: Path, root_key: str) -> Iterator[Ledger]:
    keys = state / "keys"
    try:
        ledger = Ledger.open(state / "audit", KeyStore(keys), read_root(root_key, keys))
    except (LedgerError, RootKeyError, SealError) as error:
        raise DeskError(str(error)) from None
    with closing(ledger):
        finish(_Own(Desk(ledger, state)))  # what a crash has interrupted
        yield ledger
