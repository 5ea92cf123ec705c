"""The server as a Twisted service: builds the rooms, opens the doors, and closes them again."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from secrets import token_bytes
from typing import Any, NoReturn

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from vrxmpp.admin import CONTROL_SOCKET, Administration
from vrxmpp.archiving import Archiving
from vrxmpp.assembly import Foundations, assemble, install_components, utc_now
from vrxmpp.config import DEFAULT_PATHS, Config, ConfigError, load
from vrxmpp.config import Host as HostConfig
from vrxmpp.config.reference import in_force
from vrxmpp.core.router import Router
from vrxmpp.federation import (
    certified_peers,
    connect_by,
    federate,
    is_federated,
    server_rules,
    system_lookups,
)
from vrxmpp.live import RunningServer
from vrxmpp.negotiation.throttle import Throttle
from vrxmpp.net.clients import ClientFactory, Clients
from vrxmpp.net.components import ComponentFactory, Components
from vrxmpp.net.control import ControlFactory, control_endpoint
from vrxmpp.net.hosted import ServiceError
from vrxmpp.net.metrics import MetricsFactory
from vrxmpp.net.recorder import ArchiveError
from vrxmpp.net.servers import ServerFactory, Servers
from vrxmpp.net.tls import (
    CertificateError,
    CertificateFiles,
    Certificates,
    DirectTls,
    ServerCertificates,
    days_left,
    make_self_signed,
)
from vrxmpp.policies import client_addresses, client_policy, server_policy
from vrxmpp.reloading import changed_for_next_start
from vrxmpp.store import open_peers, open_stores
from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import StorageError

_ALPN = b"xmpp-client"  # XEP-0368
_log = Logger("vrxmpp")
_DAY = 86_400.0
_FEW_DAYS = 30
EXIT_START = 5


def give_up(message: str, code: int = EXIT_START) -> NoReturn:
    """End the process with one line for whoever started it."""
    print(f"vrxmpp: {message}", file=sys.__stderr__)
    raise SystemExit(code)


class Server(Service):
    """One running server. ``reload`` takes a changed configuration without dropping a session."""

    name = "vrxmpp"

    def __init__(self, config: Config, path: Path, reactor: Any) -> None:
        self._config = config
        self._path = path
        self._reactor = reactor
        self._ports: list[Any] = []
        self._listeners: dict[str, str] = {}  # what kind of connection each address is for
        self._started = utc_now()
        self._files: list[CertificateFiles] = []
        self._certificate_watch = LoopingCall(self._warn_of_ends)
        self._certificate_watch.clock = reactor

    # -- starting

    def startService(self) -> None:
        """Build the rooms and open the doors. The process is in the background by now, and has dropped its rights."""
        super().startService()  # type: ignore[no-untyped-call]
        try:
            self._build()
        except (StorageError, CertificateError, ServiceError, OSError) as error:
            give_up(str(error))
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))
        self._reactor.callWhenRunning(self._stop_when_asked)
        self._reactor.callWhenRunning(lambda: Deferred.fromCoroutine(self._open_doors()).addErrback(_end))

    async def _open_doors(self) -> None:
        """Let people in, once what they say can be recorded."""
        if self._archiving is not None:
            try:
                await self._archiving.start()
            except (ArchiveError, StorageError) as error:
                give_up(f"audit archive: {error}")
        if not self.running:
            return  # it was stopped meanwhile
        self._note_configuration("started", self._config)
        self._listen()
        self._clients.start()
        self._components.start()
        self._servers.start()
        self._greet()
        self._certificate_watch.start(_DAY)
        _relax_collector()

    def _build(self) -> None:
        config = self._config
        self._database = Database.open(config.database_url, self._reactor)
        self._router = Router()
        self._archiving = Archiving(config, self._router, self._reactor) if config.audit.enabled else None
        self._foundations = Foundations(
            database=self._database,
            router=self._router,
            throttle=Throttle(self._reactor.seconds),
            secret=_secret(config.state / "secret"),
            run_in_thread=deferToThread,
            started=self._started,
            archiving=self._archiving,
        )
        domains = {host.domain: assemble(config, host, self._foundations) for host in config.hosts}
        files = self._certificate_files(config.hosts)
        self._servers = self._federate(files)
        self._components = Components(server_policy(config), client_addresses(config), self._reactor)
        install_components(config, self._router, self._components)
        self._clients = Clients(
            domains,
            client_policy(config),
            Certificates(files, _ALPN),
            client_addresses(config),
            self._reactor,
        )
        for connections in (self._clients, self._components, self._servers):
            connections.audit = self._router.audit
        accounts = {domain: open_stores(self._database, domain).accounts for domain in domains}
        self._live = RunningServer(
            self._router,
            self._clients,
            self._components,
            self._servers,
            listeners=self._listeners,
            started=self._started,
            archiving=self._archiving,
        )
        self._administration = Administration(accounts, self._live)

    def _federate(self, files: list[CertificateFiles]) -> Servers:
        return federate(
            self._config,
            self._router,
            ServerCertificates(files),
            open_peers(self._database),
            self._foundations.secret,
            certified=certified_peers(self._config.database_url),
            lookups=system_lookups(self._config, self._reactor),
            connect=connect_by(self._reactor),
            clock=self._reactor,
        )

    def _certificate_files(self, hosts: Iterable[HostConfig]) -> list[CertificateFiles]:
        files = []
        for host in hosts:
            if host.certificate is not None and host.key is not None:
                files.append(CertificateFiles(host.domain, host.certificate, host.key))
                continue
            certificate = self._config.state / f"{host.domain}.crt"
            key = certificate.with_suffix(".key")
            if not certificate.exists():
                make_self_signed(host.domain, certificate, key)
            _log.warn("{domain} has a self-signed certificate: {file}", domain=host.domain, file=str(certificate))
            files.append(CertificateFiles(host.domain, certificate, key))
        self._files = files
        return files

    def _warn_of_ends(self) -> None:
        """Other servers refuse a certificate from its last day on, and clients ask about it."""
        for each in self._files:
            left = days_left(each.certificate)
            if left < _FEW_DAYS:
                text = "the certificate of {domain} {ends}: {file}"
                ends = f"ends in {left} days" if left >= 0 else "has ended"
                _log.warn(text, domain=each.domain, ends=ends, file=str(each.certificate))

    def _listen(self) -> None:
        c2s = self._config.c2s
        factory = ClientFactory(self._clients, direct_tls=True)
        direct_tls = DirectTls(self._clients.certificates, factory, self._reactor)
        for listener in c2s.starttls:
            self._open(listener, ClientFactory(self._clients, direct_tls=False), "clients, STARTTLS")
        for listener in c2s.direct_tls:
            self._open(listener, direct_tls, "clients, direct TLS")
        if is_federated(self._config):
            self._listen_to_servers()
        if any(component.handler is None for component in self._config.components):
            for listener in self._config.component_connections.listen:
                self._open(listener, ComponentFactory(self._components), "components")
        (self._config.state / CONTROL_SOCKET).unlink(missing_ok=True)  # left by a crash: the directory is ours alone
        control = control_endpoint(self._reactor, self._config.state)
        self._open_port(control, ControlFactory(self._administration, self._router.audit))
        for listener in self._config.metrics.listen:
            self._open(listener, MetricsFactory(self._live.measurements()), "metrics")

    def _listen_to_servers(self) -> None:
        s2s, servers = self._config.s2s, self._servers
        direct_tls = DirectTls(servers.certificates, ServerFactory(servers, direct_tls=True), self._reactor)
        for listener in s2s.starttls:
            self._open(listener, ServerFactory(servers, direct_tls=False), "servers, STARTTLS")
        for listener in s2s.direct_tls:
            self._open(listener, direct_tls, "servers, direct TLS")

    def _open(self, listener: str, factory: object, kind: str) -> None:
        if listener.startswith("tcp") and ":backlog=" not in listener:
            listener += f":backlog={self._config.limits.connections.backlog}"
        port = self._open_port(serverFromString(self._reactor, listener), factory)
        self._listeners[_address(port)] = kind

    def _open_port(self, endpoint: Any, factory: object) -> Any:
        outcome: list[Any] = []
        endpoint.listen(factory).addBoth(outcome.append)
        [port] = outcome  # listening never has to wait
        if isinstance(port, Failure):
            give_up(str(port.value))
        self._ports.append(port)
        return port

    def _greet(self) -> None:
        if self._archiving is None:
            _log.warn("nothing of what is said is archived: enabled = false in [audit]")
        domains = [host.domain for host in self._config.hosts]
        for address, kind in self._listeners.items():
            _log.info("listening on {address} for {kind}", address=address, kind=kind)
        _log.info("serving {domains}", domains=", ".join(domains))
        _log.info("to add a user: {command} user add alice@{domain}", command=self._command(), domain=domains[0])
        _log.info("to change anything: edit {path}, then kill -HUP {pid}", path=self._path, pid=os.getpid())
        _log.info("everything is kept in {state}", state=self._config.state)

    def _command(self) -> str:
        """Return what to type for the ``vrxmpp`` command that belongs to this server."""
        installed = str(Path(sys.argv[0]).absolute().with_name("vrxmpp"))
        name = "vrxmpp" if shutil.which("vrxmpp") == installed else installed
        return name if self._path in DEFAULT_PATHS else f"{name} --config {self._path}"

    # -- running

    def reload(self) -> None:
        """Take the configuration and the certificates as they are now; keep the old where the new is wrong."""
        try:
            config = load(self._path, files=True)
            files = self._certificate_files(self._served(config))
            self._clients.certificates.load(files)
            self._servers.certificates.load(files)
        except (ConfigError, CertificateError, OSError) as error:
            _log.error("nothing is changed: {reason}", reason=str(error))
            return
        self._clients.policy = client_policy(config)
        self._servers.policy = self._components.policy = server_policy(config)
        self._servers.fit(server_rules(config))
        # The listeners stay as they are, and so does what they ask of a log-in, and the components.
        fitting = config.model_copy(update={"c2s": self._config.c2s, "components": self._config.components})
        for host in self._served(config):
            self._clients.domains[host.domain] = assemble(fitting, host, self._foundations)
        _log.info("configuration and certificates are loaded again")
        self._warn_of_ends()
        changed = changed_for_next_start(self._config, config)
        self._note_configuration("loaded again", config, changed)
        if changed:
            _log.warn("not changed before the next start: {tables}", tables=", ".join(changed))

    def _note_configuration(self, event: str, config: Config, not_in_force: Sequence[str] = ()) -> None:
        if self._archiving is not None:
            self._archiving.note_configuration(event, in_force(config), not_in_force)

    def _served(self, config: Config) -> list[HostConfig]:
        """Return the domains that are served, as a new configuration has them."""
        new = {host.domain: host for host in config.hosts}
        return [new.get(host.domain, host) for host in self._config.hosts]

    # -- stopping

    def _stop_when_asked(self) -> None:
        """Let a signal stop the server, but not kill the process in the end: what was asked for is no failure."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._reactor.callFromThread(self._stop_once))

    def _stop_once(self) -> None:
        if self.running:
            self._reactor.stop()

    async def _stop(self) -> None:
        if self._certificate_watch.running:
            self._certificate_watch.stop()
        for port in self._ports:
            await port.stopListening()
        self._servers.give_up()  # while there is somebody to be told
        for connections in (self._clients, self._components, self._servers):
            await connections.stop()
        if self._archiving is not None:
            await self._archiving.stop()
        await self._database.close()

    def stopService(self) -> Deferred[None]:
        """Tell every client that the server goes down, and finish what is written."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())


def _end(failure: Failure) -> None:
    """End the process of a running reactor: nobody has been let in, and what is on the disk needs no farewell."""
    if not failure.check(SystemExit):
        _log.failure("the server could not start", failure)
    sys.stdout.flush()
    os._exit(EXIT_START)


def _relax_collector() -> None:
    """Let Python look for cyclic garbage more rarely: hardly any is made, and each look costs a pause."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _secret(path: Path) -> bytes:
    """Return the server's secret, made on the first start."""
    if not path.exists():
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        new.touch(mode=0o600)
        new.write_bytes(token_bytes(32))
        new.rename(path)  # whole or not at all
    return path.read_bytes()


def _address(port: Any) -> str:
    address = port.getHost()
    if not hasattr(address, "port"):
        return str(getattr(address, "name", address))
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"
