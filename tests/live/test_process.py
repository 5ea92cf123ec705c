"""The process among others: starting, refusing to start, reloading and stopping."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.client import login
from tests.live.raw import connection
from tests.live.server import BIN, CONFIG, Server, run, wait_for
from vrxmpp.net.tls import make_self_signed

FIRST_HOST = 'domain = "localhost"\n'
WITH_CERTIFICATE = CONFIG.replace(FIRST_HOST, FIRST_HOST + 'certificate = "mine.crt"\nkey = "mine.key"\n')
ANNOUNCE = "http://jabber.org/protocol/admin#announce"


# -- refusing to start


def refusal(server: Server, *options: str) -> tuple[int, str]:
    """Try to start; return the exit code and what was said."""
    outcome = run([BIN / "twistd", *options, "vrxmpp", "--config", server.config], server.directory)
    return outcome.returncode, outcome.stdout + outcome.stderr


def no_file(directory: Path) -> None:
    """Nothing is there."""


def no_certificate(directory: Path) -> None:
    for name in ("mine.crt", "mine.key"):
        (directory / name).write_text("nothing of that kind")


def key_of_another(directory: Path) -> None:
    make_self_signed("localhost", directory / "mine.crt", directory / "mine.key")
    make_self_signed("localhost", directory / "other.crt", directory / "mine.key")


def file_for_directory(directory: Path) -> None:
    (directory / "state").write_text("")


def no_right_to_write(directory: Path) -> None:
    (directory / "state").mkdir(mode=0o500)


def no_database(directory: Path) -> None:
    (directory / "state").mkdir()
    (directory / "state" / "vrxmpp.sqlite").write_text("this is no database, but it is long enough to look like one")


@pytest.mark.parametrize(
    ("config", "prepare", "exit_code", "said"),
    [
        ("state = [", no_file, 4, r"vrxmpp\.toml: is not TOML"),
        (CONFIG.replace("anonymous = true", "anonymus = true"), no_file, 4, 'did you mean "anonymous"'),
        (WITH_CERTIFICATE, no_file, 4, r"mine\.crt.*No such file"),
        (WITH_CERTIFICATE, no_certificate, 4, "holds no certificate"),
        (WITH_CERTIFICATE, key_of_another, 4, "does not belong to the certificate"),
        (CONFIG, file_for_directory, 5, "/state: is not a directory"),
        (CONFIG.replace('"state"', '"/proc/vrxmpp"'), no_file, 5, r"/proc/vrxmpp: No such file"),
        (CONFIG, no_database, 5, "not a database"),
        pytest.param(
            CONFIG,
            no_right_to_write,
            5,
            "/state: the state directory cannot be written to",
            marks=pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere"),
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    tmp_path: Path, config: str, prepare: Callable[[Path], None], exit_code: int, said: str
) -> None:
    server = Server(tmp_path, config)
    prepare(tmp_path)

    code, output = refusal(server, "-n", "--pidfile=")

    assert code == exit_code
    assert re.search(said, output)
    assert output.startswith("vrxmpp: ")
    assert "Traceback" not in output


def test_what_is_wrong_is_said_before_it_goes_into_the_background(tmp_path: Path) -> None:
    no_database(tmp_path)

    code, output = refusal(Server(tmp_path))

    assert (code, output) == (5, "vrxmpp: database: the file is not a database (SQLITE_NOTADB)\n")
    assert not (tmp_path / "twistd.pid").exists()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listener = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        code, output = refusal(Server(tmp_path, CONFIG.replace("tcp:0:interface=127.0.0.1", listener, 1)), "-n")

    assert (code, output) == (5, f"vrxmpp: {listener}: Address already in use\n")


def test_no_second_server_works_on_the_same_state(server: Server) -> None:
    code, output = refusal(server, "-n", "--pidfile=")

    assert (code, output) == (5, f"vrxmpp: {server.state}: another server is running in this state directory\n")
    server.ask({"command": "status"})


# -- starting


def test_the_first_lines_tell_what_to_do(make_server: Callable[..., Server]) -> None:
    server = make_server()
    server.start()

    assert f"listening on 127.0.0.1:{server.starttls} for clients, STARTTLS" in server.log
    assert f"listening on 127.0.0.1:{server.direct_tls} for clients, direct TLS" in server.log
    assert f"localhost has a self-signed certificate: {server.state}/localhost.crt" in server.log
    assert f"edit {server.config}" in server.log
    [command] = re.findall("to add a user: (.*)", server.log)
    added = run([*command.split(), "--password-stdin"], server.directory, "secret\n")
    assert added.stdout == "alice@localhost added\n"
    assert server.state.stat().st_mode & 0o777 == 0o700
    assert (server.state / "control.sock").stat().st_mode & 0o777 == 0o600


def test_it_runs_in_the_background(tmp_path: Path) -> None:
    server = Server(tmp_path)
    pidfile, log = tmp_path / "pid", tmp_path / "log"
    code, output = refusal(server, "--pidfile", str(pidfile), "--logfile", str(log))
    assert (code, output) == (0, "")
    wait_for(pidfile.exists, lambda: "no pidfile")
    pid = pidfile.read_text()
    try:
        server.wait_until_ready()
        assert server.ask({"command": "status"})["process"] == int(pid)
        assert "vrxmpp: " not in log.read_text()
    finally:
        subprocess.run(["kill", pid], check=True)
    wait_for(lambda: not pidfile.exists(), lambda: "the pidfile is still there")
    assert "Traceback" not in log.read_text()
    assert "Server Shut Down" in log.read_text()


# -- stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_clients_are_told_that_the_server_goes_down(
    make_server: Callable[..., Server], number: signal.Signals
) -> None:
    server = make_server()
    server.start()
    alice, bob = await login(server, server.user("alice")), await login(server, server.user("bob"), direct_tls=True)

    server.signal(number)

    for client in (alice, bob):
        await client.gone.wait()
        assert client.stream_error == "system-shutdown"
    assert server.ended() == 0
    assert "Traceback" not in server.log
    assert not (server.state / "control.sock").exists()


# -- reloading


def serial(server: Server) -> int:
    with connection(server.direct_tls) as client:
        client.encrypt()
        assert client.tls is not None
        certificate = client.tls.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        return certificate.serial_number


async def test_a_new_certificate_is_for_new_connections(make_server: Callable[..., Server]) -> None:
    server = make_server(WITH_CERTIFICATE)
    files = server.directory / "mine.crt", server.directory / "mine.key"
    make_self_signed("localhost", *files)
    (server.state).mkdir()
    (server.state / "localhost.crt").symlink_to(files[0])  # whom the client trusts
    server.start()
    alice = await login(server, server.user("alice"))
    old = serial(server)

    make_self_signed("localhost", *files)
    server.signal(signal.SIGHUP)
    server.wait_for_log("loaded again")

    assert serial(server) != old
    await alice.settle()
    await login(server, server.user("bob"))


async def test_a_mistake_in_a_new_configuration_changes_nothing(make_server: Callable[..., Server]) -> None:
    server = make_server(WITH_CERTIFICATE)
    files = server.directory / "mine.crt", server.directory / "mine.key"
    make_self_signed("localhost", *files)
    server.start()
    old = serial(server)

    files[0].write_text("")
    server.signal(signal.SIGHUP)
    server.wait_for_log("nothing is changed: ")
    server.config.write_text(WITH_CERTIFICATE.replace("[c2s]", "[c3s]"))
    server.signal(signal.SIGHUP)
    server.wait_for_log("nothing is changed: ", times=2)

    assert serial(server) == old
    assert 'host[0].certificate = "mine.crt": holds no certificate' in server.log
    assert "c3s: unknown key" in server.log
    assert "Traceback" not in server.log


async def test_what_can_be_changed_is_changed_and_the_rest_is_named(make_server: Callable[..., Server]) -> None:
    server = make_server()
    server.start()
    alice = await login(server, server.user("alice"))

    changed = CONFIG.replace('"library.example"', '"other.example"').replace("[c2s]", '[c2s]\ntls = "optional"')
    changed = changed.replace('admins = ["admin@localhost"]', f'admins = ["{alice.boundjid.bare}"]')
    server.config.write_text(f"{changed}\n[limits.stanza]\nbytes = 10_000\n")
    server.signal(signal.SIGHUP)
    server.wait_for_log("loaded again")
    server.wait_for_log("not changed before the next start: the domains, [c2s]")

    answer = await alice.plugin["xep_0050"].send_command("localhost", ANNOUNCE)
    assert answer["command"]["status"] == "executing", "alice administers the domain now"
    await login(server, "library.example", mechanism="ANONYMOUS")
    bob = await login(server, server.user("bob"))
    bob.send_message(alice.boundjid.full, "x" * 20_000)
    await bob.gone.wait()
    assert bob.stream_error == "policy-violation"
    assert "Traceback" not in server.log
