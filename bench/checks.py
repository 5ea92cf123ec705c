"""What was sent, and whether it arrived once, in order and unchanged: the checks of the load generator."""

from __future__ import annotations

from dataclasses import dataclass

FILL = "see you at the station around noon then, and bring the map please, it may rain all day long"


@dataclass
class Tally:
    """What became of everything sent in one run; all lanes of the run count here."""

    sent: int = 0
    delivered: int = 0
    duplicated: int = 0
    reordered: int = 0
    foreign: int = 0
    refused: int = 0

    @property
    def lost(self) -> int:
        """How many have not arrived (yet)."""
        return self.sent - self.delivered

    @property
    def clean(self) -> bool:
        """Whether something was sent, and everything arrived once, in order, unchanged and unrefused."""
        faults = (self.lost, self.duplicated, self.reordered, self.foreign, self.refused)
        return self.sent > 0 and not any(faults)


class Lane:
    """The bodies on their way from one sender to one receiver."""

    def __init__(self, tally: Tally, name: str, length: int = 60) -> None:
        """Make an empty lane. `name` has no spaces and tells its bodies from all others; `length` is theirs."""
        self.sent = 0
        self._tally = tally
        self._prefix = f"{name} "
        self._length = length
        self._latest = -1
        self._under_way: dict[str, tuple[int, int]] = {}

    def _body(self, number: int) -> str:
        return f"{self._prefix}{number} {FILL}"[: self._length]

    def next_body(self, when: int) -> str:
        """Return the body to send next, noted as sent at `when` (nanoseconds)."""
        number = self.sent
        self.sent = number + 1
        self._tally.sent += 1
        body = self._body(number)
        self._under_way[body] = number, when
        return body

    def arrived(self, body: str) -> int | None:
        """Count a body that has come in. Return when it was sent, or None if it should not have come."""
        expected = self._under_way.pop(body, None)
        if expected is None:
            if self._was_sent(body):
                self._tally.duplicated += 1
            else:
                self._tally.foreign += 1
            return None
        number, when = expected
        self._tally.delivered += 1
        if number < self._latest:
            self._tally.reordered += 1
        else:
            self._latest = number
        return when

    def _was_sent(self, body: str) -> bool:
        number = body.removeprefix(self._prefix).partition(" ")[0]
        return number.isdecimal() and int(number) < self.sent and body == self._body(int(number))
