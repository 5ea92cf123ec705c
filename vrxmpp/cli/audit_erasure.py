"""``vrxmpp audit hold``, ``expire`` and ``erase``: what stays whatever happens, and what goes (docs/audit.md)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import click

from vrxmpp.admin import AdminError
from vrxmpp.audit.erasure import (
    Erased,
    Expired,
    add_hold,
    erase_conversation,
    erase_message,
    list_holds,
    outlived,
    release_hold,
)
from vrxmpp.audit.erasure import expire as expire_days
from vrxmpp.audit.found import written
from vrxmpp.audit.keys import KeyStore
from vrxmpp.audit.office import policy
from vrxmpp.audit.policy import Hold
from vrxmpp.cli.audit_desk import (
    Who,
    both,
    by_officer,
    conversation_option,
    desk,
    identity_option,
    officer_option,
    operator,
    read_address,
    read_day,
    tell,
    visit,
)
from vrxmpp.cli.output import counted, print_json, print_table, printable, utc_time
from vrxmpp.cli.settings import Settings, config_option, json_option, pass_settings

# -- holds


@click.group("hold")
@config_option
def hold() -> None:
    """Keep what a case needs, whatever expires or is to be erased."""


@hold.command("add")
@click.option("--person", callback=read_address, metavar="JID", help="All that this one has said or heard.")
@conversation_option
@click.option("--since", callback=read_day, metavar="DAY", help="From this day on (UTC).")
@click.option("--until", callback=read_day, metavar="DAY", help="Up to and with this day (UTC).")
@by_officer()
@json_option
@config_option
@pass_settings
def add(
    settings: Settings,
    *,
    who: Who,
    person: str | None,
    conversation: str | None,
    since: date | None,
    until: date | None,
) -> None:
    """Hold what a person, a conversation, or all, have said on some days or ever."""
    with visit(settings, who) as office:
        added = add_hold(office, person=person or "", conversation=conversation or "", first=since, last=until)
    tell(settings, f"hold {added.id} added: {_describe(added)}", **_hold_as_json(added))
    for doubt in _doubts(settings, [person or "", *(conversation or "").split(" ")]):
        click.echo(printable(f"note: {doubt}"), err=True)


def _describe(hold: Hold) -> str:
    """Say what is held."""
    what = [f"all that {hold.person} has said or heard"] if hold.person else []
    what += [f"what {hold.conversation.replace(' ', ' and ')} have said to each other"] if hold.conversation else []
    first, last = hold.first, hold.last
    when = f"from {first} to {last}" if first and last else f"from {first} on" if first else f"up to {last}"
    return f"{', and of that '.join(reversed(what)) or 'everything'}, {when if first or last else 'on all days'}"


def _doubts(settings: Settings, addresses: list[str]) -> Iterator[str]:
    """Say which addresses may be misspelt. The names of those that are held are given to nobody for that."""
    ours = {host.domain for host in settings.config.hosts}
    for address in dict.fromkeys(filter(None, addresses)):
        domain = address.rpartition("@")[2]
        if domain not in ours:
            yield f"{domain} is no domain of this server: of {address} there is what people here have exchanged with it"
            continue
        try:
            with settings.server() as ask:
                accounts = {each["jid"] for each in ask({"command": "user list", "domain": domain})}
        except AdminError as error:
            yield f"whether there is an account {address} was not checked: {error}"
        else:
            if address not in accounts:
                yield f"there is no account {address} now"


@hold.command("release")
@click.argument("number", type=click.IntRange(1))
@by_officer()
@json_option
@config_option
@pass_settings
def release(settings: Settings, who: Who, number: int) -> None:
    """Release the hold with this NUMBER: what has outlived its retention expires the next time."""
    with visit(settings, who) as office:
        release_hold(office, number)
    tell(settings, f"hold {number} released", hold=number)


@hold.command("list")
@by_officer()
@json_option
@config_option
@pass_settings
def list_all(settings: Settings, who: Who) -> None:
    """List the holds in force. As they name people, it goes on record who looked."""
    with visit(settings, who) as office:
        holds = list_holds(office)
    if settings.json:
        print_json([_hold_as_json(each) for each in holds])
        return
    print_table(
        ("Hold", "Person", "Conversation", "From", "Until", "Case", "By", "Since"),
        [
            (
                str(each.id),
                each.person,
                each.conversation,
                str(each.first or ""),
                str(each.last or ""),
                each.case,
                each.by,
                utc_time(each.since),
            )
            for each in holds
        ],
    )


def _hold_as_json(hold: Hold) -> dict[str, Any]:
    return {
        "hold": hold.id,
        "person": hold.person,
        "conversation": hold.conversation,
        "first": hold.first and hold.first.isoformat(),
        "last": hold.last and hold.last.isoformat(),
        "case": hold.case,
        "by": hold.by,
        "since": written(hold.since),
    }


# -- expiry and erasure


@click.command("expire")
@click.option("--dry-run", is_flag=True, help="Only tell what would expire.")
@officer_option
@identity_option
@json_option
@config_option
@pass_settings
def expire(settings: Settings, dry_run: bool, officer: str | None, identity: str | None) -> None:
    """Destroy the keys and the text of all days that have outlived the retention of their class.

    Where something of such a day is held, only an officer can destroy the rest of it: give their identity.
    """
    today, state = datetime.now(UTC).date(), settings.config.state
    who = both(officer, identity)
    if dry_run:
        with desk(settings) as ask:
            days = list(outlived(policy(ask), KeyStore(state / "keys"), today))
        _tell_due(settings, days)
        return
    if who:
        with visit(settings, Who(*who, "expiry", "retention")) as office:
            done = expire_days(office.ask, state, by=office.name, today=today, visit=office)
    else:
        with desk(settings) as ask:
            done = expire_days(ask, state, by=operator(), today=today)
    _tell_expired(settings, done)


def _tell_due(settings: Settings, days: list[tuple[str, date]]) -> None:
    if settings.json:
        print_json([{"class": class_name, "day": day.isoformat()} for class_name, day in days])
    else:
        print_table(("Class", "Day"), [(class_name, day.isoformat()) for class_name, day in days])
        click.echo(f"{counted(len(days), 'day')} would expire", err=True)


def _tell_expired(settings: Settings, done: Expired) -> None:
    if settings.json:
        left = [{"class": each.class_name, "day": each.day.isoformat(), "why": each.why} for each in done.left]
        print_json({"erased": [_erased_as_json(each) for each in done.erased], "left": left})
        return
    print_table(
        ("Class", "Day", "Erased", "Held", "Record"),
        [
            (each.class_name, each.day.isoformat(), str(each.removed), str(each.kept), str(each.record))
            for each in done.erased
        ],
    )
    for each in done.left:
        click.echo(printable(f"{each.class_name} {each.day} is left: {each.why}"), err=True)
    click.echo(f"{counted(len(done.erased), 'day')} expired, {len(done.left)} left", err=True)


@click.command("erase")
@conversation_option
@click.option("--day", callback=read_day, metavar="DAY", help="The day of the conversation (UTC).")
@click.option("--record", type=click.IntRange(0), metavar="INDEX", help="Only this message.")
@click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")
@by_officer("basis")
@json_option
@config_option
@pass_settings
def erase(
    settings: Settings,
    *,
    who: Who,
    conversation: str | None,
    day: date | None,
    record: int | None,
    yes: bool,
) -> None:
    """Destroy the text of a conversation of a day, or of one message; that it was there, and this, stays provable."""
    if (conversation is None) != (day is None) or (conversation is None) == (record is None):
        raise click.UsageError("Say either --conversation and --day, or --record.")
    what = f"record {record}" if conversation is None else f"what {conversation.replace(' ', ' and ')} said on {day}"
    if not yes:
        click.confirm(f"Destroy {what}, for good?", abort=True, err=True)
    with visit(settings, who) as office:
        if conversation and day:
            erased = erase_conversation(office, conversation, day, day)
        else:
            erased = [erase_message(office, record or 0)]
    for each in erased:
        if not settings.json:
            click.echo(f"{counted(each.removed, 'record')} of {each.day} erased: record {each.record} says so")
    if settings.json:
        print_json([_erased_as_json(each) for each in erased])


def _erased_as_json(erased: Erased) -> dict[str, Any]:
    return {
        "class": erased.class_name,
        "day": erased.day.isoformat(),
        "record": erased.record,
        "removed": erased.removed,
        "kept": erased.kept,
    }
