"""The command line of ``twistd vrxmpp``."""

from __future__ import annotations

from pathlib import Path

from twisted.application.service import Service
from twisted.python import usage

from vrxmpp.config import ConfigError, find
from vrxmpp.service import EXIT_CONFIGURATION, Server, give_up, prepare


class Options(usage.Options):
    """What may stand behind ``twistd vrxmpp``."""

    optParameters = [["config", "c", None, "The configuration file."]]


def makeService(options: Options) -> Service:
    """Make the server, or end the process with a line that says why not."""
    from twisted.internet import reactor  # noqa: PLC0415 - twistd has chosen it by now

    try:
        path = Path(options["config"]) if options["config"] else find()
    except ConfigError as error:
        give_up(str(error), EXIT_CONFIGURATION)
    path = path.absolute()
    return Server(prepare(path), path, reactor)
