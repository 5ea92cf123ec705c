"""Listening addresses: the server endpoint strings of Twisted, understood without a reactor and without its plugins."""

from __future__ import annotations

import re
from ipaddress import ip_address

# What each kind of endpoint takes; the first one needs no name.
_ENDPOINTS = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "interface", "backlog"),
    "unix": ("address", "mode", "backlog", "lockfile"),
    "systemd": ("domain", "index", "name"),
}

_NUMBERS = (
    ("port", "[0-9]+", 65535),
    ("backlog", "[0-9]+", 65535),
    ("mode", "[0-7]{3}", 777),
    ("lockfile", "[01]", 1),
)


def _parse(text: str) -> tuple[str, dict[str, str]]:
    """Return kind and arguments of an endpoint string, by the quoting rules of ``serverFromString``."""
    if not re.fullmatch(r"(?s:\\.|[^\\])*", text):
        raise ValueError("must not end with a backslash")
    options: dict[str, str] = {}
    kind, *arguments = re.findall(r"(?s:(?:^|:)((?:\\.|[^\\:])*))", text)
    if kind not in _ENDPOINTS:
        raise ValueError("must be a Twisted server endpoint: tcp:PORT, tcp6:PORT, unix:PATH or systemd:DOMAIN")
    for argument in arguments:
        _, name, equals, value = re.split(r"(?s)((?:\\.|[^\\=])*)(=?)", argument, maxsplit=1)
        name, value = (name, value) if equals else (_ENDPOINTS[kind][0], name)
        if name not in _ENDPOINTS[kind] or name in options:
            raise ValueError(f'does not fit: "{argument}"')
        options[name] = re.sub(r"(?s:\\(.))", r"\1", value)
    return kind, options


def check_endpoint(text: str) -> str:
    """Return the endpoint string, or raise ValueError where nobody could listen there."""
    kind, options = _parse(text)
    main = _ENDPOINTS[kind][0]
    if not options.get(main):
        raise ValueError(f"is incomplete: {kind}:{main.upper()}")
    for name, pattern, high in _NUMBERS:
        if name in options and not (re.fullmatch(pattern, options[name]) and int(options[name]) <= high):
            raise ValueError(f"has a {name} that is not a number up to {high}")
    if kind == "unix" and not options["address"].startswith("/"):
        raise ValueError("needs an absolute path")
    if kind == "systemd" and ("index" in options) == ("name" in options):
        raise ValueError("needs either index= or name=, as in systemd:INET:name=NAME")
    return text


def is_local(endpoint: str) -> bool:
    """Tell whether only this machine can reach a listening endpoint: a loopback address or a Unix socket."""
    kind, options = _parse(endpoint)
    interface = options.get("interface", "")
    try:
        return kind == "unix" or interface == "localhost" or ip_address(interface).is_loopback
    except ValueError:
        return False


def tcp_address(endpoint: str) -> tuple[str, int] | None:
    """Return interface and port of a TCP endpoint, or None for another kind; the interface is empty for all of them."""
    kind, options = _parse(endpoint)
    if kind not in {"tcp", "tcp6"}:
        return None
    return options.get("interface", "" if kind == "tcp" else "::"), int(options["port"])
