"""A line of JSON, as the archive writes it (RFC 8259): what a record says, and a file of keys."""

from __future__ import annotations

import json
from typing import Any


def json_line(value: dict[str, Any]) -> bytes:
    """Write an object as one line, its end included."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
