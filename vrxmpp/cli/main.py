"""The ``vrxmpp`` command: its parts, and how failures end it."""

from __future__ import annotations

import errno
from typing import Any

import click

from vrxmpp import __version__
from vrxmpp.admin import AdminError
from vrxmpp.audit.desk import DeskError
from vrxmpp.audit.erasure import ErasureError
from vrxmpp.audit.export import ExportError
from vrxmpp.audit.office import AccessError
from vrxmpp.audit.records import RecordsError
from vrxmpp.audit.root import RootKeyError
from vrxmpp.audit.seal import SealError
from vrxmpp.cli.audit import audit
from vrxmpp.cli.check import check
from vrxmpp.cli.configuration import configuration
from vrxmpp.cli.output import printable
from vrxmpp.cli.s2s import s2s
from vrxmpp.cli.sessions import sessions, status
from vrxmpp.cli.settings import config_option, json_option
from vrxmpp.cli.users import users
from vrxmpp.config import ConfigError
from vrxmpp.store.interfaces import StorageError
from vrxmpp_verify import UnreadableError

FAILED, NOT_RUNNING, MISCONFIGURED = 1, 3, 4
"""Exit codes, besides 0 for success and 2 for a command that cannot be understood."""

_ARCHIVE_ERRORS = (
    AccessError,
    DeskError,
    ErasureError,
    ExportError,
    RecordsError,
    RootKeyError,
    SealError,
    UnreadableError,
)
"""Each is one line for people."""


class _Guarded(click.Group):
    """Turns every exception into a line and an exit code, never into a traceback."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # whoever read our output has seen enough; click ends quietly
            message, exit_code = _explain(error)
            click.echo(message, err=True)
            context.exit(exit_code)


def _explain(error: Exception) -> tuple[str, int]:
    match error:
        case ConfigError():
            return str(error), MISCONFIGURED
        case AdminError(code="not-running"):
            return f"vrxmpp: {error}", NOT_RUNNING
        case AdminError() | StorageError():
            return f"vrxmpp: {error}", FAILED
        case OSError(filename=str() | None as path, strerror=str(reason)):
            return f"vrxmpp: {path}: {reason}" if path else f"vrxmpp: {reason}", FAILED
    if isinstance(error, _ARCHIVE_ERRORS):
        return f"vrxmpp: {printable(str(error))}", FAILED
    return f"vrxmpp: internal error: {type(error).__name__}: {error}", FAILED


@click.group(cls=_Guarded, context_settings={"help_option_names": ["--help", "-h"]})
@click.version_option(__version__, "--version", message="vrxmpp %(version)s")
@json_option
@config_option
def cli() -> None:
    """Administer the XMPP server, while it runs or while it does not.

    Exit codes: 0 done, 1 failed, 2 command not understood, 3 server not running, 4 configuration wrong, 5 another
    server not reached, 6 the archive is amber (audit status).
    """


for part in (users, sessions, s2s, audit, configuration, check, status):
    cli.add_command(part)
