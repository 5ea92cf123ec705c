"""The servers under test: each started afresh in a directory of its own, on free loopback ports, pinned to one core."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import importlib.metadata
import json
import os
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DOMAINS = ("one.example", "two.example")
PASSWORD = "secret"
TEMPLATES = Path(__file__).parent / "templates"
START = 60.0  # seconds a server may take to answer
STOP = 20.0  # seconds it may take to end, before it is killed


class NotRunningError(Exception):
    """A server could not be started."""


@dataclass(frozen=True)
class Place:
    """Where a server runs and what it is to serve. Accounts are u0, u1 and so on, `users` of them.

    The one other server it knows need not run. `archived`: what is said is kept in the server's archive.
    """

    directory: Path
    domain: str
    users: int
    port: int
    direct_port: int
    s2s_port: int
    peer_domain: str
    peer_s2s_port: int
    archived: bool = False

    def write(self, name: str, text: str) -> Path:
        """Write a file into the directory; return its path."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def read(self, name: str) -> str:
        """Return the text of a file in the directory."""
        return (self.directory / name).read_text()

    def fill(self, template: str) -> Path:
        """Write a configuration file from the template of that name; return its path."""
        values = {**asdict(self), "templates": TEMPLATES}
        values |= {"archived": str(self.archived).lower()}
        values |= {"if_archived_lua": "" if self.archived else "-- ", "if_archived_yml": "" if self.archived else "# "}
        return self.write(template, Template((TEMPLATES / template).read_text()).substitute(values))


@dataclass(frozen=True)
class ScramRecord:
    """What a server stores of the password (RFC 5802 §3), made once instead of once an account."""

    salt: bytes = b"bench-salt-bench-salt"
    iterations: int = 4096

    @property
    def keys(self) -> tuple[bytes, bytes]:
        """StoredKey and ServerKey of SCRAM-SHA-1."""
        salted = hashlib.pbkdf2_hmac("sha1", PASSWORD.encode(), self.salt, self.iterations)
        client_key = hmac.digest(salted, b"Client Key", "sha1")
        return hashlib.sha1(client_key).digest(), hmac.digest(salted, b"Server Key", "sha1")


class Peer(ABC):
    """One kind of server. `needs` are the files without which it is not installed."""

    name: str
    needs: tuple[Path, ...]

    @property
    def installed(self) -> bool:
        """Whether it is on this machine."""
        return all(path.exists() for path in self.needs)

    @property
    def version(self) -> str:
        """Its version, as Debian counts."""
        query = ["dpkg-query", "--show", "--showformat=${Version}", self.name]
        return subprocess.run(query, capture_output=True, text=True, check=False).stdout or "of unknown version"

    @abstractmethod
    def prepare(self, place: Place) -> list[str]:
        """Write configuration and accounts; return the command that serves in the foreground."""

    def environment(self, place: Place) -> dict[str, str]:
        """Return what the command needs in its environment besides ours."""
        return {}

    @abstractmethod
    def federated(self, place: Place) -> bool:
        """Whether the running server says that the other one has proven its domain by its certificate over TLS."""


class Vrxmpp(Peer):
    """This project, as an administrator starts it, with its limits raised."""

    name = "vrxmpp"
    _bin = Path(sys.executable).parent
    needs = (_bin / "twistd", _bin / "vrxmpp")
    version = importlib.metadata.version("vrxmpp")

    def prepare(self, place: Place) -> list[str]:
        """Import the accounts into the stopped server."""
        config = place.fill("vrxmpp.toml")
        accounts = place.write("accounts.csv", "".join(f"u{n}@{place.domain},{PASSWORD}\n" for n in range(place.users)))
        self._administer(place, "user", "import", str(accounts))
        pidfile = place.directory / "twistd.pid"
        return [str(self._bin / "twistd"), "--nodaemon", f"--pidfile={pidfile}", "vrxmpp", "-c", str(config)]

    def federated(self, place: Place) -> bool:
        """Ask its administration."""
        answer = self._administer(place, "s2s", "status", place.peer_domain, "--json")
        streams = json.loads(answer)["streams"]
        return bool(streams) and all(each["authentication"] == "certificate" and each["tls"] for each in streams)

    def _administer(self, place: Place, *arguments: str) -> str:
        command = [str(self._bin / "vrxmpp"), "--config", f"{place.directory}/vrxmpp.toml", *arguments]
        return run_to_end(command, place, self.environment(place))


class Prosody(Peer):
    """Prosody as Debian packages it: internal storage, epoll."""

    name = "prosody"
    needs = (Path("/usr/bin/prosody"),)

    def prepare(self, place: Place) -> list[str]:
        """Write the account files of its internal_hashed storage."""
        record = ScramRecord(iterations=10_000)  # its default
        stored_key, server_key = record.keys
        account = (
            f'return {{ ["iteration_count"] = {record.iterations}; ["salt"] = "{record.salt.decode()}"; '
            f'["stored_key"] = "{stored_key.hex()}"; ["server_key"] = "{server_key.hex()}"; }};\n'
        )
        for number in range(place.users):
            place.write(f"data/{place.domain.replace('.', '%2e')}/accounts/u{number}.dat", account)
        return ["/usr/bin/prosody", "--config", str(place.fill("prosody.cfg.lua")), "-F"]

    def federated(self, place: Place) -> bool:
        """Look into its log."""
        return f"Accepting SASL EXTERNAL identity from {place.peer_domain}" in place.read("prosody.log")


class Ejabberd(Peer):
    """ejabberd as Debian packages it: Mnesia, SCRAM passwords; without distribution, so no epmd and no cookie."""

    name = "ejabberd"
    needs = (Path("/usr/bin/erl"), Path("/usr/sbin/ejabberdctl"))

    def prepare(self, place: Place) -> list[str]:
        """Write the accounts as an export (XEP-0227) and let it import them."""
        record = ScramRecord(iterations=4096)  # its default
        # Twice, as its own exports: what it stores, and encodes for an export, is Base64 already.
        encoded = [base64.b64encode(base64.b64encode(part)).decode() for part in (*record.keys, record.salt)]
        password = "scram:" + ",".join([*encoded, str(record.iterations)])
        users = "".join(f"<user name='u{number}' password='{password}'/>" for number in range(place.users))
        export = f"<server-data xmlns='urn:xmpp:pie:0'><host jid='{place.domain}'>{users}</host></server-data>"
        accounts = place.write("accounts.xml", export)
        place.fill("ejabberd.yml")
        place.write("inetrc", '{lookup, [file]}.\n{resolv_conf, ""}.\n{hosts_file, ""}.\n')
        # Without a name server, Erlang still believes what it remembers of one: how to reach the other server.
        service = f'"_xmpp-server._tcp.{place.peer_domain}", in, srv'
        route = f'inet_db:add_rr({service}, 86400, {{0, 0, {place.peer_s2s_port}, "127.0.0.1"}}).'
        command = ["/usr/bin/erl", "+K", "true", "-noinput", "-mnesia", "dir", f'"{place.directory}/db"']
        command += ["-eval", route, "-s", "ejabberd"]
        # By a process that ends before the measured one begins, for an import leaves much memory used.
        load = f'ok = ejabberd_piefxis:import_file("{accounts}"), init:stop().'
        run_to_end([*command, "-eval", load], place, self.environment(place))
        return command

    def environment(self, place: Place) -> dict[str, str]:
        """Set what ejabberdctl would set."""
        libraries = {str(path.parent) for path in Path("/usr/lib").glob("*/ejabberd-*")}
        return {
            "HOME": str(place.directory),
            "ERL_LIBS": ":".join(libraries),
            "ERL_MAX_PORTS": "32000",
            "ERL_INETRC": f"{place.directory}/inetrc",
            "ERL_CRASH_DUMP": f"{place.directory}/crash.dump",
            "EJABBERD_CONFIG_PATH": f"{place.directory}/ejabberd.yml",
            "EJABBERD_LOG_PATH": f"{place.directory}/ejabberd.log",
        }

    def federated(self, place: Place) -> bool:
        """Look into its log."""
        return f"Accepted inbound s2s EXTERNAL authentication {place.peer_domain} ->" in place.read("ejabberd.log")


def run_to_end(command: list[str], place: Place, environment: dict[str, str]) -> str:
    """Run a command for a server; return what it prints. Raise NotRunningError if it fails."""
    done = subprocess.run(
        command, cwd=place.directory, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NotRunningError(f"{command[0]}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


PEERS = {peer.name: peer for peer in (Prosody(), Ejabberd(), Vrxmpp())}


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Let everything started in a with block run on one core only, from its first instruction: servers count cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def running(peer: Peer, place: Place, core: int) -> Iterator[int]:
    """Run a server on one core for the length of a with block, whatever ends it; give its pid."""
    command = peer.prepare(place)
    log = place.directory / "output"
    with log.open("wb") as output, pinned(core):
        process = subprocess.Popen(
            command,
            cwd=place.directory,
            env=os.environ | peer.environment(place),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C reaches us alone and the server is stopped in order
        )
    try:
        _wait_until_ready(peer, place, process)
        yield process.pid
    finally:
        _stop(process)


def _wait_until_ready(peer: Peer, place: Place, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START
    while not all(_answers(port) for port in (place.port, place.direct_port, place.s2s_port)):
        if process.poll() is not None or time.monotonic() > end:
            said = (place.directory / "output").read_text(errors="replace").strip()[-500:]
            raise NotRunningError(f"{peer.name} does not come up: {said or 'it says nothing'}")
        time.sleep(0.1)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _stop(process: subprocess.Popen[bytes]) -> None:
    try:
        process.terminate()
        process.wait(STOP)
    except subprocess.TimeoutExpired:
        pass
    finally:  # also after a second Ctrl-C
        process.kill()
        process.wait()


def free_ports(number: int) -> list[int]:
    """Return so many different loopback ports nobody listens on."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def two_places(directory: Path, users: int, *, archived: bool = False) -> tuple[Place, Place]:
    """Make two places that know each other, with certificates by one authority."""
    one, two = DOMAINS
    port_one, direct_one, s2s_one, port_two, direct_two, s2s_two = free_ports(6)
    places = (
        Place(directory / one, one, users, port_one, direct_one, s2s_one, two, s2s_two, archived),
        Place(directory / two, two, users, port_two, direct_two, s2s_two, one, s2s_one, archived),
    )
    authority = Authority()
    for place in places:
        authority.certify(place)
    return places


class Authority:
    """A certificate authority for one run, trusted by nobody else."""

    _name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "The bench")])

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0))

    def certify(self, place: Place) -> None:
        """Write cert.pem, key.pem, both.pem and ca.pem: a domain's ECDSA P-256 certificate as server and as client."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, place.domain)])
        domain = x509.SubjectAlternativeName([x509.DNSName(place.domain)])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        certificate = self._sign(name, key, domain, usage)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        place.write("cert.pem", certificate)
        place.write("key.pem", private)
        place.write("both.pem", private + certificate)
        place.write("ca.pem", self._certificate)

    def _sign(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType) -> str:
        """Return a certificate that is good for a day."""
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
