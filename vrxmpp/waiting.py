"""Work that could not be finished at once."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

Waiting = Coroutine[Any, Any, None]
"""The rest of a piece of work that had to wait; whoever gets one must run it."""
