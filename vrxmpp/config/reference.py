"""The configuration written out: the reference page, made from the models, and what is in force."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from vrxmpp.config.addresses import Address
from vrxmpp.config.audit import HostAudit
from vrxmpp.config.models import Config
from vrxmpp.config.problems import hide_secrets, inner_table, tables, toml_key
from vrxmpp.config.s2s import HostFederation
from vrxmpp.jid import Jid

_INTRODUCTION = """\
# Configuration

<!-- Made from the models by `vrxmpp config reference`; a test holds it up to date. -->

One TOML file, by default `vrxmpp.toml` in the working directory, else `/etc/vrxmpp/vrxmpp.toml`. Relative paths are
relative to the directory of the file. `vrxmpp config check` tells all its mistakes at once; `vrxmpp config show` prints
what is in force, defaults included. A running server reads the file again on `SIGHUP`.

The least that works:

```toml
[[host]]
domain = "library.example"
```

Listening addresses are [Twisted endpoint strings](https://docs.twisted.org/en/stable/core/howto/endpoints.html):
`tcp:5222` (IPv4), `tcp6:5222` (IPv6, on most systems IPv4 too), `tcp:5222:interface=127.0.0.1`, `unix:/run/xmpp.sock`,
`systemd:INET:name=c2s`.
"""


_TYPE_NAMES: dict[Any, str] = {
    bool: "true or false",
    str: "text",
    SecretStr: "text",
    Path: "path",
    Jid: "address",
    Address: "host:port",
    Any: "anything",
}

_HEADERS = {
    "": "Top level",
    "host": "`[[host]]`",
    "component": "`[[component]]`",
    "s2s.peer": '`[s2s.peer."DOMAIN"]`',
}


def reference() -> str:
    """Return the reference page in Markdown."""
    names = {model: name for name, model in tables(Config)}
    return "\n".join([_INTRODUCTION, *(_table(name, model, names) for model, name in names.items())])


def in_force(config: Config) -> dict[str, Any]:
    """Return all options with their values, as the file would nest them; secrets are hidden."""
    values = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    for host, shown in zip(config.hosts, values["host"], strict=True):
        federation = config.federation(host).model_dump(mode="json")
        shown["s2s"] = {key: federation[key] for key in HostFederation.model_fields}
        archived = config.archived(host).model_dump(mode="json", by_alias=True)
        shown["audit"] = {key: archived[key] for key in (f.alias or name for name, f in HostAudit.model_fields.items())}
        shown["limits"] = config.account_limits(host).model_dump()
    values["database"]["url"] = hide_secrets(config.database.url)
    return values


def as_toml(values: dict[str, Any]) -> str:
    """Write nested options as TOML."""
    return "\n".join(_toml_lines(values, "")).lstrip("\n") + "\n"


def _toml_lines(values: dict[str, Any], prefix: str) -> Iterator[str]:
    inner = []
    for key, value in values.items():
        if isinstance(value, dict):
            inner.append((f"[{prefix}{toml_key(key)}]", key, value))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            inner += [(f"[[{prefix}{toml_key(key)}]]", key, item) for item in value]
        else:
            yield f"{toml_key(key)} = {_toml(value)}"  # before any table, or it would belong to that
    for header, key, table in inner:
        yield f"\n{header}"
        yield from _toml_lines(table, f"{prefix}{toml_key(key)}.")


def _toml(value: object) -> str:
    return json.dumps(
        value, ensure_ascii=False, default=str
    )  # what JSON can write of texts, numbers and lists is TOML too


def _table(name: str, model: type[BaseModel], names: dict[type[BaseModel], str]) -> str:
    header = _HEADERS.get(name, f"`[{name}]`")
    lines = [f"## {header}", "", model.__doc__ or "", ""]
    if parent := names.get(model.__base__ or model):
        return "\n".join([*lines, f"Its keys are those of `[{parent}]`.", ""])
    rows = [_row(field.alias or key, field) for key, field in model.model_fields.items() if inner_table(field) is None]
    if not rows:
        return "\n".join(lines)
    return "\n".join([*lines, "| Key | Value | Default | Meaning |", "| --- | --- | --- | --- |", *rows, ""])


def _row(key: str, field: FieldInfo) -> str:
    default = "needed" if field.is_required() else "" if field.default is None else f"`{_toml(field.default)}`"
    return f"| `{key}` | {_kind(field)} | {default} | {field.description} |"


def _kind(field: FieldInfo) -> str:
    low, high = (next((getattr(m, name) for m in field.metadata if hasattr(m, name)), None) for name in ("ge", "le"))
    if low is not None:
        return f"{low:,} to {high:,}"
    return _type_name(field.annotation)


def _type_name(annotation: Any) -> str:
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{_toml(value)}`" for value in arguments)
    if get_origin(annotation) is tuple:
        return f"[{_type_name(arguments[0])}, ...]"
    if get_origin(annotation) is dict:
        return f"{{{_type_name(arguments[0])} = {_type_name(arguments[1])}, ...}}"
    if NoneType in arguments:
        return _type_name(arguments[0])
    if hasattr(annotation, "__metadata__"):
        return _type_name(arguments[0])
    return _TYPE_NAMES[annotation]
