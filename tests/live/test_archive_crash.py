"""Whoever is killed, and whenever: what was accepted or heard is in the archive once, and was there before (R1, R2)."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.live.archive import children, is_running
from tests.live.crash import KILLED, UNHURRIED, Conversations
from tests.live.server import Server
from vrxmpp.audit.leaf import Type

KILLS = 8


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    server = make_server(UNHURRIED)
    server.start()
    return server


def test_what_was_accepted_or_heard_is_in_the_archive_once_whoever_is_killed(server: Server) -> None:
    with Conversations(server) as conversations:
        for roles in random.sample(KILLED * 2, k=KILLS):
            conversations.kill(*roles)
        assert server.stop() == 0
    conversations.check()


def test_ctrl_c_leaves_everything_written_and_no_process_behind(server: Server) -> None:
    all = dict(children(server.pid))
    with Conversations(server) as conversations:
        conversations.talk_a_little()
        server.interrupt()
        assert server.ended() == 0
        assert not any(map(is_running, all.values()))
        said = conversations.archive.records()
        server.start()
        conversations.listen(len(said))
        assert server.stop() == 0
    assert all.keys() == {"recorder", "notary"}
    conversations.check()
    counted = conversations.archive.records(Type.RECONCILE)[0].facts
    assert counted["accepted"] == counted["archived"] == counted["routed"] == len(said)
    sessions = [record.facts for record in conversations.archive.records(Type.SESSION)]
    begun, ended = (
        sorted(facts["session"] for facts in sessions if facts["event"] == event) for event in ("logged in", "ended")
    )
    assert begun == ended
