"""Conversations as one page to read in a browser or to print (HTML 5): nothing in it is run or fetched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from vrxmpp.audit.found import written
from vrxmpp.audit.transcript import Said, Transcript

_HEAD = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
h2 {{ border-top: 1px solid #999; padding-top: 1rem; overflow-wrap: anywhere; }}
dt {{ color: #666; font-size: 13px; margin-top: .8rem; overflow-wrap: anywhere; }}
dd {{ margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }}
b {{ color: #222; }}
@media print {{ dt {{ break-after: avoid; }} }}
</style>
</head>
<body>
<h1>{title}</h1>
"""


def write_page(title: str, facts: Iterable[tuple[str, str]], transcripts: Iterable[Transcript]) -> Iterator[str]:
    """Yield the parts of the page: the facts of the export, then the conversations."""
    yield _HEAD.format(title=escape(title))
    yield "<ul>\n"
    for name, value in facts:
        yield f"<li>{escape(name)}: {_apart(value)}</li>\n"
    yield "</ul>\n"
    for transcript in transcripts:
        yield f"<section>\n<h2>{_apart(transcript.title)}</h2>\n"
        yield f"<p>Class {escape(transcript.class_name)}. Participants: "
        yield f"{', '.join(map(_apart, transcript.participants))}.</p>\n<dl>\n"
        yield from map(_entry, transcript.said)
        yield "</dl>\n</section>\n"
    yield "</body>\n</html>\n"


def _entry(said: Said) -> str:
    about = [said.kind] if said.kind != "message" else []
    about += [f"about id {said.refers_to}"] if said.refers_to else []
    about += [said.outcome] if said.outcome else []
    about += [f"id {said.id}"] if said.id else []
    notes = "; ".join(map(_apart, about))
    sides = f"<b>{_apart(said.sender)}</b> to {_apart(said.recipient)}"
    return f"<dt>{written(said.time)} #{said.index} {sides} {notes}</dt>\n<dd>{_apart(said.text)}</dd>\n"


def _apart(text: str) -> str:
    """Escape a text, and keep what it says of the direction of writing to itself."""
    return f"<bdi>{escape(text)}</bdi>"
