"""The real process: ``twistd vrxmpp`` on free loopback ports, in a directory of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from vrxmpp.admin import Keys, keys_to_json
from vrxmpp.cli.client import NotRunning, connect
from vrxmpp.negotiation.scram import derive_keys

BIN = Path(sys.executable).parent
PASSWORD = "correct horse"
ITERATIONS = 4096
PATIENCE = 30.0  # seconds for the machine to start or stop a process, however busy it is

CONFIG = f"""
state = "state"

[[host]]
domain = "localhost"
admins = ["admin@localhost"]

[[host]]
domain = "library.example"
anonymous = true

[c2s]
starttls = ["tcp:0:interface=127.0.0.1"]
direct_tls = ["tcp:0:interface=127.0.0.1"]

[s2s]
enabled = false

[authentication]
scram_iterations = {ITERATIONS}
"""


@cache
def keys(password: str = PASSWORD) -> Any:
    return keys_to_json(Keys(*derive_keys(password, ITERATIONS)))


class Server:
    """A server that is started, asked, signalled and killed. The system chooses its ports anew at each start."""

    def __init__(self, directory: Path, config: str = CONFIG) -> None:
        self.directory = directory
        self.config = directory / "vrxmpp.toml"
        self.config.write_text(config)
        self.state = directory / "state"
        self.starttls = self.direct_tls = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)

    # -- the process

    @property
    def log(self) -> str:
        """All that the process has written, in every life of it."""
        return (self.directory / "output").read_text()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self, *, ready: bool = True) -> None:
        """Start the process and, if it is meant to become ready, wait until it is."""
        with (self.directory / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [BIN / "twistd", "-n", "--pidfile=", "vrxmpp", "--config", self.config],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                process_group=0,
            )
        if ready:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        wait_for(self._is_ready, lambda: f"the server did not start:\n{self.log}")
        ports = [int(address.rpartition(":")[2]) for address in self.ask({"command": "status"})["listeners"]]
        self.starttls, self.direct_tls = ports

    def _is_ready(self) -> bool:
        if self.process is not None:
            assert self.process.poll() is None, f"the server has ended:\n{self.log}"
        try:
            with connect(self.state / "control.sock"):
                return True
        except NotRunning:
            return False

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def interrupt(self) -> None:
        """Do as a terminal does when somebody types Ctrl-C: tell all processes."""
        os.killpg(self.pid, signal.SIGINT)

    def ended(self) -> int:
        """Wait for the end of the process; return its exit code."""
        assert self.process is not None
        code = self.process.wait(PATIENCE)
        self.process = None
        return code

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.ended()

    def kill(self) -> None:
        """End the process without giving it a chance."""
        if self.process is not None:
            self.process.kill()
            self.ended()

    def wait_for_log(self, text: str, times: int = 1) -> None:
        wait_for(lambda: self.log.count(text) >= times, lambda: f"{text!r} is not in the log:\n{self.log}")

    # -- administration

    def ask(self, request: dict[str, object]) -> Any:
        """Put a request to the control socket, without the second that the command takes to start."""
        with connect(self.state / "control.sock") as ask:
            return ask(request)

    def user(self, name: str, domain: str = "localhost") -> str:
        """Make an account whose name begins so and that no other test has; return its address."""
        return self.account(f"{name}-{next(self._numbers)}@{domain}")

    def account(self, jid: str) -> str:
        self.ask({"command": "user add", "jid": jid, "keys": keys()})
        return jid

    def vrxmpp(self, *arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command."""
        return run([BIN / "vrxmpp", "--config", self.config, *arguments], self.directory, stdin)


def run(command: Sequence[str | Path], directory: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command to its end, from ``directory``."""
    return subprocess.run(
        command, cwd=directory, input=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def wait_for(condition: Any, explain: Any) -> None:
    """Wait until ``condition()`` holds; fail with ``explain()`` if it never does."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, explain()
        time.sleep(0.05)
