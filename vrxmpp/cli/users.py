"""``vrxmpp user``: accounts, on a running server or beside a stopped one."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import BinaryIO

import click

from vrxmpp.admin import AdminError, Json, Keys, keys_to_json
from vrxmpp.cli.client import Ask
from vrxmpp.cli.output import local_time, print_json, print_table
from vrxmpp.cli.settings import Settings, config_option, json_option, pass_settings
from vrxmpp.config import Config
from vrxmpp.jid import Jid
from vrxmpp.negotiation.scram import derive_keys

_BATCH = 200  # accounts imported in one transaction; as a request they stay far below admin.REQUEST_BYTES


@click.group("user")
@config_option
def users() -> None:
    """Add, change, look at and remove accounts."""


password_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of standard input."
)


@users.command("add")
@click.argument("jid")
@password_option
@config_option
@pass_settings
def add(settings: Settings, jid: str, password_stdin: bool) -> None:
    """Make the account JID."""
    with settings.accounts() as ask:
        if ask({"command": "user exists", "jid": jid}):  # say so before asking for a password
            raise AdminError("exists", f"{jid} exists already")
        ask({"command": "user add", "jid": jid, "keys": _ask_for_keys(settings, password_stdin)})
    click.echo(f"{jid} added")


@users.command("password")
@click.argument("jid")
@password_option
@config_option
@pass_settings
def password(settings: Settings, jid: str, password_stdin: bool) -> None:
    """Change the password of JID, and end its sessions."""
    with settings.accounts() as ask:
        if not ask({"command": "user exists", "jid": jid}):  # the same here
            raise AdminError("not-found", f"{jid} does not exist")
        ask({"command": "user password", "jid": jid, "keys": _ask_for_keys(settings, password_stdin)})
    click.echo(f"{jid} has a new password")


@users.command("remove")
@click.argument("jid")
@config_option
@pass_settings
def remove(settings: Settings, jid: str) -> None:
    """Remove the account JID with all that is stored for it."""
    with settings.accounts() as ask:
        ask({"command": "user remove", "jid": jid})
    click.echo(f"{jid} removed")


@users.command("disable")
@click.argument("jid")
@config_option
@pass_settings
def disable(settings: Settings, jid: str) -> None:
    """Let JID log in no more, and end its sessions; what is stored for it stays."""
    with settings.accounts() as ask:
        ask({"command": "user disable", "jid": jid})
    click.echo(f"{jid} disabled")


@users.command("enable")
@click.argument("jid")
@config_option
@pass_settings
def enable(settings: Settings, jid: str) -> None:
    """Let JID log in again."""
    with settings.accounts() as ask:
        ask({"command": "user enable", "jid": jid})
    click.echo(f"{jid} enabled")


@users.command("list")
@click.argument("domain", required=False)
@json_option
@config_option
@pass_settings
def list_users(settings: Settings, domain: str | None) -> None:
    """List the accounts of DOMAIN, or all."""
    with settings.accounts() as ask:
        found = ask({"command": "user list", "domain": domain})
    if settings.json:
        print_json(found)
        return
    print_table(
        ("Account", "State", "Sessions", "Waiting messages", "Contacts", "Last seen"),
        [
            (
                user["jid"],
                _state(user),
                str(user["sessions"]),
                str(user["offline_messages"]),
                str(user["contacts"]),
                local_time(user["last_activity"]),
            )
            for user in found
        ],
    )


@users.command("show")
@click.argument("jid")
@json_option
@config_option
@pass_settings
def show(settings: Settings, jid: str) -> None:
    """Show what is known of the account JID."""
    with settings.accounts() as ask:
        user = ask({"command": "user show", "jid": jid})
    if settings.json:
        print_json(user)
        return
    print_table(
        (),
        [
            ("Account", user["jid"]),
            ("State", _state(user)),
            ("Made", local_time(user["created"])),
            ("Sessions", str(user["sessions"])),
            ("Waiting messages", str(user["offline_messages"])),
            ("Contacts", str(user["contacts"])),
            ("Last seen", local_time(user["last_activity"])),
            ("Last status", user["last_status"]),
        ],
    )


@users.command("import")
@click.argument("file", type=click.File("rb"))
@json_option
@config_option
@pass_settings
def import_users(settings: Settings, file: BinaryIO) -> None:
    """Make an account of each line "jid,password" in FILE, or in standard input for "-".

    Lines that cannot be imported are reported, and the exit code is 1; the others are imported.
    """
    users, refused = _read_lines(file)
    added = 0
    with settings.accounts() as ask, ThreadPoolExecutor(os.cpu_count()) as threads:
        for batch in _batches(users):
            # The keys are derived here, not by the server, which has its users to serve.
            keys = threads.map(lambda user: _derive(user.password, settings.config), batch)
            failed = _import(ask, batch, list(keys))
            added += len(batch) - len(failed)
            refused += failed
    refused.sort(key=lambda each: each.line)
    if settings.json:
        print_json({"added": added, "refused": [asdict(each) for each in refused]})
    else:
        click.echo(f"{added} added, {len(refused)} refused")
        for each in refused:
            click.echo(f"line {each.line}: {each.reason}", err=True)
    if refused:
        raise SystemExit(1)


@dataclass(frozen=True)
class NewUser:
    """A line that can be understood."""

    line: int
    jid: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Refused:
    """A line that was not imported."""

    line: int
    jid: str
    reason: str


def _read_lines(file: BinaryIO) -> tuple[list[NewUser], list[Refused]]:
    users: dict[str, NewUser] = {}
    refused = []
    for number, line in enumerate(file, 1):
        jid = ""
        if not line.strip():
            continue
        try:
            jid, password = _parse_line(line)
            if jid in users:
                raise ValueError(f"{jid} is in line {users[jid].line} already")
        except ValueError as error:
            refused.append(Refused(number, jid, str(error)))
        else:
            users[jid] = NewUser(number, jid, password)
    return list(users.values()), refused


def _parse_line(line: bytes) -> tuple[str, str]:
    """Return address and password of a line of CSV. Raise ValueError, which never quotes the password."""
    try:
        [[jid, password]] = csv.reader([line.decode("utf-8-sig")], strict=True)
    except (csv.Error, ValueError):
        raise ValueError('must be "jid,password" in UTF-8') from None
    return Jid.parse(jid.strip()).text, password


def _batches(users: list[NewUser]) -> Iterator[list[NewUser]]:
    for start in range(0, len(users), _BATCH):
        yield users[start : start + _BATCH]


def _import(ask: Ask, batch: list[NewUser], keys: list[Json | ValueError]) -> list[Refused]:
    """Import those that have keys; return those that were not imported."""
    ready = {user.jid: key for user, key in zip(batch, keys, strict=True) if not isinstance(key, ValueError)}
    reasons = {user.jid: str(key) for user, key in zip(batch, keys, strict=True) if isinstance(key, ValueError)}
    answer = ask({"command": "user import", "users": ready})
    reasons |= {each["jid"]: each["reason"] for each in answer["refused"]}
    return [Refused(user.line, user.jid, reasons[user.jid]) for user in batch if user.jid in reasons]


def _derive(password: str, config: Config) -> Json | ValueError:
    try:
        return keys_to_json(Keys(*derive_keys(password, config.authentication.scram_iterations)))
    except ValueError as error:
        return error


def _ask_for_keys(settings: Settings, from_stdin: bool) -> Json:
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt="The same again")
    keys = _derive(password, settings.config)
    if isinstance(keys, ValueError):
        raise AdminError("invalid-password", str(keys))
    return keys


def _state(user: Json) -> str:
    return "enabled" if user["enabled"] else "disabled"
