"""The tables of the audit archive: what it keeps, what happens when it cannot, and who vouches for it."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo
from pydantic import field_validator as check

from vrxmpp.config.tables import Domain, StatePath, Table, number, reading, switch


def _class_name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", name):
        raise ValueError("must be small letters, digits and dashes, at most 32, a letter first")
    if name == "audit":
        raise ValueError('"audit" is the class of the archive\'s own records')
    return name


def _root_key(source: str) -> str:
    kind, separator, rest = source.partition(":")
    if kind == "file" and not (separator and not rest):
        return source
    if kind in ("command", "passphrase") and rest:
        return source
    raise ValueError('must be "file", "file:PATH", "command:COMMAND" or "passphrase:FILE"')


ClassName = Annotated[str, AfterValidator(_class_name)]
Encrypted = Literal["record", "refuse"]


class HostAudit(Table):
    """How this domain is archived; what is absent is as in [audit]."""

    class_name: ClassName | None = Field(default=None, alias="class", description="The class of retention.")
    encrypted: Encrypted | None = Field(default=None, description="What becomes of end-to-end encrypted messages.")


class Checkpoints(Table):
    """Who vouches for the archive outside of this machine. Without any, a thief with all keys could rewrite it all."""

    witnesses: tuple[Domain, ...] = Field(
        default=(), description="Other vrxmpp servers that countersign; they name this one in witness_for."
    )
    witness_for: tuple[Domain, ...] = Field(default=(), description="Other vrxmpp servers this one countersigns for.")
    directory: StatePath | None = Field(
        default=None, description="A directory, on another machine best, where each checkpoint is put as a file."
    )
    command: str = Field(default="", description="A command that is given each checkpoint on its standard input.")
    every_seconds: int = number(60, 1, 86_400, "How often checkpoints leave the house, when something is new.")
    fresh_seconds: int = number(3600, 60, 604_800, "How old the last one may be for the status to be green.")

    @check("witnesses", "witness_for")
    @classmethod
    def _others(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("names a domain twice")
        for domain in value:
            if domain in reading(info).domains:
                raise ValueError(f"names {domain}, which is served here: nobody vouches for themselves")
        return value


class Audit(Table):
    """The audit archive: everything that is said is on its disk, sealed, before anybody gets it."""

    enabled: bool = switch(True, "false: nothing is archived.")
    on_failure: Literal["refuse", "deliver"] = Field(
        default="refuse",
        description='What becomes of messages that cannot be archived. "refuse": the sender is told, nobody gets them. '
        '"deliver": they go their way, and are missing in the archive.',
    )
    class_name: ClassName = Field(
        default="staff", alias="class", description="The class of retention of what is said (vrxmpp audit retention)."
    )
    encrypted: Encrypted = Field(
        default="record",
        description='What becomes of end-to-end encrypted messages: "record" keeps them as they are, unreadable, '
        '"refuse" sends them back.',
    )
    root_key: Annotated[str, AfterValidator(_root_key)] = Field(
        default="file",
        description='Where the root key comes from: "file" (keys/root.key in the state directory), "file:PATH", '
        '"command:COMMAND", which prints it, or "passphrase:FILE".',
    )
    checkpoints: Checkpoints = Field(default=Checkpoints(), description=Checkpoints.__doc__)

    @check("root_key")
    @classmethod
    def _from_directory(cls, value: str, info: ValidationInfo) -> str:
        kind, _, rest = value.partition(":")
        return f"{kind}:{reading(info).directory / rest}" if rest and kind != "command" else value
