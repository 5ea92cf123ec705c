"""Two servers in one memory: chat, presence and subscriptions over s2s, with TLS and certificates (RFC 6120, 6121)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.internet import Internet
from tests.streams import chat


@pytest.fixture
def internet(tmp_path: Path) -> Iterator[Internet]:
    internet = Internet(tmp_path)
    yield internet
    internet.close()


def test_a_message_there_and_back(internet: Internet) -> None:
    one, two = internet.site("one.example"), internet.site("two.example")
    romeo, juliet = one.login("romeo"), two.login("juliet")
    juliet.send("<presence/>")
    juliet.hears()
    romeo.send(chat("Hello", "juliet@two.example"))
    internet.wait(1)
    assert juliet.hears() == [
        "<message from='romeo@one.example/here' to='juliet@two.example' type='chat'><body>Hello</body></message>"
    ]
    [stream] = one.streams()
    assert (stream.authentication, stream.tls_version) == ("certificate", "TLSv1.3")
