"""What all servers of a test of federation have in common: they are real ones, on loopback only."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import count
from pathlib import Path
from typing import ClassVar

from tests.live.server import PATIENCE, wait_for
from vrxmpp.net.tls import CertificateFiles


class Policy(Enum):
    """What another domain must show before a peer believes its name."""

    CERTIFICATE = "certificate"  # of an authority that is trusted; no dialback
    DIALBACK = "dialback"  # and no authority is trusted, so no certificate counts
    EITHER = "certificate-if-valid"


class Peer(ABC):
    """One real server, on a loopback address of its own. Its ports stay the same when it is started again.

    ``hosts`` are the domains it serves, each with its certificate; ``resolver`` is the name server it asks.
    """

    needs: ClassVar[Sequence[str]]  # patterns of the files without which it is not installed

    def __init__(
        self,
        directory: Path,
        hosts: Sequence[CertificateFiles],
        *,
        ca_file: Path,
        resolver: tuple[str, int],
        policy: Policy = Policy.CERTIFICATE,
    ) -> None:
        self.directory = directory
        self.hosts = hosts
        self.ca_file = ca_file
        self.resolver = resolver
        self.policy = policy
        self.domain = hosts[0].domain
        self.address = own_address()
        ports = free_ports(self.address, 4)
        self.s2s_port, self.s2s_direct_tls_port, self.c2s_port, self.admin_port = ports
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)

    # -- what each kind does its own way

    @classmethod
    def installed(cls) -> bool:
        """Whether it is on this machine."""
        return all(any(Path("/").glob(pattern)) for pattern in cls.needs)

    @abstractmethod
    def prepare(self) -> Sequence[str | Path]:
        """Write its configuration; return the command that serves in the foreground."""

    def environment(self) -> Mapping[str, str]:
        """Return what the command needs in its environment besides ours."""
        return {}

    @abstractmethod
    def add_account(self, name: str, domain: str) -> None:
        """Make an account with the password that all test accounts have."""

    def keeps(self, name: str) -> bool:
        """Whether an account would survive that the server is killed now."""
        return True

    # -- the process

    @property
    def log(self) -> str:
        """All that it has written, in every life of it."""
        files = sorted(self.directory.glob("*.log"))
        return "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')}" for file in files)

    def start(self) -> None:
        """Start it and wait until it takes connections of other servers and of clients."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start it, but do not wait, so that several can start at once."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for host in self.hosts:  # where clients look for it, as tests.live.client does
            shutil.copy(host.certificate, self.directory / f"{host.domain}.crt")
        command = self.prepare()
        with (self.directory / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                env={**os.environ, **self.environment()},
            )

    def wait_until_ready(self) -> None:
        wait_for(self.is_ready, lambda: f"{self.domain} did not start:\n{self.log}")

    def is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self.domain} has ended:\n{self.log}"
        return answers(self.address, self.s2s_port) and answers(self.address, self.c2s_port)

    def stop(self) -> None:
        """End it in order, as an administrator does."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE)
            finally:
                self.kill()

    def kill(self) -> None:
        """End it without giving it a chance."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop it and start it again, with the accounts it has."""
        self.stop()
        self.start()

    def account(self, name: str, domain: str | None = None) -> str:
        """Make an account whose name begins so and that no other test has; return its address."""
        unique = f"{name}-{next(self._numbers)}"
        self.add_account(unique, domain or self.domain)
        return f"{unique}@{domain or self.domain}"


def own_address() -> str:
    """Return a loopback address that nobody else is likely to have."""
    return ".".join(str(part) for part in (127, *(random.randrange(1, 255) for _ in range(3))))


def free_ports(address: str, number: int) -> list[int]:
    """Return so many different ports of an address nobody listens on."""
    sockets = [socket.create_server((address, 0)) for _ in range(number)]
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def answers(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0
