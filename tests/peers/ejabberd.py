"""ejabberd, as Debian packages it, as a server to federate with."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.live.server import PASSWORD
from tests.peers.peer import Peer, Policy


class Ejabberd(Peer):
    """ejabberd without distribution, so with no node name, no epmd and no cookie: many can run at once."""

    needs = ("usr/bin/erl", "usr/sbin/ejabberdctl")

    def prepare(self) -> Sequence[str | Path]:
        (self.directory / "ejabberd.yml").write_text(json.dumps(self._config()))  # JSON is YAML
        address, port = self.resolver
        lines = (
            '{resolv_conf,""}.',  # first, for it empties the list of name servers
            '{hosts_file,""}.',
            f"{{nameserver,{{{address.replace('.', ',')}}},{port}}}.",
            "{lookup,[dns]}.",
        )
        (self.directory / "inetrc").write_text("\n".join(lines))
        scheduling = ["+S", "1", "+SDcpu", "1", "+sbwt", "none"]  # one of many on this machine
        database = ["-mnesia", "dir", f'"{self.directory}/db"']
        return ["/usr/bin/erl", *scheduling, "-noinput", *database, "-s", "ejabberd"]

    def _config(self) -> Mapping[str, object]:
        trust = {} if self.policy is Policy.DIALBACK else {"s2s_cafile": str(self.ca_file)}
        return {
            "loglevel": "info",
            "log_rotate_count": 0,
            "hosts": [host.domain for host in self.hosts],
            "certfiles": [str(file) for host in self.hosts for file in (host.certificate, host.key)],
            **trust,
            "s2s_use_starttls": "required",
            "outgoing_s2s_families": ["ipv4"],
            "listen": [
                {"ip": self.address, "port": self.s2s_port, "module": "ejabberd_s2s_in"},
                {"ip": self.address, "port": self.s2s_direct_tls_port, "module": "ejabberd_s2s_in", "tls": True},
                {"ip": self.address, "port": self.c2s_port, "module": "ejabberd_c2s", "starttls": True},
                {
                    "ip": self.address,
                    "port": self.admin_port,
                    "module": "ejabberd_http",
                    "request_handlers": {"/api": "mod_http_api"},
                },
            ],
            "api_permissions": {"tests": {"who": [{"ip": "127.0.0.0/8"}], "what": ["register"]}},
            "modules": {
                "mod_admin_extra": {},
                "mod_caps": {},
                "mod_disco": {},
                "mod_offline": {},
                "mod_ping": {},
                "mod_roster": {},
                "mod_version": {},
                **({} if self.policy is Policy.CERTIFICATE else {"mod_s2s_dialback": {}}),
            },
        }

    def environment(self) -> Mapping[str, str]:
        """Set what ejabberdctl would set, and whom to ask for names."""
        libraries = {str(path.parent) for path in Path("/usr/lib").glob("*/ejabberd-*")}
        return {
            "HOME": str(self.directory),
            "ERL_LIBS": ":".join(libraries),
            "ERL_INETRC": f"{self.directory}/inetrc",
            "ERL_CRASH_DUMP": f"{self.directory}/crash.dump",
            "EJABBERD_CONFIG_PATH": f"{self.directory}/ejabberd.yml",
            "EJABBERD_LOG_PATH": f"{self.directory}/ejabberd.log",
        }

    def add_account(self, name: str, domain: str) -> None:
        account = json.dumps({"user": name, "host": domain, "password": PASSWORD}).encode()
        url = f"http://{self.address}:{self.admin_port}/api/register"
        request = urllib.request.Request(url, account, {"Content-Type": "application/json"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            answer.read()

    def keeps(self, name: str) -> bool:
        """Look into the file, for it takes some seconds until something is written to it."""
        return name.encode() in (self.directory / "db" / "passwd.DAT").read_bytes()
