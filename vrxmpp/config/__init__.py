"""The configuration: one TOML file, validated as a whole, all its mistakes told at once."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from vrxmpp.config.components import Component
from vrxmpp.config.limits import AccountLimits
from vrxmpp.config.models import Config, Host
from vrxmpp.config.problems import ConfigError, Problem, problems
from vrxmpp.config.s2s import ServerConnections
from vrxmpp.config.tables import Reading

__all__ = [
    "DEFAULT_PATHS",
    "EXAMPLE",
    "AccountLimits",
    "Component",
    "Config",
    "ConfigError",
    "Host",
    "Problem",
    "ServerConnections",
    "find",
    "load",
    "parse",
]

DEFAULT_PATHS = (Path("vrxmpp.toml"), Path("/etc/vrxmpp/vrxmpp.toml"))
EXAMPLE = Path(__file__).with_name("example.toml")


def find() -> Path:
    """Return the file to read where none is named: ``vrxmpp.toml`` here, else in ``/etc/vrxmpp``. Raise ConfigError."""
    for path in DEFAULT_PATHS:
        if path.exists():
            return path
    raise ConfigError(
        [Problem(DEFAULT_PATHS[0], "", "", f"does not exist, nor does {DEFAULT_PATHS[1]}; use --config FILE")]
    )


def load(path: Path, *, files: bool = False) -> Config:
    """Read the file at ``path``. Raise ConfigError with everything that is wrong with it.

    With ``files``, look at the certificates and keys it names, too.
    """
    try:
        return parse(path.read_text(encoding="utf-8"), path, files=files)
    except OSError as error:
        raise ConfigError([Problem(path, "", "", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem(path, "", "", "is not UTF-8 text")]) from None


def parse(text: str, path: Path, *, files: bool = False) -> Config:
    """Understand the text of a file that is, or would be, at ``path``. Raise ConfigError."""
    try:
        return Config.model_validate(tomllib.loads(text), context=Reading(path.absolute().parent, files))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(path, "", "", f"is not TOML: {error}")]) from None
    except ValidationError as error:
        raise ConfigError(problems(error, Config, path)) from None
