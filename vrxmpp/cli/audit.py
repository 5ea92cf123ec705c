"""``vrxmpp audit``: the archive: beginning one, how it is, and whether it is what was written (docs/audit.md)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import click

from vrxmpp.admin import AdminError, Json
from vrxmpp.audit import files
from vrxmpp.audit.desk import DeskError
from vrxmpp.audit.found import written
from vrxmpp.audit.founding import initialise
from vrxmpp.audit.identity import Identity
from vrxmpp.audit.notary import LOG
from vrxmpp.audit.recovery import SHEET, open_escrow
from vrxmpp.audit.secrecy import shut_out_debuggers
from vrxmpp.cli.audit_desk import both, desk, identity_option, officer_option
from vrxmpp.cli.audit_erasure import erase, expire, hold
from vrxmpp.cli.audit_policy import officer, renew_storage_key, retention, rotate
from vrxmpp.cli.audit_reading import export, search, show
from vrxmpp.cli.client import NotRunning
from vrxmpp.cli.output import Place, counted, print_json, print_table, printable, progress, utc_time
from vrxmpp.cli.owner import become_owner
from vrxmpp.cli.settings import Settings, config_option, json_option, pass_settings
from vrxmpp_verify import Checkpoint, Report, read_checkpoints, verify_directory, verify_export

AMBER = 6
"""Exit code of a status that is neither green nor red."""

_EXIT_CODES = {"green": 0, "amber": AMBER, "red": 1}
_TERMINAL_COLOURS = {"green": "green", "amber": "yellow", "red": "red"}

Reasons = list[tuple[str, str]]
"""Why the archive is no better: a colour and a line."""


@click.group("audit")
@config_option
def audit() -> None:
    """Look after the audit archive, prove it, and read it on record."""
    shut_out_debuggers()  # before an identity, or the root key, is read


for part in (search, show, export, officer, hold, retention, expire, erase, rotate, renew_storage_key):
    audit.add_command(part)


# -- the beginning


@audit.command("init")
@json_option
@config_option
@pass_settings
def init(settings: Settings) -> None:
    """Make the archive, if there is none, and print the recovery sheet, once.

    Print it on paper and keep it in a safe: whoever has it can read the whole archive, and without it, and without
    another officer, nobody can.
    """
    state, source = settings.config.state, settings.config.audit.root_key
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    become_owner(state)
    initialise(state, source, settings.config.hosts[0].domain + LOG)
    keys = state / "keys"
    path = keys / SHEET
    if not path.exists():
        raise AdminError("exists", "there is an archive already, and its recovery sheet was printed")
    sheet = path.read_text()
    if settings.json:
        print_json({"sheet": sheet})
    else:
        click.echo(sheet, nl=False)
    with files.changing(keys):
        files.destroy(path)


@audit.command("recover")
@identity_option
@json_option
@config_option
@pass_settings
def recover(settings: Settings, identity: str | None) -> None:
    """Print the root key, for whoever has the recovery sheet: it is to be put where it was lost."""
    try:
        opener = Identity.parse(identity or "")
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--identity") from None
    become_owner(settings.config.state)
    root = open_escrow(settings.config.state / "keys", opener).hex()
    if settings.json:
        print_json({"root_key": root})
    else:
        click.echo(root)


# -- how it is


@audit.command("status")
@json_option
@config_option
@pass_settings
def status(settings: Settings) -> None:
    """Tell how the archive is: green, amber or red, and why.

    The exit code is 0, 6 or 1 for these.
    """
    reasons: Reasons = []
    server = _ask_server(settings, reasons)
    log = _ask_desk(settings, reasons)
    reasons += _judge_server(server) + _judge_log(log)
    colours = [colour for colour, _ in reasons]
    colour = "red" if "red" in colours else "amber" if "amber" in colours else "green"
    if settings.json:
        texts = [{"colour": each, "reason": reason} for each, reason in reasons]
        print_json({"colour": colour, "reasons": texts, "log": _log_as_json(log)} | server)
    else:
        click.secho(f"The archive is {colour}.", fg=_TERMINAL_COLOURS[colour], bold=True)
        for each, reason in reasons:
            click.echo(printable(f"{each}: {reason}"))
        print_table((), [row for row in (*_log_rows(log), *_server_rows(server)) if row[1]])
    raise SystemExit(_EXIT_CODES[colour])


def _ask_server(settings: Settings, reasons: Reasons) -> Json:
    if not settings.config.audit.enabled:
        reasons.append(("red", "nothing is archived: the configuration has switched it off"))
    try:
        with settings.server() as ask:
            answer = ask({"command": "audit status"})
    except NotRunning:
        reasons.append(("amber", "the server is not running"))
        answer = None
    return answer or {"archive": None, "checkpoints": None, "verification": None}


def _ask_desk(settings: Settings, reasons: Reasons) -> Json:
    try:
        with desk(settings) as ask:
            return ask("status")
    except DeskError as error:
        reason = str(error)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
    reasons.append(("red", f"the archive cannot be opened: {reason}"))
    return None


def _judge_server(server: Json) -> Reasons:
    archive, checkpoints = server["archive"], server["checkpoints"]
    reasons = []
    if archive is not None:
        if archive["recorder"] != "ready":
            reasons.append(("red", f"the recorder is away: {archive['trouble'] or 'it does not say why'}"))
        elif archive["trouble"]:
            what = "refused" if archive["on_failure"] == "refuse" else "passed on without being archived"
            reasons.append(("red", f"messages are {what}: {archive['trouble']}"))
        if archive["unarchived"]:
            passed_on = f"{archive['unarchived']} messages were passed on without being archived since the start"
            reasons.append(("red", passed_on))
        if archive["missing"]:
            reasons.append(("red", f"{archive['missing']} messages should be in the archive, and are not"))
        if archive["lost"]:
            reasons.append(("amber", f"{counted(archive['lost'], 'note')} found no room since the start"))
        if archive["on_failure"] == "deliver":
            reasons.append(("amber", "messages are passed on when they cannot be archived (on_failure)"))
    if checkpoints is not None:
        # It lists what makes it red first, and then what would make it amber.
        reasons += [(checkpoints["colour"], reason) for reason in checkpoints["reasons"]]
    return reasons + _judge_verification(server["verification"])


def _judge_verification(verification: Json) -> Reasons:
    reasons = []
    if verification is not None:
        if verification["problems"]:
            found = f"the server has verified the archive and found {counted(verification['problems'], 'problem')}"
            reasons.append(("red", f"{found} (vrxmpp audit verify)"))
        if verification["trouble"]:
            reasons.append(("amber", f"the server could not verify the archive: {verification['trouble']}"))
    return reasons


def _judge_log(log: Json) -> Reasons:
    reasons = []
    if log is not None:
        if log["recovery_sheet"]:
            reasons.append(("amber", "nobody has stored the recovery sheet yet (vrxmpp audit init)"))
        if log["todo"]:
            reasons.append(("amber", f"recorded and not finished: {counted(len(log['todo']), 'erasure')}"))
    return reasons


def _log_as_json(log: Json) -> Json:
    """Write times as all answers have them."""
    if log is None:
        return None
    last = None if log["last"] is None else written(log["last"])
    return log | {"last": last, "witnessed": [sink | {"at": written(sink["at"])} for sink in log["witnessed"]]}


def _log_rows(log: Json) -> Iterator[tuple[str, str]]:
    if log is None:
        return
    yield "Archive", log["origin"]
    yield "Records", f"{log['size']}, {log['today']} of them today"
    yield "Last record", utc_time(log["last"])
    yield "Last signed", "never" if log["checkpoint"] is None else f"with {counted(log['checkpoint'], 'record')}"
    for sink in log["witnessed"]:
        yield f"Taken by {sink['sink']}", f"{counted(sink['size'], 'record')}, {utc_time(sink['at'])}"
    yield "Officers", ", ".join(log["officers"])
    yield "Holds", str(log["holds"])


def _server_rows(server: Json) -> Iterator[tuple[str, str]]:
    archive = server["archive"]
    if archive is not None:
        yield "Since the start", "{archived} archived, {refused} refused, {waiting} waiting".format_map(archive)
        commits = archive["commits"]
        if commits:
            yield "A commit", f"{archive['commit_seconds'] / commits * 1000:.1f} ms on average"
    checkpoints = server["checkpoints"]
    if checkpoints is not None:
        for name, sink in checkpoints["sinks"].items():
            yield f"Trouble with {name}", sink["failure"]
        yield "Key", checkpoints["key"] or ""
        yield "Key as a witness", checkpoints["witness_key"] or ""


@audit.command("checkpoint")
@config_option
@pass_settings
def checkpoint(settings: Settings) -> None:
    """Print the newest signed checkpoint, one that others have countersigned if there is any, to be kept elsewhere."""
    with desk(settings) as ask:
        notes = ask("notes")
    if not notes:
        raise click.ClickException("Nothing has been signed yet: let the server run for a few seconds.")
    click.echo(max(notes, key=lambda note: (note.count("\n\N{EM DASH} "), notes.index(note))), nl=False)


# -- whether it is what was written


@audit.command("verify")
@click.argument("directory", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
@officer_option
@identity_option
@click.option(
    "--checkpoint",
    "kept",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="A signed checkpoint that was kept elsewhere, or a directory of them.",
)
@click.option("--vkey", "vkeys", multiple=True, metavar="KEY", help="Whose signatures count: NAME+HASH+KEY.")
@json_option
@config_option
@pass_settings
def verify(
    settings: Settings,
    *,
    directory: Path | None,
    officer: str | None,
    identity: str | None,
    kept: tuple[Path, ...],
    vkeys: tuple[str, ...],
) -> None:
    """Check every record of the archive, or of the copy or export in DIRECTORY, and tell what is wrong with which.

    With an officer's identity every text is opened, too; without, what is sealed stays unread, and its length and hash
    are checked. That the archive here was verified is recorded in it. The exit code is 1 if anything is wrong. Without
    --vkey and --checkpoint a forgery, too, can be consistent in itself: the last line says who vouches for it.
    """
    checkpoints = read_checkpoints(kept)
    for note in checkpoints:
        _check_note(note)
    opener = both(officer, identity)
    if directory is None:
        become_owner(settings.config.state)  # a copy may be anybody's
    report = _verify(settings.config.state, directory, opener, checkpoints, vkeys)
    is_sealed = opener is None and not _is_export(directory)
    if is_sealed:
        report.warnings.insert(0, "what is sealed, but for its hashes: --officer and --identity would open it")
    if settings.json:
        print_json(report.to_json())
    else:
        _tell(report, is_sealed)
    if directory is None:
        facts = {"size": report.size, "records": report.records, "problems": report.found}
        try:
            with desk(settings) as ask:
                ask("record", type="verify", facts=facts | {"seconds": round(report.seconds, 3)})
        except (DeskError, OSError) as error:
            raise DeskError(f"that this was verified could not be put on record: {error}") from None
    if not report.sound:
        raise SystemExit(1)


def _check_note(note: str) -> None:
    """Refuse what was not a checkpoint to begin with: that would not be the archive's fault."""
    try:
        Checkpoint.parse(note)
    except ValueError:
        text = f"what begins with {note.strip()[:40]!r} is no signed checkpoint"
        raise click.BadParameter(text, param_hint="--checkpoint") from None


def _is_export(directory: Path | None) -> bool:
    return directory is not None and (directory / "manifest.json").exists()


def _verify(
    state: Path,
    directory: Path | None,
    opener: tuple[str, str] | None,
    checkpoints: list[str],
    vkeys: tuple[str, ...],
) -> Report:
    place = Place()
    with progress("Verifying", lambda: place.now):
        try:
            if directory and _is_export(directory):
                return verify_export(directory, checkpoints=checkpoints, vkeys=vkeys, progress=place.move)
            return verify_directory(
                directory or state / "audit",
                keys=state / "keys",
                identity=opener,
                checkpoints=checkpoints,
                vkeys=vkeys,
                progress=place.move,
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from None


def _tell(report: Report, is_sealed: bool) -> None:
    for problem in report.problems:
        click.echo(printable(str(problem)))
    if report.found > len(report.problems):
        click.echo(f"and {report.found - len(report.problems)} more problems")
    for warning in report.warnings:
        click.echo(printable(f"not checked: {warning}"))
    contents = f"{report.opened}; {report.unopened} stayed sealed, {report.gone} are erased or withheld"
    rows = [
        ("Records checked", f"{report.records} of {report.size}: their place in the log, hashes and checkpoints"),
        ("Contents checked", "none: that takes an identity" if is_sealed else contents),
        ("Root", b64encode(report.root).decode() or "not known"),
        ("Covered from outside", counted(report.vouched, "record")),
        ("Time", f"{report.seconds:.1f} s"),
    ]
    print_table((), rows)
    colour = ("green" if report.vouched_for else "yellow") if report.sound else "red"
    click.secho(report.verdict, fg=colour, bold=True)
