"""``vrxmpp config``: is the configuration right, what does it come to, what could it say."""

from __future__ import annotations

from dataclasses import asdict

import click

from vrxmpp.cli.output import print_json
from vrxmpp.cli.settings import Settings, config_option, json_option, pass_settings
from vrxmpp.config import ConfigError, load
from vrxmpp.config.reference import as_toml, in_force, reference


@click.group("config")
@config_option
def configuration() -> None:
    """Check and show the configuration."""


@configuration.command("check")
@json_option
@config_option
@pass_settings
def check(settings: Settings) -> None:
    """Tell all that is wrong with the configuration, its certificates and keys."""
    try:
        load(settings.config_path, files=True)
    except ConfigError as error:
        if settings.json:
            print_json([asdict(problem) | {"file": str(problem.file)} for problem in error.problems])
        raise
    if settings.json:
        print_json([])
    else:
        click.echo(f"{settings.config_path}: nothing is wrong")


@configuration.command("show")
@json_option
@config_option
@pass_settings
def show(settings: Settings) -> None:
    """Print what is in force: the file and, for what it does not say, the defaults."""
    values = in_force(settings.config)
    if settings.json:
        print_json(values)
    else:
        click.echo(as_toml(values), nl=False)


@configuration.command("reference", hidden=True)
def print_reference() -> None:
    """Print docs/configuration.md."""
    click.echo(reference(), nl=False)
