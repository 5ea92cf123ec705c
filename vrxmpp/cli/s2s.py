"""``vrxmpp s2s``: the streams to and from other servers: what there is, whether one can be reached, an end."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from vrxmpp.admin import Json
from vrxmpp.cli.output import local_time, print_json, print_table
from vrxmpp.cli.settings import Settings, config_option, json_option, pass_settings

UNREACHABLE = 5
"""Exit code where another server cannot be reached."""

_SIDES = {
    "here": "The cause is here, at {local}.",
    "there": "The cause is there, at {remote}.",
    "between": "The cause is probably on the network between {local} and {remote}.",
}
_AGES = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


@click.group("s2s")
@config_option
def s2s() -> None:
    """Look at the streams to and from other servers, try to reach one, and end them."""


@s2s.command("status")
@click.argument("domain", default="")
@json_option
@config_option
@pass_settings
def status(settings: Settings, domain: str) -> None:
    """Show all streams, or those with DOMAIN, what waits for other servers, and the last attempts that failed."""
    with settings.server() as ask:
        found = ask({"command": "s2s status", "jid": domain})
    if settings.json:
        print_json(found)
        return
    rows = [_stream_row(stream) for stream in found["streams"]]
    rows += [_way_row(way) for way in found["ways"] if way["state"] != "using a stream"]
    if rows:
        print_table(("Way", "Here", "There", "State", "Address", "Age", "Acks", "Waiting"), rows)
    else:
        click.echo(f"There is no stream to or from {domain or 'another server'}, and nothing waits for one.", err=True)
    if found["failures"]:
        click.echo("\nLast failed attempts:")
        print_table(("Last", "Times", "Way", "Here", "There", "Reason"), _failure_rows(found["failures"]))


def _stream_row(stream: Json) -> tuple[str, ...]:
    unacknowledged = f", {stream['unacknowledged']} to come" if stream["unacknowledged"] else ""
    return (
        stream["direction"],
        " ".join(stream["local"]),
        " ".join(stream["remote"]),
        ", ".join(filter(None, (stream["state"], stream["authentication"], stream["tls"]))),
        stream["address"],
        _age(stream["since"]),
        f"on{unacknowledged}" if stream["acknowledgements"] else "off",
        _waiting(stream),
    )


def _way_row(way: Json) -> tuple[str, ...]:
    state = way["state"] if way["seconds"] is None else f"{way['state']}, {way['seconds']} s"
    return "out", way["local"], way["remote"], state, "", "", "", _waiting(way)


def _failure_rows(failures: Json) -> list[tuple[str, ...]]:
    """Return a row for each kind of failure, the last to happen at the end."""
    last: dict[tuple[str, ...], tuple[int, str]] = {}
    for failure in failures:
        direction = "in" if failure["incoming"] else "out"
        kind = direction, failure["local"], failure["remote"], failure["reason"]
        times, _ = last.pop(kind, (0, ""))
        last[kind] = times + 1, failure["at"]
    return [(local_time(at), str(times), *kind) for kind, (times, at) in last.items()]


def _waiting(queue: Json) -> str:
    return f"{queue['stanzas']} ({queue['bytes']} bytes)" if queue["stanzas"] else "0"


def _age(since: str) -> str:
    seconds = max(0, int((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()))
    unit, length = next((each for each in _AGES if seconds >= each[1]), _AGES[-1])
    return f"{seconds // length} {unit}"


@s2s.command("test")
@click.argument("domain")
@click.option("--from", "local", metavar="LOCAL", help="The domain here that asks; by default the first.")
@json_option
@config_option
@pass_settings
def test(settings: Settings, domain: str, local: str | None) -> None:
    """Try to reach DOMAIN, and tell how each step went and what is wrong.

    The running server opens a stream of its own for this, which takes half a minute at most (connect_seconds in
    [limits.s2s]). The exit code is 5 if DOMAIN cannot be reached.
    """
    with settings.server() as ask:
        trial = ask({"command": "s2s test", "jid": domain, "from": local})
    if settings.json:
        print_json(trial)
    else:
        _tell(trial)
    if not trial["reached"]:
        raise SystemExit(UNREACHABLE)


def _tell(trial: Json) -> None:
    print_table((), [(step["name"], "ok" if step["succeeded"] else "failed", step["text"]) for step in trial["steps"]])
    if trial["reached"]:
        click.echo(f"{trial['remote']} can be reached from {trial['local']}.")
    else:
        click.echo(f"{trial['remote']} cannot be reached from {trial['local']}.")
        click.echo(_SIDES[trial["side"]].format_map(trial))
        click.echo(trial["advice"])


@s2s.command("close")
@click.argument("domain")
@config_option
@pass_settings
def close(settings: Settings, domain: str) -> None:
    """End all streams to and from DOMAIN, in order; the next stanza opens another."""
    with settings.server() as ask:
        closed = ask({"command": "s2s close", "jid": domain})
    click.echo(f"{closed} ended")
