"""vrxmpp itself, as a server among others."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.live.server import keys
from tests.peers.peer import Peer
from vrxmpp.cli.client import NotRunning, connect

CONFIG = """\
state = "state"

[c2s]
starttls = ["tcp:{c2s_port}:interface={address}"]
direct_tls = []

[s2s]
starttls = ["tcp:{s2s_port}:interface={address}"]
direct_tls = ["tcp:{s2s_direct_tls_port}:interface={address}"]
resolver = "{resolver}"
ca_file = "{ca_file}"
authentication = "{authentication}"

[limits.s2s]
queue_seconds = 5

[authentication]
scram_iterations = 4096
"""

HOST = """
[[host]]
domain = "{domain}"
certificate = "{certificate}"
key = "{key}"
"""


class Vrxmpp(Peer):
    """vrxmpp trusts the authority whatever the policy is, which tells itself whether that counts."""

    needs = ()

    def prepare(self) -> Sequence[str | Path]:
        config = CONFIG.format(
            c2s_port=self.c2s_port,
            s2s_port=self.s2s_port,
            s2s_direct_tls_port=self.s2s_direct_tls_port,
            address=self.address,
            resolver="{}:{}".format(*self.resolver),
            ca_file=self.ca_file,
            authentication=self.policy.value,
        )
        for host in self.hosts:
            config += HOST.format(domain=host.domain, certificate=host.certificate, key=host.key)
        path = self.directory / "vrxmpp.toml"
        path.write_text(config)
        return [Path(sys.executable).parent / "twistd", "-n", "--pidfile=", "vrxmpp", "--config", path]

    def is_ready(self) -> bool:
        if not super().is_ready():
            return False
        try:
            with connect(self.directory / "state" / "control.sock"):
                return True
        except NotRunning:
            return False

    def add_account(self, name: str, domain: str) -> None:
        with connect(self.directory / "state" / "control.sock") as ask:
            ask({"command": "user add", "jid": f"{name}@{domain}", "keys": keys()})
