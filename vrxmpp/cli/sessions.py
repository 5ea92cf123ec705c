"""``vrxmpp session`` and ``vrxmpp status``: what only a running server can tell."""

from __future__ import annotations

import click

from vrxmpp.cli.output import local_time, print_json, print_table
from vrxmpp.cli.settings import Settings, config_option, json_option, pass_settings


@click.group("session")
@config_option
def sessions() -> None:
    """Look at the clients that are connected, and end their sessions."""


@sessions.command("list")
@json_option
@config_option
@pass_settings
def list_sessions(settings: Settings) -> None:
    """List the clients that are logged in."""
    with settings.server() as ask:
        found = ask({"command": "session list"})
    if settings.json:
        print_json(found)
        return
    print_table(
        ("Session", "Address", "Security", "Since", "Priority"),
        [
            (
                session["jid"],
                session["address"],
                session["security"] or "none",
                local_time(session["since"]),
                "not available" if session["priority"] is None else str(session["priority"]),
            )
            for session in found
        ],
    )


@sessions.command("kick")
@click.argument("jid")
@config_option
@pass_settings
def kick(settings: Settings, jid: str) -> None:
    """End the session JID (user@domain/resource), or all sessions of user@domain."""
    with settings.server() as ask:
        ended = ask({"command": "session kick", "jid": jid})
    click.echo(f"{ended} ended")


@click.command("status")
@json_option
@config_option
@pass_settings
def status(settings: Settings) -> None:
    """Tell how the server is."""
    with settings.server() as ask:
        found = ask({"command": "status"})
    if settings.json:
        print_json(found)
        return
    print_table(
        (),
        [
            ("Version", found["version"]),
            ("Process", str(found["process"])),
            ("Running since", local_time(found["started"])),
            ("Listening on", " ".join(found["listeners"])),
            ("Connections", str(found["connections"])),
            *((f"Sessions of {domain}", str(number)) for domain, number in found["sessions"].items()),
        ],
    )
