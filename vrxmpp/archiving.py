"""Puts the audit archive together: from the configuration to the recorder, the notary, and the seal on what waits."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from vrxmpp.audit.root import initialise
from vrxmpp.config import Config
from vrxmpp.core.router import Router
from vrxmpp.net.archive import Archive, ArchiveSettings
from vrxmpp.net.checkpoints import Checkpoints, CheckpointSettings
from vrxmpp.store.sealer import StorageSealer, seal_waiting

SHEET = "recovery-sheet.txt"
_log = Logger("vrxmpp")


def make_archive(config: Config) -> None:
    """Make the keys and the log at the first start, and hand out the recovery sheet. Raises RootKeyError, OSError."""
    sheet = initialise(config.state, config.audit.root_key, _origin(config))
    if sheet is None:
        return
    if sys.__stderr__ is not None and sys.__stderr__.isatty():
        print(sheet.text, file=sys.__stderr__)
        return
    # What is no terminal may be a log, where a secret must not be.
    path = config.state / "keys" / SHEET
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(sheet.text)


def _origin(config: Config) -> str:
    return f"{config.hosts[0].domain}/audit"


class Archiving:
    """The archive of a server, and all that belongs to it."""

    def __init__(self, config: Config, router: Router, reactor: Any) -> None:
        self.sealer = StorageSealer()
        self._is_started = False
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
        router.audit = self.archive
        router.answered = self.checkpoints.answered

    async def start(self) -> None:
        """Open the archive; nobody may say anything before. Raises ArchiveError, StorageError."""
        self.sealer.unlock(await self.archive.start())
        sealed = await deferToThread(seal_waiting, self._database_url, self.sealer)
        if sealed:
            _log.info("{count} messages that wait are sealed now", count=sealed)
        self.checkpoints.start()
        self._is_started = True
        sheet = self._state / "keys" / SHEET
        if sheet.exists():
            _log.warn("print {path}, put it into a safe, and delete it: it opens the whole archive", path=str(sheet))

    async def stop(self) -> None:
        """Write what waits, and close the archive."""
        if self._is_started:
            await self.checkpoints.stop()
        await self.archive.stop()

    def status(self) -> Mapping[str, object]:
        """Return how the archive does, and how safe it is."""
        return {"archive": self.archive.status(), "checkpoints": self.checkpoints.status()}
