"""Puts the audit archive together: from the configuration to the recorder, the notary, and the seal on what waits."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from vrxmpp.audit import files
from vrxmpp.audit.founding import initialise
from vrxmpp.audit.notary import LOG
from vrxmpp.audit.office import open_desk
from vrxmpp.audit.recovery import SHEET
from vrxmpp.config import Config
from vrxmpp.config.reference import in_force
from vrxmpp.core.router import Router
from vrxmpp.net.archive import Archive, ArchiveSettings
from vrxmpp.net.checkpoints import Checkpoints, CheckpointSettings
from vrxmpp.net.recorder import ArchiveError
from vrxmpp.net.verification import Verification, verify_by_process
from vrxmpp.store.sealer import StorageSealer, seal_waiting

_LEARN_SECONDS = 60.0
_log = Logger("vrxmpp")


def make_archive(config: Config) -> None:
    """Make the keys and the log at the first start, and hand out the recovery sheet. Raises RootKeyError, OSError."""
    sheet = initialise(config.state, config.audit.root_key, _origin(config))
    if sheet is not None and sys.__stderr__ is not None and sys.__stderr__.isatty():
        # What is no terminal may be a log, where a secret must not be: there it stays in its file.
        print(sheet.text, file=sys.__stderr__)
        keys = config.state / "keys"
        with files.changing(keys):
            files.destroy(keys / SHEET)


def note_absence(config: Config) -> None:
    """Record in an archive that is there, and switched off, that nothing more comes. Raises DeskError."""
    if (config.state / "audit").exists():
        with open_desk(config.state, config.audit.root_key) as ask:
            ask("record", type="config", facts={"event": "started without the archive", "after": in_force(config)})


def _origin(config: Config) -> str:
    return config.hosts[0].domain + LOG


class Archiving:
    """The archive of a server, and all that belongs to it."""

    def __init__(self, config: Config, router: Router, reactor: Any) -> None:
        self.sealer = StorageSealer()
        self._is_started = False
        self._unnoted: dict[str, object] = {}  # a configuration that is not recorded yet
        self._retention: dict[str, dict[str, float | None]] | None = None
        self._learning = LoopingCall(lambda: Deferred.fromCoroutine(self._look()))
        self._learning.clock = reactor
        self._state = config.state
        self._database_url = config.database_url
        classes = {host.domain: config.archived(host).class_name for host in config.hosts}
        settings = ArchiveSettings(
            state=config.state,
            root_key=config.audit.root_key,
            origin=_origin(config),
            default_class=config.audit.class_name,
            classes=classes,
            refuse_on_failure=config.audit.on_failure == "refuse",
        )
        self.archive = Archive(settings, router, reactor)
        sinks = config.audit.checkpoints
        checkpoints = CheckpointSettings(
            state=config.state,
            domain=config.hosts[0].domain,
            witnesses=sinks.witnesses,
            directory=sinks.directory,
            command=sinks.command,
            every_seconds=sinks.every_seconds,
            fresh_seconds=sinks.fresh_seconds,
        )
        self.checkpoints = Checkpoints(checkpoints, self.archive, router, reactor)
        verify = verify_by_process((config.state / "audit").absolute())
        self._verification = Verification(verify, self.archive, reactor)
        router.audit = self.archive
        router.answered = self.checkpoints.answered

    async def start(self) -> None:
        """Open the archive; nobody may say anything before. Raises ArchiveError, StorageError."""
        self.sealer.unlock(await self.archive.start())
        sealed = await deferToThread(seal_waiting, self._database_url, self.sealer)
        if sealed:
            _log.info("{count} messages that wait are sealed now", count=sealed)
        self.checkpoints.start()
        self._verification.start()
        self._learning.start(_LEARN_SECONDS)
        self._is_started = True
        sheet = self._state / "keys" / SHEET
        if sheet.exists():
            _log.warn("the recovery sheet opens the whole archive; print it, and put it into a safe: vrxmpp audit init")

    async def stop(self) -> None:
        """Write what waits, and close the archive."""
        if self._is_started:
            self._learning.stop()
            self._verification.stop()
            await self.checkpoints.stop()
        await self.archive.stop()

    def status(self) -> Mapping[str, object]:
        """Return how the archive does, and how safe it is."""
        return {
            "archive": self.archive.status(),
            "checkpoints": self.checkpoints.status(),
            "verification": self._verification.status(),
        }

    def retention(self, class_name: str) -> float | None:
        """Return for how many days a class of records is kept, infinity for ever; None where it is not known yet."""
        if self._retention is None:
            return None
        days = self._retention.get(class_name, {}).get("days")
        return inf if days is None else days

    def note_configuration(self, event: str, configuration: object, not_in_force: Sequence[str] = ()) -> None:
        """Record a configuration that is in force from now on, and what was before."""
        self._unnoted = {"event": event, "after": configuration, "not_in_force": list(not_in_force)}
        Deferred.fromCoroutine(self._look())

    async def _look(self) -> None:
        """Tell the recorder what it could not be told before, and ask what officers may have changed."""
        unnoted, self._unnoted = self._unnoted, {}
        try:
            if unnoted:
                await self.archive.ask("configure", **unnoted)
        except ArchiveError:
            self._unnoted = self._unnoted or unnoted
            return
        with suppress(ArchiveError):  # it is asked again
            self._retention = (await self.archive.ask("status"))["retention"]
