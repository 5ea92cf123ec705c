"""Answers for people: a table on a terminal, tab-separated lines for the next program of a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime

import click

from vrxmpp.admin import Json


def print_json(value: Json) -> None:
    """Print an answer for a program."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows; the headers, if any, only where somebody looks."""
    cells = [[_printable(cell) for cell in row] for row in rows]
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


def _printable(text: str) -> str:
    # Users choose some of these texts: their control characters must not reach the administrator's terminal.
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
