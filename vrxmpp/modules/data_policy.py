"""XEP-0504: Data Policy. What becomes of what is said here, told to anyone who asks the domain."""

from __future__ import annotations

import math
from collections.abc import Callable

from vrxmpp import ns
from vrxmpp.core.module import Module, Xep
from vrxmpp.dom import Field, Form

_REFUSED = "Messages that are encrypted end to end are refused."
_RECORDED = "Messages that are encrypted end to end are recorded as they are, and cannot be read."


class DataPolicy(Module):
    """Adds a form to the disco#info of a domain that has an archive.

    ``retention`` returns for how many days it keeps what is said now: infinity, or None where that is not known.
    ``plain``: passwords are accepted in plain text. ``refuses_encrypted``: what is encrypted end to end is refused.
    """

    implements = (Xep(504, "0.1.0", "of the domain"),)

    def __init__(self, retention: Callable[[], float | None], *, plain: bool, refuses_encrypted: bool) -> None:
        self._retention = retention
        self._plain = plain
        self._refuses_encrypted = refuses_encrypted
        self._written: tuple[float | None, Form] | None = None

    @property
    def forms(self) -> tuple[Form, ...]:
        """The policy in force: it can change while the server runs."""
        days = self._retention()
        if self._written is None or self._written[0] != days:
            self._written = days, self._form(days)
        return (self._written[1],)

    def _form(self, days: float | None) -> Form:
        no = ["false"]
        fields = [
            Field("list-single", "auth_data", values=["plain" if self._plain else "hidden"]),
            Field("text-single", "data_retention", values=[_hours(days)]),
            Field("boolean", "data_deletion", values=no),  # nobody takes anything out of the archive by a client
            Field("boolean", "encryption_at_rest", values=["true"]),
            Field("boolean", "data_export", values=no),
            Field("list-multi", "access_policy", values=["admins", "organization_member"]),
            Field("boolean", "full_erasure", values=no),
            Field(
                "text-multi",
                "extra_info",
                values=[
                    "What is said here is recorded in an audit archive, which only its officers can read.",
                    _REFUSED if self._refuses_encrypted else _RECORDED,
                ],
            ),
        ]
        return Form("result", formNamespace=ns.DATA_POLICY, fields=fields)


def _hours(days: float | None) -> str:
    """§ Data Retention: at most so many hours, or a word."""
    if days is None:
        return "unknown"
    return "infinite" if math.isinf(days) else f"{days * 24:.0f}"
