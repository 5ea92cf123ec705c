"""The tables of components: services at domains of their own, outside (XEP-0114) or in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainSerializer, SecretStr, ValidationInfo
from pydantic import field_validator as check

from vrxmpp.config.files import shared_secret
from vrxmpp.config.tables import Domain, Endpoint, StatePath, Table, reading

_HOST = "[[host]]"


def parents(domain: str) -> Iterator[str]:
    """Yield the domains a domain is below, the nearest first."""
    while "." in domain:
        _, _, domain = domain.partition(".")
        yield domain


def _served(domain: str, info: ValidationInfo) -> str:
    domains = reading(info).domains
    if domains and domains.get(domain) != _HOST:
        raise ValueError("is not served by a [[host]]")
    return domain


def _class_name(name: str) -> str:
    module, _, class_name = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), class_name)):
        raise ValueError("must name a class: package.module:Class")
    return name


def _names_only(options: dict[str, Any]) -> dict[str, str]:
    return dict.fromkeys(options, "***")  # nobody knows which of them are secrets


Access = Literal["get", "set", "both"]
Options = Annotated[dict[str, Any], PlainSerializer(_names_only)]
ClassName = Annotated[str, AfterValidator(_class_name)]
ServedDomain = Annotated[Domain, AfterValidator(_served)]


class Privileges(Table):
    """What the component may do in the name of users (XEP-0356): it can read and change much that is theirs."""

    hosts: tuple[ServedDomain, ...] = Field(
        default=(), description="The domains for whose users this holds. Absent: the one the component's is below."
    )
    roster: Literal["none", "get", "set", "both"] = Field(
        default="none", description="Whether it may read and change their rosters."
    )
    message: Literal["none", "outgoing"] = Field(default="none", description="Whether it may send messages for them.")
    presence: Literal["none", "managed_entity"] = Field(
        default="none", description="Whether it sees the presence of the users."
    )
    iq: dict[str, Access] = Field(
        default={}, description="Which requests it may send for them, by the namespace of their payload."
    )


class Component(Table):
    """A service at a domain of its own: a process that connects with a secret (XEP-0114), or a class in this one."""

    domain: str = Field(description="Its domain, which may be below that of a host.")
    secret: SecretStr | None = Field(default=None, description="What the component and this server both know.")
    secret_file: StatePath | None = Field(default=None, description="File that holds the secret and nothing else.")
    handler: ClassName | None = Field(
        default=None, description="A wokkel XMPPHandler to run in this process, package.module:Class, in place of both."
    )
    options: Options = Field(
        default={}, repr=False, description="What the handler's class is called with, by name; not shown."
    )
    privileges: Privileges = Field(default=Privileges(), description=Privileges.__doc__)

    def shared_secret(self) -> str:
        """Return the secret of a component that connects. Raise ValueError where its file cannot be read."""
        if self.secret is not None:
            return self.secret.get_secret_value()
        if self.secret_file is None:
            raise ValueError("runs in this process and has no secret")
        return shared_secret(self.secret_file)

    @check("domain")
    @classmethod
    def _prepare(cls, value: str, info: ValidationInfo) -> str:
        return reading(info).serve(value, "[[component]]")

    @check("secret")
    @classmethod
    def _not_empty(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value():
            raise ValueError("must not be empty")
        return value

    @check("secret_file")
    @classmethod
    def _holds_secret(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value and reading(info).files:
            shared_secret(value)
        return value

    @check("handler")
    @classmethod
    def _one_of_three(cls, value: str | None, info: ValidationInfo) -> str | None:
        ways = [info.data.get("secret", ""), info.data.get("secret_file", ""), value]  # wrong ones are named, too
        if sum(way is not None for way in ways) != 1:
            raise ValueError("exactly one of secret, secret_file and handler is needed")
        return value

    @check("options")
    @classmethod
    def _belong_to_handler(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if value and info.data.get("handler", "") is None:
            raise ValueError("belong to a handler")
        return value

    @check("privileges")
    @classmethod
    def _hold_for_somebody(cls, value: Privileges, info: ValidationInfo) -> Privileges:
        domains, domain = reading(info).domains, info.data.get("domain")
        if not domain or not domains or value.hosts or value == Privileges():
            return value
        if all(domains.get(above) != _HOST for above in parents(domain)):
            raise ValueError("need hosts: the component's domain is below none of them")
        return value


class ComponentConnections(Table):
    """Where components connect."""

    listen: tuple[Endpoint, ...] = Field(
        default=("tcp:5347:interface=127.0.0.1",),
        description="Listeners, in the clear (XEP-0114); open only where a component has a secret.",
    )
