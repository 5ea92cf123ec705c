"""``vrxmpp audit search``, ``show`` and ``export``: reading the archive, each time on record (docs/audit.md)."""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime, time, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import click

from vrxmpp.admin import Json
from vrxmpp.audit.export import Exported
from vrxmpp.audit.export import export as make_export
from vrxmpp.audit.found import Found
from vrxmpp.audit.leaf import Type
from vrxmpp.audit.reader import END, Query, Search
from vrxmpp.audit.summary import summarise
from vrxmpp.cli.audit_desk import Command, Who, by_officer, visit
from vrxmpp.cli.output import Echo, Place, as_json, counted, print_json, print_table, printable, progress, utc_time
from vrxmpp.cli.settings import Settings, config_option, json_option, pass_settings

_TYPES = [type.name.lower() for type in Type]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _read_moment(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Read a day or a time (ISO 8601), UTC unless it says otherwise; return microseconds since 1970."""
    if value is None:
        return None
    whole_day = timedelta(days=1) if parameter.name == "until" else timedelta()
    try:
        moment, rest = datetime.combine(date.fromisoformat(value), time(), UTC), whole_day
    except ValueError:
        try:
            moment, rest = datetime.fromisoformat(value), timedelta()
        except ValueError:
            likes = "like 2026-11-24, 2026-11-24T10:30 (UTC) or 2026-11-24T10:30+01:00"
            raise click.BadParameter(f"{value!r} is no day or time {likes}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH + rest) // timedelta(microseconds=1)


def selecting(command: Command) -> Command:
    """Give a command the options that choose records; it gets them as ``query``."""

    @wraps(command)
    def with_query(
        *args: Any,
        since: int | None,
        until: int | None,
        addresses: tuple[str, ...],
        types: tuple[str, ...],
        words: tuple[str, ...],
        **rest: Any,
    ) -> None:
        kinds = frozenset(Type[name.upper()] for name in types)
        try:
            query = Query(since or 0, END if until is None else until, addresses, words, kinds)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        command(*args, query=query, **rest)

    for option in (
        click.argument("words", nargs=-1, metavar="[WORD]..."),
        click.option("--type", "types", multiple=True, type=click.Choice(_TYPES), help="Only records of this type."),
        click.option(
            "--address",
            "addresses",
            multiple=True,
            metavar="JID",
            help="Only what this one, or a domain, is a side of.",
        ),
        click.option(
            "--until", callback=_read_moment, metavar="TIME", help="Before this time, or up to and with this day (UTC)."
        ),
        click.option("--since", callback=_read_moment, metavar="TIME", help="From this time or day on (UTC)."),
    ):
        with_query = option(with_query)
    return with_query


@click.command("search")
@selecting
@by_officer()
@json_option
@config_option
@pass_settings
def search(settings: Settings, who: Who, query: Query) -> None:
    """Find what has each WORD in it, in the time and with the addresses that the options say.

    That you search, and for what, is recorded first. What is found is printed as it is found: for people on a terminal,
    else a line each, with --json an object of JSON on each line. All times are UTC; a TIME is one like 2026-11-24,
    2026-11-24T10:30 or, of another zone, 2026-11-24T10:30+01:00.
    """
    with visit(settings, who) as office:
        found = office.search(query)
        print_found = _print_json_line if settings.json else _print_lines if sys.stdout.isatty() else _print_tabs
        number = 0
        with progress("Searching", lambda: (found.place - found.first, found.end - found.first)) as echo:
            for number, each in enumerate(found, 1):  # noqa: B007
                print_found(each, echo)
        _conclude(found, number)


def _print_lines(found: Found, echo: Echo) -> None:
    echo(printable(f"{found.index}  {utc_time(found.time)}  {found.kind}  {_sides(found)}"), bold=True)
    for line in _text(found).splitlines():
        echo(f"    {printable(line)}")


def _print_tabs(found: Found, echo: Echo) -> None:
    sides = (found.sender, found.recipient) if found.sender or found.recipient else (found.conversation, "")
    cells = (str(found.index), found.at, found.kind, *sides, " ".join(_text(found).splitlines()))
    echo("\t".join(map(printable, cells)))


def _print_json_line(found: Found, echo: Echo) -> None:
    echo(as_json(_as_json(found)))


def _sides(found: Found) -> str:
    return f"{found.sender} to {found.recipient}" if found.sender or found.recipient else found.conversation


def _text(found: Found) -> str:
    """Return what is said: the text, after what became of it, or, where there is no stanza, what happened."""
    if found.problem or found.stanza:
        return f"({found.outcome}) {found.text}".strip() if found.outcome else found.text
    return summarise(found.type, found.facts)


def _plain(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _as_json(found: Found) -> Json:
    return {
        "index": found.index,
        "time": found.at,
        "type": found.kind,
        "class": found.class_name,
        "conversation": found.conversation,
        "from": found.sender,
        "to": found.recipient,
        "text": found.text,
        "problem": found.problem,
        "facts": found.facts,
    }


def _conclude(found: Search, number: int) -> None:
    """Say how much was found, and what stayed closed, beside what was asked for."""
    click.echo(f"{number} found in {counted(found.scanned, 'record')}", err=True)
    if found.unread:
        click.echo(f"not readable: {counted(found.unread, 'record')}, erased or not sealed to you", err=True)
    for _, _, why in found.unopened:
        click.echo(printable(f"not searched: {why}"), err=True)


@click.command("show")
@click.argument("indices", nargs=-1, required=True, type=click.IntRange(0), metavar="INDEX...")
@by_officer()
@json_option
@config_option
@pass_settings
def show(settings: Settings, who: Who, indices: tuple[int, ...]) -> None:
    """Show all there is of the records with these numbers. That you look at each is recorded first."""
    with visit(settings, who) as office:
        shown = [office.show(index) for index in indices]
    if settings.json:
        print_json([_as_json(each) | {"stanza": each.stanza.decode(errors="replace")} for each in shown])
        return
    for each in shown:
        _print_whole(each)


def _print_whole(found: Found) -> None:
    rows = [
        ("Record", str(found.index)),
        ("Time", found.at),
        ("Type", found.kind),
        ("Class", found.class_name or "public"),
        ("Conversation", found.conversation or "not known"),
        ("From", found.sender),
        ("To", found.recipient),
        *((name, _plain(value)) for name, value in found.facts.items()),
        *(("Text", line) for line in found.text.splitlines()),
        ("Stanza", found.stanza.decode(errors="replace").replace("\n", " ")),
    ]
    print_table((), [row for row in rows if row[1]])


@click.command("export")
@click.argument("target", metavar="DIR", type=click.Path(path_type=Path))
@selecting
@by_officer()
@json_option
@config_option
@pass_settings
def export(settings: Settings, who: Who, query: Query, target: Path) -> None:
    """Export what ``search`` would find to the new directory DIR: with proofs for programs, and to be read by people.

    DIR is made by the owner of the state directory, who must be allowed to.
    """
    place = Place()
    with visit(settings, who) as office, progress("Exporting", lambda: place.now):
        done = make_export(office, query, target.absolute(), progress=place.move)
    if settings.json:
        print_json(_exported_as_json(done))
        return
    print_table((), _exported_rows(done))
    for _, _, why in done.unopened:
        click.echo(printable(f"not searched: {why}"), err=True)
    if not done.is_signed:
        click.echo("No checkpoint covers these records: export them again while the server runs.", err=True)


def _exported_rows(done: Exported) -> list[tuple[str, str]]:
    return [
        ("Directory", str(done.directory)),
        ("Records", f"{done.records}, of which {done.withheld} without their text"),
        ("Conversations", f"{done.conversations}, each day of each counted"),
        ("Proven in", f"a log of {counted(done.size, 'record')}, countersigned by {done.cosigned}"),
        ("SHA-256 of manifest.json", done.manifest),
    ]


def _exported_as_json(done: Exported) -> Json:
    values = {name: getattr(done, name) for name in ("records", "withheld", "conversations", "size", "cosigned")}
    values |= {"directory": str(done.directory), "signed": done.is_signed, "manifest_sha256": done.manifest}
    unopened = [{"class": class_name, "day": day.isoformat(), "why": why} for class_name, day, why in done.unopened]
    return values | {"unopened": unopened}
