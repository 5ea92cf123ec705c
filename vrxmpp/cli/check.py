"""``vrxmpp check``: what others need to find this server and to believe it: DNS records (RFC 2782) and certificates."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
from cryptography import x509
from OpenSSL.crypto import X509
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.names import dns
from twisted.names.error import DNSNameError
from twisted.python.failure import Failure

from vrxmpp.cli.output import print_json, print_table
from vrxmpp.cli.settings import Settings, config_option, json_option, pass_settings
from vrxmpp.config import Config
from vrxmpp.config.components import parents
from vrxmpp.config.endpoints import is_local, tcp_address
from vrxmpp.config.files import certified_key, public_key
from vrxmpp.jid import prepare_domain
from vrxmpp.net.identity import Trust
from vrxmpp.net.resolve import Lookups, Sections, make_lookups
from vrxmpp.net.tls import CertificateError, days_left, ip_literal, to_ascii

_SOON = 30  # days before the end of a certificate in which it should be renewed
_NO_NAME = "The system does not know the full name of this machine. Say it, as in --host chat.library.example"
_RESEND = (2, 3, 5)  # seconds until a query is sent again, and at last given up


@click.group("check")
@config_option
def check() -> None:
    """Check what others see of this server: its DNS records and its certificates."""


# -- DNS


@dataclass(frozen=True)
class Finding:
    """What the DNS should say of one name, and what it says: priority, weight, port and target each.

    ``state`` is right, missing, different (also if there should be nothing), or unknown for the ``reason``.
    """

    name: str
    wanted: tuple[str, ...]
    found: tuple[str, ...]
    state: str
    reason: str = ""

    def lines(self) -> Iterator[str]:
        """Yield the lines of a zone file (RFC 1035 §5.1)."""
        remark = self.state + (f": {self.reason}" if self.reason else "")
        if self.state == "different":
            remark += f": there is {', '.join(self.found)}"
        for record in self.wanted:
            yield f"{self.name} IN SRV {record} ; {remark}"
        if not self.wanted:
            yield f"; {self.name} {remark}, but nothing listens for it here"


def _host_name(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    """Return what was given, else what the system knows, or "" if it knows nothing."""
    name = _full_name(socket.getfqdn() if value is None else value)
    if value is not None and not name:
        raise click.BadParameter(f'"{value}" is not the full name of a machine')
    return name


def _full_name(text: str) -> str:
    """Return the full name of a machine in ASCII, or "" if that is none."""
    try:
        name = to_ascii(prepare_domain(text))
    except ValueError:
        return ""
    return name if "." in name and not ip_literal(name) else ""


@check.command("dns")
@click.option(
    "--host",
    metavar="NAME",
    callback=_host_name,
    help="The name of this machine, which must have an address; by default as the system knows it.",
)
@json_option
@config_option
@pass_settings
def check_dns(settings: Settings, host: str) -> None:
    """Print the SRV records that lead to this server, as for a zone file, and whether the DNS has them.

    The exit code is 1 if any record is missing, different or unknown, or if nobody elsewhere can connect.
    """
    obstacles = list(_obstacles(settings.config))
    for obstacle in obstacles:
        click.echo(obstacle, err=True)
    wanted = list(_wanted(settings.config, host))
    if not host and any(records for _, records in wanted):
        raise click.UsageError(_NO_NAME)
    findings = _ask_dns(settings.config, wanted)
    if settings.json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            for line in finding.lines():
                click.echo(line)
    if obstacles or any(finding.state != "right" for finding in findings):
        raise SystemExit(1)


def _obstacles(config: Config) -> Iterator[str]:
    """Say why nobody elsewhere can connect, whatever the DNS says."""
    kinds = [("c2s", "client", "tcp:5222", (*config.c2s.starttls, *config.c2s.direct_tls))]
    if any(config.federation(host).enabled for host in config.hosts):
        kinds.append(("s2s", "server", "tcp:5269", (*config.s2s.starttls, *config.s2s.direct_tls)))
    for table, whom, example, listeners in kinds:
        if all(map(is_local, listeners)):
            yield (
                f"No {whom} elsewhere can connect: [{table}] has no listener for more than this machine, "
                f'such as "{example}".'
            )
    for host in config.hosts:
        if _is_this_machine(host.domain):
            yield f"{host.domain} is every machine's name for itself: nobody elsewhere can find it; name your domain."


def _is_this_machine(domain: str) -> bool:
    return domain == "localhost" or domain.endswith(".localhost")  # RFC 6761 §6.3


def _wanted(config: Config, host: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each name at which others may look, and the records that should be there."""
    clients = {"_xmpp-client": config.c2s.starttls, "_xmpps-client": config.c2s.direct_tls}
    servers = {"_xmpp-server": config.s2s.starttls, "_xmpps-server": config.s2s.direct_tls}
    offers = {host.domain: clients | (servers if config.federation(host).enabled else {}) for host in config.hosts}
    offers |= {component.domain: servers if config.s2s.enabled else {} for component in config.components}
    for domain, offered in offers.items():
        if ip_literal(domain) or _is_this_machine(domain):
            continue
        for service in (*clients, *servers):
            ports = _ports(offered.get(service, ()))
            yield f"{service}._tcp.{to_ascii(domain)}.", tuple(f"0 5 {port} {host}." for port in ports)


def _ports(listeners: Sequence[str]) -> list[int]:
    """Return the ports that others can reach; what passes a socket on to us is not known here."""
    addresses = [tcp_address(listener) for listener in listeners if not is_local(listener)]
    return sorted({address[1] for address in addresses if address})


def _ask_dns(config: Config, wanted: Sequence[tuple[str, tuple[str, ...]]]) -> list[Finding]:
    """Ask for all names, and wait for the answers."""
    from twisted.internet.selectreactor import SelectReactor  # noqa: PLC0415 - no other command needs one

    reactor = SelectReactor()
    lookups = make_lookups(reactor, config.s2s.resolver)
    results: list[list[Finding] | Failure] = []

    def ask() -> None:
        answered = Deferred.fromCoroutine(_survey(lookups, wanted))
        answered.addBoth(results.append).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(ask)
    reactor.run()
    if not results:
        raise click.Abort  # by Control-C
    [result] = results
    if isinstance(result, Failure):
        result.raiseException()
    return result


async def _survey(lookups: Lookups, wanted: Sequence[tuple[str, tuple[str, ...]]]) -> list[Finding]:
    findings: list[Finding] = []
    step = 20  # sockets at once
    for start in range(0, len(wanted), step):
        asked = [_look(lookups, *each) for each in wanted[start : start + step]]
        findings += await gatherResults(asked, consumeErrors=True)
    return [finding for finding in findings if finding.wanted or finding.found]


def _look(lookups: Lookups, name: str, wanted: tuple[str, ...]) -> Deferred[Finding]:
    query = dns.Query(name.removesuffix(".").encode(), dns.SRV, dns.IN)

    def compare(sections: Sections) -> Finding:
        records = [record.payload for record in sections[0] if isinstance(record.payload, dns.Record_SRV)]
        found = tuple(sorted(_show(record) for record in records))
        # Priority and weight are a matter of taste.
        same = {_destination(record) for record in found} == {_destination(record) for record in wanted}
        return Finding(name, wanted, found, "right" if same else "different" if found else "missing")

    def explain(failure: Failure) -> Finding:
        if failure.check(DNSNameError):
            return compare(((), (), ()))
        return Finding(name, wanted, (), "unknown", f"the DNS does not answer ({type(failure.value).__name__})")

    return maybeDeferred(lookups.query, query, _RESEND).addCallbacks(compare, explain)


def _show(record: dns.Record_SRV) -> str:
    # Whoever answers chooses the name: its control characters must not reach the administrator's terminal.
    target = record.target.name.decode("latin-1").encode("unicode_escape").decode()
    return f"{record.priority} {record.weight} {record.port} {target.removesuffix('.')}."


def _destination(record: str) -> tuple[str, str]:
    _, _, port, target = record.split(" ", 3)
    return port, target.lower()


# -- certificates


@dataclass
class Report:
    """What is to be said of a domain's certificate."""

    domain: str
    file: str
    names: tuple[str, ...]
    issuer: str
    expires: str
    problems: list[str]


@check.command("certificates")
@json_option
@config_option
@pass_settings
def check_certificates(settings: Settings) -> None:
    """Show the certificate of each domain, and what is wrong with it.

    The exit code is 1 if anything is, or if a certificate ends within 30 days.
    """
    config = settings.config
    try:
        trust = Trust(config.s2s.ca_file)
    except CertificateError as error:
        raise click.ClickException(str(error)) from error
    reports = [_examine(config, domain, names, trust) for domain, names in _served(config).items()]
    if settings.json:
        print_json([asdict(report) for report in reports])
    else:
        print_table(
            ("Domain", "For", "Issuer", "Until"),
            [(each.domain, ", ".join(each.names), each.issuer, each.expires[:10]) for each in reports],
        )
        for report in reports:
            for problem in report.problems:
                click.echo(f"{report.domain}: {report.file}: {problem}", err=True)
    if any(report.problems for report in reports):
        raise SystemExit(1)


def _served(config: Config) -> dict[str, list[str]]:
    """Return for each domain that has a certificate all that it should be for: components show their domain's."""
    served = {host.domain: [host.domain] for host in config.hosts}
    for component in config.components:
        above = next((domain for domain in parents(component.domain) if domain in served), config.hosts[0].domain)
        served[above].append(component.domain)
    return served


def _examine(config: Config, domain: str, names: Sequence[str], trust: Trust) -> Report:
    [host] = [each for each in config.hosts if each.domain == domain]
    file = host.certificate or config.state / f"{domain}.crt"
    key = host.key or file.with_suffix(".key")
    report = Report(domain, str(file), (), "", "", [])
    if host.certificate is None and not file.exists():
        report.problems.append("there is none yet; the server makes a self-signed one when it starts")
        return report
    try:
        _look_at(file, names, trust, report)
        if public_key(key) != certified_key(file):
            report.problems.append(f"the key {key} is not that of the certificate")
    except ValueError as error:
        report.problems.append(str(error))
    return report


def _look_at(file: Path, names: Sequence[str], trust: Trust, report: Report) -> None:
    """Fill in the report. Raises ValueError if the file holds no certificate."""
    certified_key(file)  # says why not
    chain = x509.load_pem_x509_certificates(file.read_bytes())
    leaf, *others = map(X509.from_cryptography, chain)
    peer = trust.examine_chain(leaf, others)
    report.names, report.issuer = peer.names, chain[0].issuer.rfc4514_string()
    report.expires = chain[0].not_valid_after_utc.isoformat()
    if peer.fault:
        report.problems.append(f"the certificate {peer.fault}")
    vouched = replace(peer, fault="")  # the names are told, too, where nobody vouches
    report.problems += [f"the certificate {reason}" for name in names if (reason := vouched.why_not(name))]
    left = days_left(file)
    if 0 <= left < _SOON:
        report.problems.append(f"the certificate ends in {left} days")
