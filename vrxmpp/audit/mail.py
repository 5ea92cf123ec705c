"""A conversation-day as a mail that archives and review programs can read (RFC 5322, RFC 2045); it is not signed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

from vrxmpp.audit.found import written
from vrxmpp.audit.transcript import Transcript

# RFC 5322 §3.2.3, §3.4.1: a dot-atom on each side; the length is what fits into a line.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_MAIL = re.compile(rf"(?=.{{3,70}}$){_ATOM}(?:\.{_ATOM})*@{_ATOM}(?:\.{_ATOM})*")
_LONGEST_NAME = 60  # characters

_NOWHERE = {"username": "unknown", "domain": "address.invalid"}  # RFC 2606: for what is no address of mail


def write_mail(transcript: Transcript, origin: str) -> bytes:
    """Return the mail: its header says who took part and when, its body has all that was said, in order.

    ``origin`` is the name of the log. The mail is from whoever spoke first, at that time.
    """
    first, last = transcript.said[0], transcript.said[-1]
    people = transcript.participants
    mail = EmailMessage(SMTP)
    if people:
        mail["From"] = _address(people[0])
        mail["To"] = [_address(each) for each in people[1:] or people]
    else:
        mail["From"] = Address("unknown", **_NOWHERE)
    mail["Subject"] = _one_line(transcript.title)
    mail["Date"] = datetime.fromtimestamp(first.time // 1_000_000, UTC)
    mail["Message-ID"] = f"<{first.index}.{first.time}@{_domain(origin)}>"
    body = [
        f"Conversation: {transcript.name or 'not known'}",
        f"Class: {transcript.class_name}",
        f"From {written(first.time)} to {written(last.time)}, records {first.index} to {last.index} of {origin}",
        f"Participants: {', '.join(people)}",
    ]
    for each in transcript.said:
        body += ["", each.heading, *(f"    {line}" for line in each.text.splitlines())]
    mail.set_content("\n".join(body) + "\n", cte="base64")
    return mail.as_bytes()


def _address(jid: str) -> Address:
    """Return an address as mail has it; where it cannot, what it is stands in the name, and whole in the body."""
    if _MAIL.fullmatch(jid):
        return Address(addr_spec=jid)
    name = _one_line(jid)
    return Address(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}...", **_NOWHERE)


def _domain(origin: str) -> str:
    domain = origin.partition("/")[0]
    return domain if domain.isascii() else domain.encode("idna").decode()


def _one_line(text: str) -> str:
    return " ".join(text.split())
