"""What all tests share: hypothesis does not look at the clock, as the machine may be busy."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("vrxmpp", deadline=None)
settings.load_profile("vrxmpp")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "tcp: opens sockets, on the loopback interface only")
