"""What the tests of connections share: servers, an archive that is played, and the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogEvent, globalLogPublisher

from tests.house import House
from tests.internet import Internet
from tests.recorder import Scene


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture
def build(certificates: Path) -> Iterator[Callable[..., House]]:
    """Build servers as the test wants them."""
    houses: list[House] = []

    def build(**settings: object) -> House:
        house = House(certificates, **settings)  # type: ignore[arg-type]
        house.add("romeo", "juliet")
        houses.append(house)
        return house

    yield build
    for house in houses:
        house.close()


@pytest.fixture
def house(build: Callable[..., House]) -> House:
    """One where TLS is optional."""
    return build()


@pytest.fixture
def internet(tmp_path: Path) -> Iterator[Internet]:
    """Return a network with an authority, to which the test adds servers."""
    internet = Internet(tmp_path)
    yield internet
    internet.close()


@pytest.fixture
def log() -> Iterator[list[LogEvent]]:
    """Collect what is logged."""
    events: list[LogEvent] = []
    observer: Any = events.append
    globalLogPublisher.addObserver(observer)
    yield events
    globalLogPublisher.removeObserver(observer)


@pytest.fixture
def scene() -> Scene:
    """An archive whose recorder does what the test says, and is ready."""
    scene = Scene()
    scene.recorder.ready()
    return scene
