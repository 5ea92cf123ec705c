"""Answers for people: a table on a terminal, tab-separated lines for the next program of a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import click

from vrxmpp.admin import Json

if TYPE_CHECKING:
    from rich.console import RenderableType


def print_json(value: Json) -> None:
    """Print an answer for a program."""
    click.echo(as_json(value, indent=2))


def as_json(value: Json, indent: int | None = None) -> str:
    """Write JSON that people can read, and that is nothing but text to their terminal."""
    written = json.dumps(value, ensure_ascii=False, indent=indent)
    return "".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in written)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows; the headers, if any, only where somebody looks."""
    cells = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in cells:
            click.echo("\t".join(row))
        return
    # Imported only here: nobody waits for it elsewhere.
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(show_header=bool(headers), box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for header in headers or [""] * max(map(len, cells), default=0):
        table.add_column(header, overflow="fold")  # what is cut off is always what one wants to know
    for row in cells:
        table.add_row(*map(Text, row))
    Console().print(table)


def local_time(text: str | None) -> str:
    """Write a time of a JSON answer as the administrator's clock shows it; nothing for no time."""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M") if text else ""


def utc_time(time: int | None) -> str:
    """Write a time in microseconds since 1970 for people, to the second, UTC; nothing for no time."""
    return "" if time is None else datetime.fromtimestamp(time // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def counted(number: int, noun: str) -> str:
    """Say how many there are of something."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def printable(text: str) -> str:
    """Return what may be printed of a text of one line, whoever wrote it."""
    # Users choose some of these texts: their control characters must not reach the administrator's terminal.
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


class Place:
    """How far something has got, as it says by a call."""

    def __init__(self) -> None:
        self.now = (0, 0)

    def move(self, done: int, total: int) -> None:
        """So much of so much is done."""
        self.now = done, total


class Echo(Protocol):
    """Prints a line."""

    def __call__(self, text: str, *, bold: bool = False) -> None:
        """Print it as it is."""


@contextmanager
def progress(description: str, place: Callable[[], tuple[int, int]]) -> Iterator[Echo]:
    """Show how much of all is done, as ``place`` says whenever it is asked, while somebody looks.

    What is printed in between goes by what this yields.
    """
    if not sys.stderr.isatty():
        yield _echo
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    class Bar(Progress):
        def get_renderables(self) -> Iterable[RenderableType]:
            done, total = place()
            for task in self.tasks:
                self.update(task.id, completed=done, total=total)
            return super().get_renderables()

    def print_above(text: str, *, bold: bool = False) -> None:
        bar.console.print(Text(text, "bold" if bold else ""), soft_wrap=True)

    is_same = sys.stdout.isatty()
    with Bar(console=Console(stderr=not is_same), transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
        bar.add_task(description)
        yield print_above if is_same else _echo


def _echo(text: str, *, bold: bool = False) -> None:
    click.secho(text, bold=bold)
