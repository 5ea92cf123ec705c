"""What all commands share: which configuration, whom to ask, for whom to answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import click

from vrxmpp.admin import CONTROL_SOCKET
from vrxmpp.cli.client import Ask, NotRunning, connect
from vrxmpp.config import Config, find, load


class Settings:
    """The options that may stand anywhere on the command line, and what follows from them."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.json = False

    @property
    def config_path(self) -> Path:
        """The file to read. Raises ConfigError where there is none."""
        return self.path or find()

    @cached_property
    def config(self) -> Config:
        return load(self.config_path)

    @contextmanager
    def server(self) -> Iterator[Ask]:
        """Yield what puts requests to the running server. Raises NotRunning."""
        with connect(self.config.state / CONTROL_SOCKET) as ask:
            yield ask

    @contextmanager
    def accounts(self) -> Iterator[Ask]:
        """Yield what puts requests to the running server or, where none runs, to its database."""
        try:
            server = connect(self.config.state / CONTROL_SOCKET)
        except NotRunning:
            # Imported only here: it takes as long as all else together.
            from vrxmpp.cli.offline import open_database  # noqa: PLC0415

            server = open_database(self.config)
        with server as ask:
            yield ask


def _remember_path(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    settings = context.ensure_object(Settings)
    settings.path = value or settings.path


def _remember_json(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    settings = context.ensure_object(Settings)
    settings.json = value or settings.json


pass_settings = click.make_pass_decorator(Settings, ensure=True)

config_option = click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path),
    metavar="FILE",
    expose_value=False,
    callback=_remember_path,
    help="The configuration; by default vrxmpp.toml, else /etc/vrxmpp/vrxmpp.toml.",
)

json_option = click.option(
    "--json", is_flag=True, expose_value=False, callback=_remember_json, help="Answer in JSON, for programs."
)
