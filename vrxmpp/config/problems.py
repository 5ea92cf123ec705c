"""What can be wrong with a configuration, said in one line each, in words for the person who runs the server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

_THE_KEY = "[key]"  # stands in a location where pydantic means the key itself, not what is under it
_NOT_SHOWN = (("secret",), ("root_key",), (_THE_KEY,))  # where there is, or may be by mistake, what must not be told


@dataclass(frozen=True)
class Problem:
    """One mistake: in which file, under which key, what stands there (secrets hidden) and what would be right."""

    file: Path
    key: str
    value: str
    hint: str

    def __str__(self) -> str:
        value = f" = {self.value}" if self.value else ""
        where = f"{self.key}{value}: " if self.key else ""
        return f"{self.file}: {where}{self.hint}"


class ConfigError(Exception):
    """The configuration cannot be used; ``problems`` says all that is wrong with it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def hide_secrets(text: str) -> str:
    """Replace the password in each URL of ``text`` by ``***``."""
    return re.sub(r"(://[^/@:\s]*):[^\s]*@", r"\1:***@", text)


def tables(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield every table of the file with its name as TOML writes it, the top level (named "") first."""
    yield prefix, model
    for name, field in model.model_fields.items():
        if table := inner_table(field):
            key = field.alias or name
            yield from tables(table, f"{prefix}.{key}" if prefix else key)


def inner_table(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of the table, or tables, that a field holds, if any."""
    types = (field.annotation, *get_args(field.annotation))
    return next((type_ for type_ in types if isinstance(type_, type) and issubclass(type_, BaseModel)), None)


def keys(model: type[BaseModel]) -> list[str]:
    """Return the keys a table may have."""
    return [field.alias or name for name, field in model.model_fields.items()]


def problems(error: ValidationError, model: type[BaseModel], file: Path) -> list[Problem]:
    """Translate what pydantic found into problems, in the order of the models."""
    return [_problem(details, model, file) for details in error.errors(include_url=False)]


def _problem(details: ErrorDetails, model: type[BaseModel], file: Path) -> Problem:
    key = _key(details["loc"])
    if details["type"] == "extra_forbidden":
        return Problem(file, key, "", f"unknown key{_suggestion(details['loc'], model)}")
    if details["type"] == "missing":
        return Problem(file, key, "", "is missing")
    hidden = details["loc"][-1:] in _NOT_SHOWN
    return Problem(file, key, "" if hidden else _shown(details["input"]), _hint(details))


def _key(location: tuple[int | str, ...]) -> str:
    """Return where something is as TOML writes it."""
    return "".join(
        f"[{part}]" if isinstance(part, int) else f".{toml_key(part)}" for part in location if part != _THE_KEY
    ).lstrip(".")


def toml_key(key: str) -> str:
    """Return a key in quotes where it needs them."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def _suggestion(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    known = {name: keys(table) for name, table in tables(model)}
    *parents, key = location
    here = ".".join(part for part in parents if isinstance(part, str))
    if here not in known:  # a table under a name of its own, such as [s2s.peer."old.example"]
        here = ".".join(str(part) for part in parents[:-1])
    if near := get_close_matches(str(key), known[here], n=1):
        return f'; did you mean "{near[0]}"?'
    if elsewhere := [table for table, names in known.items() if key in names]:
        table = min(elsewhere, key=lambda name: name != here.rpartition(".")[2])  # [host.s2s] is more like [s2s]
        return f"; it belongs in [{table}]" if table else "; it belongs above the first [table]"
    return ""


def _shown(value: object) -> str:
    if value is None or isinstance(value, dict | BaseModel):  # a table may hold secrets
        return ""
    text = hide_secrets(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= 80 else text[:77] + "..."


_HINTS = {
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "string_type": "must be a text in quotes",
    "path_type": "must be a path in quotes",
    "tuple_type": "must be a list: [...]",
    "model_type": "must be a table",
    "dict_type": "must be a table",
}


def _hint(details: ErrorDetails) -> str:
    context: dict[str, Any] = details.get("ctx", {})
    match details["type"]:
        case "literal_error":
            return "must be " + str(context["expected"]).replace("'", '"')
        case "greater_than_equal":
            return f"must be at least {context['ge']}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
        case "tuple_type" if isinstance(details["input"], dict):
            return f"must be a list of tables: [[{_key(details['loc'])}]]"
        case "value_error":
            return str(context["error"])
        case kind:
            return _HINTS.get(kind, details["msg"])
