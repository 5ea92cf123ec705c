"""``vrxmpp audit officer``, ``retention`` and ``rotate``: who may read, for how long, under which root key."""

from __future__ import annotations

from datetime import date
from typing import Any

import click

from vrxmpp.audit.found import written
from vrxmpp.audit.identity import Identity, PublicKey
from vrxmpp.audit.keys import KeyStore
from vrxmpp.audit.office import change, policy, replace_lost_storage_key, rotate_root
from vrxmpp.audit.policy import Officer, Retention
from vrxmpp.cli.audit_desk import Who, by_officer, by_operator, desk, read_day, tell, visit
from vrxmpp.cli.offline import open_database
from vrxmpp.cli.output import counted, print_json, print_table, utc_time
from vrxmpp.cli.owner import become_owner
from vrxmpp.cli.settings import Settings, config_option, json_option, pass_settings
from vrxmpp.store.sealer import forget_sealed

# -- officers


@click.group("officer")
@config_option
def officer() -> None:
    """Say who may read the archive."""


@officer.command("add")
@click.argument("name")
@click.option("--public", metavar="KEY", help="Their public key; without one a new identity is made, and printed once.")
@by_operator
@json_option
@config_option
@pass_settings
def add_officer(settings: Settings, why: dict[str, str], name: str, public: str | None) -> None:
    """Let NAME read what is recorded from tomorrow (UTC) on; what was before, another officer must share."""
    made = None if public else Identity.generate()
    try:
        key = made.public if made else PublicKey.parse(public or "")
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--public") from None
    with desk(settings) as ask:
        _, record = change(ask, "add_officer", name=name, public=key.text, **why)
    facts = {"officer": name, "public": key.text, "record": record}
    if made is None:
        tell(settings, f"{name} added", **facts)
    elif settings.json:
        print_json(facts | {"identity": made.text})
    else:
        click.echo(f"# The identity of the officer {name}: a secret, shown once. The public key is\n# {key.text}")
        click.echo("# It opens what is recorded from tomorrow (UTC) on, and what another officer shares:")
        click.echo(f"# vrxmpp audit officer share {name}")
        click.echo(made.text)


@officer.command("share")
@click.argument("name")
@click.option("--since", callback=read_day, metavar="DAY", help="Only this day (UTC) and those after it.")
@by_officer()
@json_option
@config_option
@pass_settings
def share(settings: Settings, who: Who, name: str, since: date | None) -> None:
    """Let the officer NAME read the days so far that you can read."""
    with visit(settings, who) as office:
        days = office.share(name, since)
    shared = [{"class": class_name, "day": day.isoformat()} for class_name, day in days]
    tell(settings, f"{counted(len(days), 'file')} of keys shared with {name}", shared=shared)


@officer.command("list")
@json_option
@config_option
@pass_settings
def list_officers(settings: Settings) -> None:
    """List those who may read, and those who might."""
    with desk(settings) as ask:
        officers = policy(ask).officers
    if settings.json:
        print_json({name: _officer_as_json(each) for name, each in officers.items()})
        return
    print_table(
        ("Officer", "Added", "Removed", "Public key"),
        [(name, utc_time(o.added), utc_time(o.removed), o.public) for name, o in officers.items()],
    )


def _officer_as_json(each: Officer) -> dict[str, str | None]:
    removed = None if each.removed is None else written(each.removed)
    return {"public": each.public, "added": written(each.added), "removed": removed}


@officer.command("remove")
@click.argument("name")
@by_operator
@json_option
@config_option
@pass_settings
def remove_officer(settings: Settings, why: dict[str, str], name: str) -> None:
    """Let NAME read no more, also of what was recorded before; copies of the keys that were made stay what they are."""
    with desk(settings) as ask:
        _, record = change(ask, "remove_officer", name=name, **why)
    tell(settings, f"{name} removed", officer=name, record=record)


# -- retention


@click.group("retention")
@config_option
def retention() -> None:
    """Say how long each class of records is kept."""


@retention.command("set")
@click.argument("class_name", metavar="CLASS")
@click.option("--days", type=click.IntRange(1), help="Kept for so many days.")
@click.option("--forever", is_flag=True, help="Never expires.")
@click.option("--lock", is_flag=True, help="From now on it can only be lengthened, by nobody shortened.")
@by_operator
@json_option
@config_option
@pass_settings
def set_retention(
    settings: Settings, *, why: dict[str, str], class_name: str, days: int | None, forever: bool, lock: bool
) -> None:
    """Say how long the records of CLASS are kept."""
    if (days is None) != forever:
        raise click.UsageError("Say either --days or --forever.")
    known = {"audit", *(settings.config.archived(host).class_name for host in settings.config.hosts)}
    with desk(settings) as ask:
        known |= {*policy(ask).retention, *(name for name, _ in ask("status")["days"])}
        if class_name not in known:
            raise click.BadParameter(f"{class_name} is not among {', '.join(sorted(known))}", param_hint="CLASS")
        locked = lock or policy(ask).retention_of(class_name).locked
        arguments: dict[str, Any] = {"class": class_name, "days": days, "locked": locked}
        after, record = change(ask, "set_retention", **why, **arguments)
    told = _kept(after.retention_of(class_name))
    tell(settings, f"{class_name}: {told}", record=record, **arguments)


@retention.command("show")
@json_option
@config_option
@pass_settings
def show_retention(settings: Settings) -> None:
    """Show how long each class is kept."""
    with desk(settings) as ask:
        in_force = policy(ask)
    kept = KeyStore(settings.config.state / "keys").list()
    classes = sorted({class_name for class_name, _ in kept} | set(in_force.retention))
    if settings.json:
        found = {each: in_force.retention_of(each) for each in classes}
        print_json({name: {"days": each.days, "locked": each.locked} for name, each in found.items()})
    else:
        print_table(("Class", "Kept"), [(name, _kept(in_force.retention_of(name))) for name in classes])


def _kept(retention: Retention) -> str:
    days = "for ever" if retention.days is None else "1 day" if retention.days == 1 else f"{retention.days} days"
    return f"{days}, locked" if retention.locked else days


# -- the root key


@click.command("rotate")
@click.option("--to", "new", default="", metavar="SOURCE", help="Where the new one comes from, as for root_key.")
@by_operator
@json_option
@config_option
@pass_settings
def rotate(settings: Settings, why: dict[str, str], new: str) -> None:
    """Replace the root key, by a fresh one or that of another source, while the server is stopped."""
    config = settings.config
    become_owner(config.state)
    rotate_root(config.state, config.audit.root_key, new, **why)
    text = "the root key is replaced: make both backups anew"
    text += f', and write root_key = "{new}" into [audit]' if new else ""
    tell(settings, text, root_key=new or config.audit.root_key)


@click.command("renew-storage-key")
@by_operator
@json_option
@config_option
@pass_settings
def renew_storage_key(settings: Settings, why: dict[str, str]) -> None:
    """Make another storage key in the place of one that is lost, while the server is stopped.

    Messages that wait sealed under the lost one can be delivered no more, and are forgotten: bring keys/storage.key
    back from the backup of the keys instead, if there is one. What was said stays in the archive.
    """
    config = settings.config
    become_owner(config.state)

    def forget() -> int:
        with open_database(config):  # which is made where there is none
            return forget_sealed(config.database_url)

    count = replace_lost_storage_key(config.state, config.audit.root_key, forget, **why)
    text = f"there is another storage key; messages that waited sealed under the lost one, and are forgotten: {count}"
    tell(settings, text, forgotten=count)
