"""The archive is verified each day, and what was found is recorded in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from tests.offices import Archive, message
from vrxmpp.net.verification import Report, Verification, VerificationError, verify_by_process

HOUR = 3600.0
SOUND = {"size": 7, "records": 7, "found": 0, "problems": [], "seconds": 0.5}
DAMAGED = SOUND | {"found": 1, "problems": [{"index": 3, "what": "its payload was changed"}]}


class Notes:
    """An archive that keeps what is noted."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, dict[str, object]]] = []

    def note(self, type: str, conversation: str, **facts: object) -> None:
        self.notes.append((type, facts))


class Scene:
    """A verification whose verifier finds what a test says."""

    def __init__(self) -> None:
        self.clock, self.notes = Clock(), Notes()
        self.finds: Report | Exception = SOUND
        self.times = 0
        self.verification = Verification(self._verify, self.notes, self.clock, self._at_once)  # type: ignore[arg-type]
        self.verification.start()

    def _verify(self) -> Report:
        self.times += 1
        if isinstance(self.finds, Exception):
            raise self.finds
        return self.finds

    def _at_once(self, work: Any) -> Deferred[Any]:
        return succeed(work()) if not isinstance(self.finds, Exception) else Deferred.fromCoroutine(self._fails(work))

    async def _fails(self, work: Any) -> Any:
        return work()

    def wait(self, hours: int) -> None:
        self.clock.pump([HOUR] * hours)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_it_is_verified_an_hour_after_the_start_and_each_day(scene: Scene) -> None:
    assert scene.verification.status() == {"seconds_ago": None, "problems": None, "trouble": ""}
    scene.wait(1)
    assert scene.times == 1
    scene.wait(22)
    assert scene.times == 1
    scene.wait(1)
    assert scene.times == 2
    assert scene.notes.notes[0] == ("verify", {"size": 7, "records": 7, "problems": 0, "seconds": 0.5})


def test_what_is_wrong_is_recorded_and_told(scene: Scene) -> None:
    scene.finds = DAMAGED
    scene.wait(1)
    assert scene.verification.status() == {"seconds_ago": 0.0, "problems": 1, "trouble": ""}
    assert scene.notes.notes[0][1]["problems"] == 1


def test_a_verifier_that_fails_is_tried_again_each_hour(scene: Scene) -> None:
    scene.finds = VerificationError("it takes too long")
    scene.wait(2)
    assert scene.times == 2
    assert scene.verification.status()["trouble"] == "it takes too long"
    assert scene.notes.notes == []


def test_after_the_end_nothing_is_verified(scene: Scene) -> None:
    scene.verification.stop()
    scene.wait(3)
    assert scene.times == 0


def test_the_real_verifier_reads_a_real_log(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.add(message("hello"))
    report = verify_by_process(tmp_path / "audit")()
    assert (report["size"], report["found"]) == (1, 0)
    with pytest.raises(VerificationError, match="nowhere"):
        verify_by_process(tmp_path / "nowhere")()
