"""The load generator: many XMPP clients in one process, their traffic checked and timed. Prints one line of JSON."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable
from typing import Any

import click

from bench import modes
from bench.transport import Target

MECHANISMS = ("SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN")


def count(name: str, default: int, most: int, help: str) -> Callable[[Any], Any]:
    """Make an option for a whole number from 1 to `most`."""
    return click.option(name, type=click.IntRange(1, most), default=default, show_default=True, help=help)


def duration(name: str, default: float, help: str) -> Callable[[Any], Any]:
    """Make an option for a time of up to ten minutes."""
    return click.option(name, type=click.FloatRange(0, 600), default=default, show_default=True, help=help)


@click.group(context_settings={"show_default": True})
@click.option("--host", default="127.0.0.1", help="Address of the server; only loopback is accepted.")
@click.option("--port", "ports", type=click.IntRange(1, 65_535), multiple=True, required=True, help="Of each server.")
@click.option("--domain", "domains", multiple=True, default=["one.example"], help="Of each server.")
@click.option("--password", default="secret", help="Of every account; the accounts are u0, u1 and so on.")
@click.option("--tls", type=click.Choice(["starttls", "direct", "none"]), default="starttls")
@click.option("--sasl", type=click.Choice(MECHANISMS), default=MECHANISMS[0])
@click.option("--pid", "pids", type=click.IntRange(1), multiple=True, required=True, help="Whose cost is measured.")
@duration("--limit", 300, "Give up after so many seconds in all.")
@click.pass_context
def main(
    context: click.Context,
    *,
    host: str,
    ports: tuple[int, ...],
    domains: tuple[str, ...],
    password: str,
    tls: str,
    sasl: str,
    pids: tuple[int, ...],
    limit: float,
) -> None:
    """Put load on one XMPP server, or on several: then their users take turns, and pairs live on two of them.

    Exit status 0: nothing lost, duplicated, reordered, changed or refused.
    """
    if len(domains) != len(ports):
        raise click.BadParameter("as many as there are ports", param_hint="--domain")
    try:
        targets = [Target(host, *each, tls, sasl, password) for each in zip(ports, domains, strict=True)]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--host") from None
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    context.obj = modes.Run(targets, pids, limit)


def report(run: modes.Run, mode: str, play: Callable[[], dict[str, float]]) -> None:
    """Play one mode, print its result and leave with its exit status."""
    try:
        figures = play()
        problem = ", ".join(sorted(set(run.loop.failures)))
    except modes.GivenUpError as reason:
        figures, problem = {}, str(reason)
    ok = not problem and run.tally.clean
    result = {
        "mode": mode,
        "tls": run.targets[0].tls,
        "sasl": run.targets[0].mechanism,
        "ok": ok,
        "problem": problem,
        **{name: getattr(run.tally, name) for name in ("sent", "delivered", "lost", "duplicated", "reordered")},
        **{name: getattr(run.tally, name) for name in ("foreign", "refused")},
        **figures,
    }
    click.echo(json.dumps(result))
    sys.stdout.flush()
    os._exit(0 if ok else 1)  # thousands of sockets need not be taken down one by one


@main.command()
@count("--pairs", 50, 5000, "Pairs of users, one writing to the other.")
@count("--window", 2, 1000, "Messages of a pair under way at a time.")
@duration("--seconds", 6, "How long to measure.")
@duration("--warm-up", 1.5, "How long to run before.")
@click.pass_obj
def chat(run: modes.Run, pairs: int, window: int, seconds: float, warm_up: float) -> None:
    """Closed loop: the next message of a pair leaves when one has arrived."""
    report(run, "chat", lambda: modes.chat(run, pairs, window, seconds, warm_up))


@main.command()
@count("--pairs", 50, 5000, "Pairs of users, one writing to the other.")
@count("--rate", 1000, 100_000, "Messages a second, at random moments.")
@duration("--seconds", 6, "How long to measure.")
@duration("--warm-up", 1.5, "How long to run before.")
@click.pass_obj
def rate(run: modes.Run, pairs: int, rate: int, seconds: float, warm_up: float) -> None:
    """Open loop: messages leave when they are due, whatever the server does; latency counts from then."""
    report(run, "rate", lambda: modes.rate(run, pairs, rate, seconds, warm_up))


@main.command()
@count("--number", 600, 100_000, "Log-ins.")
@count("--at-once", 32, 5000, "Log-ins under way at a time.")
@count("--users", 50, 10_000, "Users taking turns.")
@click.pass_obj
def login(run: modes.Run, number: int, at_once: int, users: int) -> None:
    """Log-ins, from connecting to a bound resource."""
    report(run, "login", lambda: modes.login(run, number, at_once, users))


@main.command()
@count("--contacts", 200, 5000, "Contacts who see the user's presence.")
@count("--flips", 150, 10_000, "Changes of presence.")
@count("--window", 2, 100, "Changes under way at a time.")
@click.pass_obj
def presence(run: modes.Run, contacts: int, flips: int, window: int) -> None:
    """Fan-out: one user's presence changes, all contacts see it."""
    report(run, "presence", lambda: modes.presence(run, contacts, flips, window))


@main.command()
@count("--number", 1000, 10_000, "Sessions.")
@duration("--hold", 8, "How long to hold them before memory is read.")
@click.pass_obj
def idle(run: modes.Run, number: int, hold: float) -> None:
    """Sessions held without traffic, for their memory."""
    report(run, "idle", lambda: modes.idle(run, number, hold))


if __name__ == "__main__":
    main()
