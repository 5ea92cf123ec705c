"""Prosody, as Debian packages it, as a server to federate with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.live.server import PASSWORD
from tests.peers.peer import Peer, Policy

# libunbound, which Prosody asks, leaves out name servers on the loopback interface unless it is told not to.
CONFIG = """\
run_as_root = true
daemonize = false
pidfile = "{directory}/prosody.pid"
data_path = "{directory}/data"
log = {{ debug = "{directory}/prosody.log" }}
plugin_paths = {{}}
unbound = {{
	resolvconf = false; hoststxt = false; forward = "{resolver}";
	options = {{ ["do-not-query-localhost:"] = "no"; ["module-config:"] = "iterator"; ["cache-max-ttl:"] = "1" }};
}}
use_ipv6 = false
modules_enabled = {{
	"disco"; "roster"; "saslauth"; "tls"; "dialback"; "ping"; "posix"; "offline"; "s2s_bidi"; "smacks"; "version";
}}
modules_disabled = {{ {disabled} }}
authentication = "internal_plain"
storage = "internal"
s2s_interfaces = {{ "{address}" }}
s2s_ports = {{ {s2s_port} }}
s2s_direct_tls_interfaces = {{ "{address}" }}
s2s_direct_tls_ports = {{ {s2s_direct_tls_port} }}
s2s_require_encryption = true
s2s_secure_auth = {secure}
c2s_interfaces = {{ "{address}" }}
c2s_ports = {{ {c2s_port} }}
c2s_direct_tls_ports = {{}}
c2s_require_encryption = false
ssl = {{ {trust} }}
"""

HOST = """
VirtualHost "{domain}"
	ssl = {{ certificate = "{certificate}"; key = "{key}"; {trust} }}
	s2s_direct_tls_ssl = {{ certificate = "{certificate}"; key = "{key}"; {trust} }}
"""


class Prosody(Peer):
    """Prosody. Of what it can do beyond the RFC, it has stream management and bidirectional streams."""

    needs = ("usr/bin/prosody", "usr/lib/*/lua/*/lunbound.so")

    def prepare(self) -> Sequence[str | Path]:
        strict = self.policy is Policy.CERTIFICATE
        trust = "" if self.policy is Policy.DIALBACK else f'cafile = "{self.ca_file}"'
        config = CONFIG.format(
            directory=self.directory,
            resolver="{}@{}".format(*self.resolver),
            disabled='"dialback"' if strict else "",
            address=self.address,
            s2s_port=self.s2s_port,
            s2s_direct_tls_port=self.s2s_direct_tls_port,
            c2s_port=self.c2s_port,
            secure=str(strict).lower(),
            trust=trust,
        )
        for host in self.hosts:
            config += HOST.format(domain=host.domain, certificate=host.certificate, key=host.key, trust=trust)
        path = self.directory / "prosody.cfg.lua"
        path.write_text(config)
        return ["/usr/bin/prosody", "--config", path, "-F"]

    def add_account(self, name: str, domain: str) -> None:
        """Write the file in which it looks when somebody logs in."""
        encoded = [part.replace("-", "%2d").replace(".", "%2e") for part in (domain, name)]
        path = self.directory / "data" / encoded[0] / "accounts" / f"{encoded[1]}.dat"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'return {{ ["password"] = "{PASSWORD}" }};\n')
