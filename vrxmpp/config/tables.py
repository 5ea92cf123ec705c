"""What the tables of the configuration file are made of: their base, their kinds of values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationInfo

from vrxmpp.config.endpoints import check_endpoint
from vrxmpp.jid import Jid, prepare_domain


@dataclass(frozen=True)
class Reading:
    """What the validators know about the reading: the file's directory, whether to open the files it names, the domains
    seen so far, each with the table that serves it."""

    directory: Path
    files: bool = False
    domains: dict[str, str] = field(default_factory=dict)

    def serve(self, domain: str, table: str) -> str:
        """Note who serves a domain, and return it prepared. Raise ValueError where it is served already."""
        prepared = prepare_domain(domain)
        if other := self.domains.get(prepared):
            raise ValueError(f"is served already by {'another' if other == table else 'a'} {other}")
        self.domains[prepared] = table
        return prepared


def reading(info: ValidationInfo) -> Reading:
    """Return what is known; nothing where a model is made by hand."""
    return info.context if isinstance(info.context, Reading) else Reading(Path())


def number(default: int, low: int, high: int, description: str) -> Any:
    """Return a field for a whole number within bounds."""
    return Field(default, ge=low, le=high, strict=True, description=description)


def switch(default: bool | None, description: str) -> Any:
    """Return a field for what is on or off."""
    return Field(default, strict=True, description=description)


def _from_directory(path: Path, info: ValidationInfo) -> Path:
    return reading(info).directory / path


def _bare_jid(value: object) -> Jid:
    if not isinstance(value, str):
        raise ValueError("must be a text in quotes")
    jid = Jid.parse(value)
    if not jid.local or jid.resource:
        raise ValueError("must be the address of an account: user@domain")
    return jid


StatePath = Annotated[Path, AfterValidator(_from_directory)]
Endpoint = Annotated[str, AfterValidator(check_endpoint)]
BareJid = Annotated[Jid, BeforeValidator(_bare_jid), PlainSerializer(str)]
Domain = Annotated[str, AfterValidator(prepare_domain)]


class Table(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, validate_default=True)
