"""Where to connect to, as it is written in the configuration: a host and a port in one text."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, NamedTuple

from pydantic import PlainSerializer, PlainValidator

from vrxmpp.jid import prepare_domain


class Address(NamedTuple):
    """An IP address, IPv6 without brackets, or the prepared name of a host, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(value: object) -> Address:
    """Return the address written as HOST:PORT or [IPv6]:PORT, or raise ValueError."""
    if isinstance(value, Address):
        return value
    if not isinstance(value, str):
        raise ValueError("must be a text in quotes")
    parts = re.fullmatch(r"(?:\[(.+)\]|([^:\[\]]+)):([0-9]{1,5})", value)
    if parts is None or not 0 < int(parts[3]) < 65_536:
        raise ValueError("must be HOST:PORT, with an IPv6 address in brackets")
    if parts[1]:
        return Address(_ip(parts[1]), int(parts[3]))
    try:
        return Address(_ip(parts[2]), int(parts[3]))
    except ValueError:
        return Address(prepare_domain(parts[2]), int(parts[3]))


def _ip(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError("does not name an IP address") from None


def _parse_numeric(value: object) -> Address:
    address = parse_address(value)
    _ip(address.host)
    return address


HostPort = Annotated[Address, PlainValidator(parse_address), PlainSerializer(str)]
IpPort = Annotated[Address, PlainValidator(_parse_numeric), PlainSerializer(str)]
