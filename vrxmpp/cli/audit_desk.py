"""What the parts of ``vrxmpp audit`` share: who is asking and what for, and the way to the desk of the archive."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import wraps
from pathlib import Path
from typing import Any

import click

from vrxmpp.audit.desk import DeskError
from vrxmpp.audit.identity import SECRET_PREFIX
from vrxmpp.audit.office import Ask, Visit, is_there, open_desk
from vrxmpp.audit.reader import bare_address, name_of_pair
from vrxmpp.cli.output import print_json, printable
from vrxmpp.cli.owner import become_owner
from vrxmpp.cli.settings import Settings

OFFICER, IDENTITY = "VRXMPP_AUDIT_OFFICER", "VRXMPP_AUDIT_IDENTITY"
"""Environment variables: an officer's name, and the file of their identity."""

Command = Callable[..., None]


def _read_identity(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Return the line with the identity; all of the file where there is none, which is for others to say."""
    if value is None:
        return None
    try:
        text = sys.stdin.read() if value == "-" else Path(value).read_text()
    except OSError as error:
        raise click.BadParameter(f"{value}: {error.strerror}") from None
    except ValueError:
        raise click.BadParameter(f"{value}: this is no text") from None
    if not text.strip():
        raise click.BadParameter(f"{value}: there is nothing in it")
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line.lower().startswith(SECRET_PREFIX)), text)


def read_day(context: click.Context, parameter: click.Parameter, value: str | None) -> date | None:
    """Read the value of an option: a day, UTC."""
    try:
        return None if value is None else date.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no day like 2026-11-24") from None


def read_address(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Read the value of an option: the address of a person or a room, as the server prepares it."""
    try:
        return None if value is None else bare_address(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def read_conversation(context: click.Context, parameter: click.Parameter, value: tuple[str, str] | None) -> str | None:
    """Read the value of an option: two addresses; return the name of the conversation between them."""
    people = [read_address(context, parameter, each) or "" for each in value or ()]
    return name_of_pair(*people) if people else None


@dataclass(frozen=True)
class Who:
    """An officer, as they present themselves."""

    name: str
    identity: str = field(repr=False)
    purpose: str
    case: str


conversation_option = click.option(
    "--conversation", nargs=2, metavar="JID JID", callback=read_conversation, help="That between these two."
)
officer_option = click.option("--officer", metavar="NAME", envvar=OFFICER, help=f"Your name; by default ${OFFICER}.")
identity_option = click.option(
    "--identity",
    metavar="FILE",
    callback=_read_identity,
    envvar=IDENTITY,
    help=f'The file with your identity, "-" for standard input; by default that named by ${IDENTITY}.',
)
purpose_option = click.option("--purpose", metavar="TEXT", default="", help="What for. It goes on record.")
case_option = click.option("--case", metavar="TEXT", default="", help="The case it is for. It goes on record.")


def by_officer(purpose: str = "purpose") -> Callable[[Command], Command]:
    """Give a command the options by which an officer presents themselves; it gets them as ``who``."""

    def decorate(command: Command) -> Command:
        @wraps(command)
        def with_who(*args: Any, **values: Any) -> None:
            given = {name: values.pop(name) or "" for name in ("officer", "identity", purpose, "case")}
            for name, value in given.items():
                if not value.strip():
                    raise click.UsageError(f"Missing option '--{name}'.")
            command(*args, who=Who(*given.values()), **values)

        why = click.option(f"--{purpose}", metavar="TEXT", help="What for, or on what ground. It goes on record.")
        for option in (case_option, why, identity_option, officer_option):
            with_who = option(with_who)
        return with_who

    return decorate


def both(officer: str | None, identity: str | None) -> tuple[str, str] | None:
    """Return who asks, if somebody does: an officer's name goes with an identity. Raises UsageError."""
    if bool(officer) != bool(identity):
        raise click.UsageError("Say both --officer and --identity, or none of them.")
    return (officer, identity) if officer and identity else None


def by_operator(command: Command) -> Command:
    """Give a command the options that say why an operator does it; it gets ``why``: by, purpose and case."""

    @wraps(command)
    def with_why(*args: Any, purpose: str, case: str, **rest: Any) -> None:
        command(*args, why={"by": operator(), "purpose": purpose, "case": case}, **rest)

    for option in (case_option, purpose_option):
        with_why = option(with_why)
    return with_why


def operator() -> str:
    """Return who gives this command, as far as the system knows."""
    try:
        own = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        own = str(os.getuid())
    behind = os.environ.get("SUDO_USER")
    return f"{own} (for {behind})" if behind and own == "root" else own


@contextmanager
def desk(settings: Settings) -> Iterator[Ask]:
    """Yield the way to the desk, as the owner of the state directory. Raises DeskError, OSError."""
    state = settings.config.state
    if state.exists():
        become_owner(state)
    if not is_there(state):
        raise DeskError(f"there is no archive in {state} (vrxmpp audit init makes one)")
    with open_desk(state, settings.config.audit.root_key) as ask:
        yield ask


@contextmanager
def visit(settings: Settings, who: Who) -> Iterator[Visit]:
    """Let an officer in. Raises AccessError, DeskError, OSError."""
    with desk(settings) as ask:
        yield Visit.begin(settings.config.state, ask, who.name, who.identity, purpose=who.purpose, case=who.case)


def tell(settings: Settings, text: str, **facts: Any) -> None:
    """Tell what was done: people in words, programs in facts."""
    if settings.json:
        print_json(facts)
    else:
        click.echo(printable(text))
