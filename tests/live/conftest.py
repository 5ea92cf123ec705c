"""Runs the tests that are coroutines, each in a loop of its own, and starts the servers they talk to."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.client import Client
from tests.live.server import CONFIG, Server

TEST_SECONDS = 60


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: Any) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    asyncio.run(_run(pyfuncitem.obj(**arguments)))
    return True


async def _run(test: Any) -> None:
    try:
        async with asyncio.timeout(TEST_SECONDS):
            await test
    finally:
        everyone, Client.everyone[:] = Client.everyone[:], []
        await asyncio.gather(*(client.disconnect(wait=1) for client in everyone if client.transport))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for all who leave it as they found it."""
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    server.account("admin@localhost")
    yield server
    server.kill()


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers for one test that changes them; not started."""
    servers = []

    def make(config: str = CONFIG, name: str = "s") -> Server:
        directory = tmp_path / name
        directory.mkdir()
        servers.append(Server(directory, config))
        return servers[-1]

    yield make
    for server in servers:
        server.kill()
