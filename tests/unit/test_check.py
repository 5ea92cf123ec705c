"""``vrxmpp check``: the DNS records and certificates that others need, and what is wrong with those there are."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner, Result
from twisted.names import dns

from tests.authority import Authority
from vrxmpp.cli.main import cli
from vrxmpp.net.tls import CertificateFiles, make_self_signed

LIBRARY, MUSEUM, IDN = "library.example", "museum.example", "bücher.example"
HOST = "chat.library.example"
Run = Callable[..., Result]


@pytest.fixture
def vrxmpp(tmp_path: Path) -> Run:
    """Run a command with a configuration; a traceback fails the test."""

    def run(config: str, *arguments: str) -> Result:
        path = tmp_path / "vrxmpp.toml"
        path.write_text('state = "."\n' + config)
        result = CliRunner().invoke(cli, ["check", *arguments, "-c", str(path)], prog_name="vrxmpp")
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert "internal error" not in result.stderr
        return result

    return run


def hosts(*domains: str) -> str:
    return "".join(f'[[host]]\ndomain = "{domain}"\n' for domain in domains)


# -- DNS


class NameServer:
    """Answers from a table in a thread: SRV records, or with the code of an error."""

    def __init__(self) -> None:
        self.records: dict[str, list[tuple[int, int, int, str]]] = {}
        self.errors: dict[str, int] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.config = f'[s2s]\nresolver = "127.0.0.1:{self._socket.getsockname()[1]}"\n'
        self._thread = Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            data, address = self._socket.recvfrom(4096)
            if not data:
                return
            message = dns.Message()
            message.fromStr(data)
            [query] = message.queries
            name = query.name.name.decode()
            answer = dns.Message(message.id, answer=1, rCode=self.errors.get(name, dns.OK))
            answer.queries = [query]
            answer.answers = [
                dns.RRHeader(name, dns.SRV, ttl=60, payload=dns.Record_SRV(*record))  # type: ignore[arg-type]
                for record in self.records.get(name, ())
            ]
            self._socket.sendto(answer.toStr(), address)

    def stop(self) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """A command has the process to itself, and leaves the signals as a reactor wants them."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.fixture
def name_server() -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.stop()


def test_records_that_are_missing_are_told_as_for_a_zone_file(vrxmpp: Run, name_server: NameServer) -> None:
    name_server.errors[f"_xmpps-server._tcp.{LIBRARY}"] = dns.ENAME
    result = vrxmpp(name_server.config + hosts(LIBRARY), "dns", "--host", HOST)
    assert result.stdout.splitlines() == [
        "_xmpp-client._tcp.library.example. IN SRV 0 5 5222 chat.library.example. ; missing",
        "_xmpps-client._tcp.library.example. IN SRV 0 5 5223 chat.library.example. ; missing",
        "_xmpp-server._tcp.library.example. IN SRV 0 5 5269 chat.library.example. ; missing",
        "_xmpps-server._tcp.library.example. IN SRV 0 5 5270 chat.library.example. ; missing",
    ]
    assert result.exit_code == 1


def test_records_that_are_right(vrxmpp: Run, name_server: NameServer) -> None:
    """Names have no case, and which weight is right is not for us to say."""
    ports = {"_xmpp-client": 5222, "_xmpps-client": 5223, "_xmpp-server": 5269, "_xmpps-server": 5270}
    for service, port in ports.items():
        name_server.records[f"{service}._tcp.{LIBRARY}"] = [(10, 77, port, HOST.upper())]
    result = vrxmpp(name_server.config + hosts(LIBRARY), "dns", "--host", f"{HOST}.")
    assert [line.partition(" ; ")[2] for line in result.stdout.splitlines()] == ["right"] * 4
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([(0, 5, 5223, HOST)], "0 5 5223 chat.library.example."),
        ([(0, 5, 5222, "old.example")], "0 5 5222 old.example."),
        ([(0, 5, 5222, HOST), (1, 5, 5222, "b.example")], "0 5 5222 chat.library.example., 1 5 5222 b.example."),
        ([(0, 0, 0, "")], "0 0 0 ."),  # RFC 2782: no such service
        ([(0, 5, 5222, "\x1b[2J.example")], "0 5 5222 \\x1b[2J.example."),
    ],
)
def test_records_that_are_different(
    vrxmpp: Run, name_server: NameServer, records: list[tuple[int, int, int, str]], told: str
) -> None:
    name_server.records[f"_xmpp-client._tcp.{LIBRARY}"] = records
    result = vrxmpp(name_server.config + hosts(LIBRARY), "dns", "--host", HOST)
    [line] = [line for line in result.stdout.splitlines() if line.startswith("_xmpp-client.")]
    wanted = "_xmpp-client._tcp.library.example. IN SRV 0 5 5222 chat.library.example."
    assert line == f"{wanted} ; different: there is {told}"
    assert result.exit_code == 1


def test_a_record_for_what_is_not_offered(vrxmpp: Run, name_server: NameServer) -> None:
    """Only what others can reach is offered."""
    config = 'direct_tls = ["tcp:5270:interface=127.0.0.1"]\nstarttls = ["tcp:6269", "tcp6:6269", "unix:/x"]\n'
    name_server.records[f"_xmpps-server._tcp.{LIBRARY}"] = [(0, 5, 5270, HOST)]
    result = vrxmpp(name_server.config + config + hosts(LIBRARY), "dns", "--host", HOST)
    assert result.stdout.splitlines()[2:] == [
        "_xmpp-server._tcp.library.example. IN SRV 0 5 6269 chat.library.example. ; missing",
        "; _xmpps-server._tcp.library.example. different: there is 0 5 5270 chat.library.example., "
        "but nothing listens for it here",
    ]
    assert result.exit_code == 1


def test_what_is_not_known_is_not_missing(vrxmpp: Run, name_server: NameServer) -> None:
    name_server.errors[f"_xmpp-client._tcp.{LIBRARY}"] = dns.ESERVER
    result = vrxmpp(name_server.config + hosts(LIBRARY), "dns", "--host", HOST, "--json")
    first, *_, last = json.loads(result.stdout)
    assert (first["state"], first["found"]) == ("unknown", [])
    assert "DNSServerError" in first["reason"]
    assert last == {
        "name": "_xmpps-server._tcp.library.example.",
        "wanted": ["0 5 5270 chat.library.example."],
        "found": [],
        "state": "missing",
        "reason": "",
    }


def test_each_domain_needs_what_it_offers(vrxmpp: Run, name_server: NameServer) -> None:
    """A domain that does not federate nothing for servers, a component nothing for clients, an address nothing."""
    component = f'[[component]]\ndomain = "irc.{LIBRARY}"\nsecret = "x"\n'
    config = name_server.config + hosts(IDN) + "s2s.enabled = false\n" + hosts("192.0.2.1") + hosts(LIBRARY) + component
    result = vrxmpp(config, "dns", "--host", HOST)
    assert [line.partition(". ")[0].replace("._tcp", "") for line in result.stdout.splitlines()] == [
        "_xmpp-client.xn--bcher-kva.example",
        "_xmpps-client.xn--bcher-kva.example",
        *(f"{service}.{LIBRARY}" for service in ("_xmpp-client", "_xmpps-client", "_xmpp-server", "_xmpps-server")),
        f"_xmpp-server.irc.{LIBRARY}",
        f"_xmpps-server.irc.{LIBRARY}",
    ]


@pytest.mark.parametrize(
    ("listeners", "whom"),
    [
        ('starttls = ["tcp:1:interface=127.0.0.1", "tcp6:1:interface=\\\\:\\\\:1"]\ndirect_tls = ["unix:/x"]', ["s2s"]),
        ("starttls = []\ndirect_tls = []", ["s2s"]),
        ("enabled = false\nstarttls = []\ndirect_tls = []", []),
        ('starttls = []\ndirect_tls = ["systemd:INET:name=s2s"]', []),  # whoever passes sockets on may be asked
        ('starttls = []\ndirect_tls = []\n[c2s]\nstarttls = ["unix:/x"]\ndirect_tls = []', ["c2s", "s2s"]),
    ],
)
def test_where_nobody_elsewhere_can_connect_it_is_said(
    vrxmpp: Run, name_server: NameServer, listeners: str, whom: list[str]
) -> None:
    result = vrxmpp(f"{name_server.config}{listeners}\n" + hosts(LIBRARY), "dns", "--host", HOST)
    lines = result.stderr.splitlines()
    assert all(f": [{table}] has no listener for more" in line for table, line in zip(whom, lines, strict=True))
    assert result.exit_code == 1


def test_it_is_said_where_the_system_knows_no_name(
    vrxmpp: Run, name_server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is to be found needs one."""
    monkeypatch.setattr("socket.getfqdn", lambda: "localhost")
    local = "starttls = []\ndirect_tls = []\n"
    config = f"{name_server.config}{local}[c2s]\n{local}" + hosts("localhost", LIBRARY)
    result = vrxmpp(config, "dns")
    assert (result.stdout, result.exit_code) == ("", 1)
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == [
        "No client elsewhere can connect",
        "No server elsewhere can connect",
        "localhost is every machine's name for itself",
    ]
    result = vrxmpp(hosts(LIBRARY), "dns")
    assert "does not know the full name of this machine" in result.stderr
    assert result.exit_code == 2


def test_the_system_may_know_the_name(vrxmpp: Run, name_server: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getfqdn", lambda: HOST)
    result = vrxmpp(name_server.config + hosts(LIBRARY), "dns")
    assert result.stdout.startswith(f"_xmpp-client._tcp.{LIBRARY}. IN SRV 0 5 5222 {HOST}. ; missing")


@pytest.mark.parametrize("name", ["localhost", "", "192.0.2.1", "not a name.example"])
def test_the_machine_needs_a_name(vrxmpp: Run, name: str) -> None:
    result = vrxmpp(hosts(LIBRARY), "dns", "--host", name)
    assert "is not the full name of a machine" in result.stderr
    assert result.exit_code == 2


# -- certificates


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def certified(authority: Authority, *files: CertificateFiles) -> str:
    return f'[s2s]\nca_file = "{authority.ca_file}"\n' + "".join(
        f'[[host]]\ndomain = "{each.domain}"\ncertificate = "{each.certificate}"\nkey = "{each.key}"\n'
        for each in files
    )


def test_good_certificates_are_shown(vrxmpp: Run, authority: Authority) -> None:
    library = authority.issue(LIBRARY, MUSEUM, days=90)
    idn = authority.intermediate().issue(IDN, srv=["_xmpp-server.bücher.example".encode("idna").decode()], days=90)
    config = certified(authority, library, idn)
    result = vrxmpp(config, "certificates")
    assert (result.exit_code, result.stderr) == (0, "")
    first, second = (line.split("\t") for line in result.stdout.splitlines())
    assert first[:2] == [LIBRARY, "library.example, museum.example"]
    assert first[2].startswith("CN=Test Authority")
    assert second[1] == "xn--bcher-kva.example, _xmpp-server.xn--bcher-kva.example"
    found, _ = json.loads(vrxmpp(config, "certificates", "--json").stdout)
    assert found["expires"].startswith(first[3])
    assert (found["file"], found["problems"]) == (str(library.certificate), [])


def problems(result: Result, files: CertificateFiles) -> list[str]:
    """Return what is told of the one certificate there is."""
    assert result.exit_code == 1
    prefix = f"{files.domain}: {files.certificate}: "
    assert all(line.startswith(prefix) for line in result.stderr.splitlines())
    return [line.removeprefix(prefix) for line in result.stderr.splitlines()]


def test_a_certificate_that_ends_soon(vrxmpp: Run, authority: Authority) -> None:
    later, soon = authority.issue(LIBRARY, days=30), authority.issue(LIBRARY, days=29)
    assert vrxmpp(certified(authority, later), "certificates").exit_code == 0
    result = vrxmpp(certified(authority, soon), "certificates")
    assert problems(result, soon) == ["the certificate ends in 29 days"]


def test_a_certificate_that_has_expired(vrxmpp: Run, authority: Authority) -> None:
    files = authority.issue(LIBRARY, expired=True)
    [problem] = problems(vrxmpp(certified(authority, files), "certificates"), files)
    assert problem.startswith("the certificate has expired on ")


def test_a_certificate_for_somebody_else_that_nobody_vouches_for(
    vrxmpp: Run, authority: Authority, tmp_path: Path
) -> None:
    """All that is wrong is told at once."""
    files = Authority(tmp_path).issue(LIBRARY, wrong_name=MUSEUM, days=90)
    assert problems(vrxmpp(certified(authority, files), "certificates"), files) == [
        "the certificate has nobody known to vouch for it",
        "the certificate is for museum.example, not for library.example",
    ]


def test_a_component_is_in_the_certificate_of_its_domain(vrxmpp: Run, authority: Authority) -> None:
    """Which is the one it shows to other servers."""
    irc = f"irc.{LIBRARY}"
    config = f'[[component]]\ndomain = "{irc}"\nsecret = "x"\n'
    other, without = authority.issue(MUSEUM, days=90), authority.issue(LIBRARY, days=90)
    result = vrxmpp(config + certified(authority, other, without), "certificates")
    assert problems(result, without) == [f"the certificate is for {LIBRARY}, not for {irc}"]
    with_it = authority.issue(LIBRARY, irc, days=90)
    assert vrxmpp(config + certified(authority, other, with_it), "certificates").exit_code == 0


def test_a_key_of_something_else(vrxmpp: Run, authority: Authority) -> None:
    files, other = authority.issue(LIBRARY, days=90), authority.issue(LIBRARY)
    wrong = CertificateFiles(LIBRARY, files.certificate, other.key)
    assert problems(vrxmpp(certified(authority, wrong), "certificates"), wrong) == [
        f"the key {other.key} is not that of the certificate"
    ]


def test_files_that_cannot_be_read(vrxmpp: Run, authority: Authority) -> None:
    files = authority.issue(LIBRARY)
    files.certificate.write_text("nothing")
    result = vrxmpp(certified(authority, files), "certificates")
    assert problems(result, files) == ["holds no certificate in PEM"]
    files.certificate.unlink()
    result = vrxmpp(certified(authority, files), "certificates")
    assert problems(result, files) == ["cannot be read: No such file or directory"]


def test_authorities_that_cannot_be_read(vrxmpp: Run, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    result = vrxmpp('[s2s]\nca_file = "ca.pem"\n' + hosts(LIBRARY), "certificates")
    assert result.exit_code == 1
    assert "ca.pem: no certificates of authorities" in result.stderr


def test_a_certificate_of_our_own_making(vrxmpp: Run, tmp_path: Path) -> None:
    result = vrxmpp(hosts(LIBRARY), "certificates")
    assert result.exit_code == 1
    assert "there is none yet" in result.stderr
    files = CertificateFiles(LIBRARY, tmp_path / f"{LIBRARY}.crt", tmp_path / f"{LIBRARY}.key")
    make_self_signed(files.domain, files.certificate, files.key)
    assert problems(vrxmpp(hosts(LIBRARY), "certificates"), files) == ["the certificate is self-signed"]
