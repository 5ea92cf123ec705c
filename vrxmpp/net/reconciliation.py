"""Whether the log has as many messages as were accepted and not refused: counted in it, and put on record each hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from vrxmpp.net.recorder import ArchiveError, Json

_COUNTED = ("accepted", "routed", "refused", "unarchived", "late", "lost", "archived")


class Reconciliation:
    """Counts in steps. What it compares is always of one moment: the totals, and the size that the log had then."""

    log = Logger()

    def __init__(self, ask: Callable[..., Deferred[Json]]) -> None:
        self._ask = ask
        self._until = 0  # how far has been counted
        self._counts: Counter[str] = Counter()  # up to there
        self._recorded: tuple[int, Counter[str]] = 0, Counter()  # the same for the last record
        self._is_counting = False
        self.missing = 0  # messages that should be in the log, and are not

    def begin(self, size: int) -> None:
        """Count from here on."""
        self._until = size
        self._recorded = size, Counter()

    async def count(self, size: int, totals: Counter[str]) -> None:
        """Count what has come since the last time; ``totals`` is all that was done with a log of this size."""
        if size == self._until or self._is_counting:
            return
        self._is_counting = True
        try:
            found = await self._ask("count", first=self._until, until=size)
        except ArchiveError as error:
            self.log.warn("the archive cannot be counted now: {reason}", reason=str(error))
        else:
            totals["archived"] = self._counts["archived"] + found
            self._until, self._counts = size, totals
            self._compare()
        finally:
            self._is_counting = False

    def _compare(self) -> None:
        counts = self._counts
        # What was given up, and written after all, is in the log as well.
        expected = counts["accepted"] - counts["refused"] - counts["unarchived"] + counts["late"]
        missing = expected - counts["archived"]
        if missing != self.missing:
            self.log.critical("of {all} messages, {missing} are not in the log", all=expected, missing=missing)
        self.missing = missing

    def take(self) -> dict[str, int]:
        """Return the facts of a record about what was counted since the last, if there is anything."""
        since, before = self._recorded
        if since == self._until:
            return {}
        self._recorded = self._until, self._counts
        return {"since": since, "until": self._until, **{name: self._counts[name] - before[name] for name in _COUNTED}}
