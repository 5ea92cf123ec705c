"""The configuration: defaults, every kind of mistake and how it is told, the example, the reference page."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from twisted.internet import endpoints as twisted_endpoints

from vrxmpp import config as config_package
from vrxmpp.config import EXAMPLE, Config, ConfigError, find, load, parse
from vrxmpp.config.endpoints import _parse, is_local
from vrxmpp.config.problems import inner_table, tables
from vrxmpp.config.reference import as_toml, in_force, reference
from vrxmpp.jid import Jid

FILE = Path("/etc/library/vrxmpp.toml")
HOST = '[[host]]\ndomain = "library.example"\n'
ROOT = Path(__file__).parents[2]


def read(text: str) -> Config:
    return parse(text, FILE)


def mistakes(text: str) -> list[str]:
    """Return what is said about a file, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        parse(text, FILE)
    return [line.removeprefix(f"{FILE}: ") for line in str(caught.value).splitlines()]


def test_a_domain_is_enough() -> None:
    config = read(HOST)
    [host] = config.hosts
    assert host.domain == "library.example"
    assert host.certificate is None
    assert not host.anonymous
    assert not host.registration
    assert config.state == Path("/var/lib/vrxmpp")
    assert config.database_url == "sqlite:////var/lib/vrxmpp/vrxmpp.sqlite"
    assert config.c2s.starttls == ("tcp:5222",)
    assert config.c2s.direct_tls == ("tcp:5223",)
    assert config.c2s.tls == "required"
    assert config.limits.unauthenticated.stanza_bytes == 10_000
    assert config.account_limits(host).sessions == 10


def test_relative_paths_start_where_the_file_is() -> None:
    config = read(
        'state = "state"\ndatabase.url = "sqlite:///data/chat.db"\n'
        + HOST
        + 'certificate = "a.crt"\nkey = "/keys/a.key"\n'
    )
    assert config.state == Path("/etc/library/state")
    assert config.hosts[0].certificate == Path("/etc/library/a.crt")
    assert config.hosts[0].key == Path("/keys/a.key")
    assert config.database_url == "sqlite:////etc/library/data/chat.db"


def test_the_database_is_in_the_state_directory() -> None:
    assert read('state = "state"\n' + HOST).database_url == "sqlite:////etc/library/state/vrxmpp.sqlite"


def test_addresses_are_prepared() -> None:
    [host] = read('[[host]]\ndomain = "BÜCHER.example"\nadmins = ["Alice@BÜCHER.example"]').hosts
    assert host.domain == "bücher.example"
    assert host.admins == (Jid.parse("alice@bücher.example"),)


def test_a_host_has_limits_of_its_own() -> None:
    config = read(
        HOST
        + "limits.sessions = 3\n"
        + '[[host]]\ndomain = "museum.example"\n[limits.account]\nblocked = 7\nsessions = 5'
    )
    library, museum = (config.account_limits(host) for host in config.hosts)
    assert (library.sessions, library.blocked) == (3, 7)
    assert (museum.sessions, museum.blocked) == (5, 7)


def test_nothing_changes_afterwards() -> None:
    config = read(HOST)
    with pytest.raises(ValidationError):
        config.c2s.tls = "optional"


MISTAKES = {
    # unknown keys
    'stat = "x"\n' + HOST: 'stat: unknown key; did you mean "state"?',
    'tls = "required"\n' + HOST: "tls: unknown key; it belongs in [c2s]",
    HOST + 'state = "x"': "host[0].state: unknown key; it belongs above the first [table]",
    HOST + '[limits.timeout]\npassword = "hush"': "limits.timeout.password: unknown key",
    HOST + "contacts.abus = []": 'host[0].contacts.abus: unknown key; did you mean "abuse"?',
    # wrong types and bounds
    "state = 1\n" + HOST: "state = 1: must be a path in quotes",
    "host = 1": "host = 1: must be a list: [...]",
    "host = [1]": "host[0] = 1: must be a table",
    HOST + "anonymous = 1": "host[0].anonymous = 1: must be true or false",
    HOST + '[c2s]\nstarttls = "tcp:5222"': 'c2s.starttls = "tcp:5222": must be a list: [...]',
    HOST + "[c2s]\nstarttls = [5222]": "c2s.starttls[0] = 5222: must be a text in quotes",
    HOST + '[limits.timeout]\nlogin = "30"': 'limits.timeout.login = "30": must be a whole number',
    HOST + "[limits.timeout]\nlogin = true": "limits.timeout.login = true: must be a whole number",
    HOST + "[limits.timeout]\nlogin = 0": "limits.timeout.login = 0: must be at least 1",
    HOST + "[limits.timeout]\nlogin = 601": "limits.timeout.login = 601: must be at most 600",
    HOST + "[limits.stanza]\nbytes = 9999": "limits.stanza.bytes = 9999: must be at least 10000",
    HOST + '[c2s]\ntls = "maybe"': 'c2s.tls = "maybe": must be "required" or "optional"',
    # domains and addresses
    'state = "/s"': "host: is missing",
    "host = []": "host = []: must not be empty",
    "[[host]]": "host[0].domain: is missing",
    '[[host]]\ndomain = "a b"': "host[0].domain = \"a b\": domainpart 'a b' is not a domain name",
    HOST + '[[host]]\ndomain = "LIBRARY.example"': (
        'host[1].domain = "LIBRARY.example": is served already by another [[host]]'
    ),
    HOST + 'admins = ["library.example"]': (
        'host[0].admins[0] = "library.example": must be the address of an account: user@domain'
    ),
    HOST + 'admins = ["a@library.example/desk"]': (
        'host[0].admins[0] = "a@library.example/desk": must be the address of an account: user@domain'
    ),
    HOST + "admins = [1]": "host[0].admins[0] = 1: must be a text in quotes",
    HOST + 'contacts.abuse = ["http://library.example"]': (
        'host[0].contacts.abuse[0] = "http://library.example": must begin with mailto:, xmpp: or https://'
    ),
    # what belongs together
    HOST + 'certificate = "a.crt"': "host[0].key: certificate and key belong together: name both or neither",
    HOST + 'key = "a.key"': 'host[0].key = "a.key": certificate and key belong together: name both or neither',
    HOST + '[c2s]\ntls = "optional"': (
        'c2s.tls = "optional": is accepted only if every starttls listener is a loopback address'
    ),
    HOST + "[limits.output]\npause_bytes = 500_000\ncut_bytes = 400_000": (
        "limits.output.cut_bytes = 400000: must not be below pause_bytes"
    ),
    # databases, and the secrets in their URLs
    HOST + '[database]\nurl = "postgresql://vrxmpp:geheim@db/chat"': (
        'database.url = "postgresql://vrxmpp:***@db/chat": PostgreSQL is not supported yet; use "sqlite"'
    ),
    HOST + '[database]\nurl = "mysql://vrxmpp:ge/he@im@db/chat"': (
        'database.url = "mysql://vrxmpp:***@db/chat": must be "sqlite" or "sqlite:///PATH"'
    ),
    HOST + '[database]\nurl = "sqlite:///"': 'database.url = "sqlite:///": must be "sqlite" or "sqlite:///PATH"',
}


@pytest.mark.parametrize(("text", "said"), MISTAKES.items(), ids=MISTAKES.values())
def test_a_mistake_is_told_in_one_line(text: str, said: str) -> None:
    assert mistakes(text) == [said]


def test_all_mistakes_are_told_at_once() -> None:
    text = (
        'stat = "x"\n[[host]]\ndomain = ""\nkey = "a"\n[[host]]\ndomain = "b.example"\nanonymous = "no"\n'
        '[[host]]\ndomain = "B.example"\n[c2s]\nstarttls = ["tcp:x", "tcp:1", "ssl:2"]\ntls = "never"\n'
        "[limits.rate]\nburst_bytes = 1\n"
    )
    assert {line.partition(": ")[0].partition(" =")[0] for line in mistakes(text)} == {
        "stat",
        "host[0].domain",
        "host[0].key",
        "host[1].anonymous",
        "host[2].domain",
        "c2s.starttls[0]",
        "c2s.starttls[2]",
        "c2s.tls",
        "limits.rate.burst_bytes",
    }


def test_long_values_are_cut() -> None:
    [line] = mistakes(f'[[host]]\ndomain = "{"a b" * 1000}"')
    assert len(line) < 250


def test_the_file_must_be_toml(tmp_path: Path) -> None:
    file = tmp_path / "vrxmpp.toml"
    file.write_text("[[host]\n")
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(file))}: is not TOML: .*line 1"):
        load(file)


def test_the_file_must_be_readable(tmp_path: Path) -> None:
    file = tmp_path / "vrxmpp.toml"
    with pytest.raises(ConfigError, match=r"cannot be read: No such file or directory$"):
        load(file)
    file.write_bytes(b"state = '\xff'")
    with pytest.raises(ConfigError, match=r"is not UTF-8 text$"):
        load(file)


def test_the_nearer_file_is_found_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, elsewhere = tmp_path / "here.toml", tmp_path / "etc.toml"
    monkeypatch.setattr(config_package, "DEFAULT_PATHS", (here, elsewhere))
    with pytest.raises(ConfigError, match=r"does not exist.*--config FILE"):
        find()
    elsewhere.touch()
    assert find() == elsewhere
    here.touch()
    assert find() == here


# -- listening addresses

GOOD_ENDPOINTS = (
    "tcp:5222",
    "tcp:0",
    "tcp:port=5222",
    "tcp:5222:interface=10.0.0.1:backlog=100",
    r"tcp:5222:interface=\:\:1",
    r"tcp6:5222:interface=fe80\:\:1",
    "unix:/run/vrxmpp.sock",
    "unix:/run/vrxmpp.sock:mode=660:lockfile=1",
    "unix:address=/run/vrxmpp.sock",
    "systemd:INET:name=c2s",
    "systemd:domain=INET6:index=0",
)

BAD_ENDPOINTS = {
    "": "must be a Twisted server endpoint",
    "5222": "must be a Twisted server endpoint",
    "ssl:5223": "must be a Twisted server endpoint",
    "TCP:5222": "must be a Twisted server endpoint",
    "tcp": "is incomplete: tcp:PORT",
    "tcp:": "is incomplete: tcp:PORT",
    "tcp6:interface=x": "is incomplete: tcp6:PORT",
    "tcp:xmpp": "has a port that is not a number up to 65535",
    "tcp:65536": "has a port that is not a number up to 65535",
    "tcp:-1": "has a port that is not a number up to 65535",
    "tcp:\u0665": "has a port that is not a number up to 65535",
    "tcp:5222:backlog=many": "has a backlog that is not a number up to 65535",
    "tcp:5222:5223": 'does not fit: "5223"',
    "tcp:5222:interfce=::1": 'does not fit: "interfce="',
    "tcp:5222:mode=660": 'does not fit: "mode=660"',
    "tcp:5222:port=5222": 'does not fit: "port=5222"',
    "tcp:5222\\": "must not end with a backslash",
    "unix:": "is incomplete: unix:ADDRESS",
    "unix:run/x.sock": "needs an absolute path",
    "unix:/x:mode=999": "has a mode that is not a number up to 777",
    "unix:/x:lockfile=yes": "has a lockfile that is not a number up to 1",
    "systemd:INET": "needs either index= or name=",
    "systemd:INET:index=0:name=c2s": "needs either index= or name=",
}


@pytest.mark.parametrize("endpoint", GOOD_ENDPOINTS)
def test_good_endpoints(endpoint: str) -> None:
    assert read(f"{HOST}[c2s]\nstarttls = ['{endpoint}']").c2s.starttls == (endpoint,)


@pytest.mark.parametrize(("endpoint", "said"), BAD_ENDPOINTS.items())
def test_bad_endpoints(endpoint: str, said: str) -> None:
    [line] = mistakes(f"{HOST}[c2s]\nstarttls = ['{endpoint}']")
    assert line.startswith("c2s.starttls[0]")
    assert said in line


@given(st.lists(st.sampled_from([*"tcp:=\\ ", "port", "interface", "tcp:", "1", "ü", "\n"]), max_size=12).map("".join))
def test_endpoints_are_read_as_twisted_reads_them(text: str) -> None:
    text = f"tcp:{text}"
    try:
        kind, options = _parse(text)
    except ValueError:
        return
    arguments, named = twisted_endpoints._parse(text)  # type: ignore[no-untyped-call]
    if len(arguments) > 1:
        named["port"] = arguments[1]
    assert (kind, options) == (arguments[0], named)


@pytest.mark.parametrize(
    ("endpoint", "local"),
    [
        ("tcp:5222:interface=127.0.0.1", True),
        ("tcp:5222:interface=127.9.9.9", True),
        ("tcp:5222:interface=localhost", True),
        (r"tcp:5222:interface=\:\:1", True),
        (r"tcp6:5222:interface=\:\:1", True),
        ("unix:/run/x.sock", True),
        ("tcp:5222", False),
        ("tcp6:5222", False),
        ("tcp:5222:interface=0.0.0.0", False),
        ("tcp:5222:interface=192.168.1.1", False),
        ("tcp:5222:interface=localhost.example", False),
        ("systemd:INET:name=c2s", False),
    ],
)
def test_login_without_tls_is_for_this_machine_only(endpoint: str, local: bool) -> None:
    assert is_local(endpoint) is local
    text = f"{HOST}[c2s]\ntls = 'optional'\nstarttls = ['tcp:1:interface=127.0.0.1', '{endpoint}']"
    if local:
        assert read(text).c2s.tls == "optional"
    else:
        assert len(mistakes(text)) == 1


# -- certificates


def write_pair(directory: Path, name: str, encryption: KeySerializationEncryption | None = None) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, now, now + timedelta(days=1))
    (directory / f"{name}.crt").write_bytes(builder.sign(key, SHA256()).public_bytes(Encoding.PEM))
    (directory / f"{name}.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    )


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pairs")
    write_pair(directory, "one")
    write_pair(directory, "two")
    write_pair(directory, "locked", BestAvailableEncryption(b"geheim"))
    (directory / "junk.pem").write_text("no PEM\n")
    return directory


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        ("one.crt", "one.key", []),
        ("one.crt", "two.key", ['key = "two.key": does not belong to the certificate {directory}/one.crt']),
        ("no.crt", "one.key", ['certificate = "no.crt": cannot be read: No such file or directory']),
        ("one.crt", "no.key", ['key = "no.key": cannot be read: No such file or directory']),
        ("junk.pem", "one.key", ['certificate = "junk.pem": holds no certificate in PEM']),
        ("one.crt", "junk.pem", ['key = "junk.pem": holds no private key in PEM']),
        ("one.crt", "one.crt", ['key = "one.crt": holds no private key in PEM']),
        ("locked.crt", "locked.key", ['key = "locked.key": must not be encrypted']),
        (
            "no.crt",
            "junk.pem",
            [
                'certificate = "no.crt": cannot be read: No such file or directory',
                'key = "junk.pem": holds no private key in PEM',
            ],
        ),
    ],
)
def test_certificates_are_looked_at_when_asked(pairs: Path, certificate: str, key: str, said: list[str]) -> None:
    text, file = f"{HOST}certificate = '{certificate}'\nkey = '{key}'\n", pairs / "vrxmpp.toml"
    parse(text, file)
    try:
        parse(text, file, files=True)
        problems = []
    except ConfigError as error:
        problems = str(error).splitlines()
    assert problems == [f"{file}: host[0].{line.format(directory=pairs)}" for line in said]


def test_a_bad_certificate_still_needs_a_key(pairs: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(HOST + 'certificate = "no.crt"', pairs / "vrxmpp.toml", files=True)
    assert [problem.key for problem in caught.value.problems] == ["host[0].certificate", "host[0].key"]


@pytest.mark.parametrize(
    ("ca_file", "said"),
    [
        ("one.crt", []),
        ("no.pem", ['s2s.ca_file = "no.pem": cannot be read: No such file or directory']),
        ("one.key", ['s2s.ca_file = "one.key": holds no certificate in PEM']),
    ],
)
def test_authorities_are_looked_at_when_asked(pairs: Path, ca_file: str, said: list[str]) -> None:
    text, file = f"{HOST}[s2s]\nca_file = '{ca_file}'\n", pairs / "vrxmpp.toml"
    assert parse(text, file).s2s.ca_file == pairs / ca_file
    try:
        parse(text, file, files=True)
        problems = []
    except ConfigError as error:
        problems = str(error).splitlines()
    assert problems == [f"{file}: {line}" for line in said]


# -- written out


def test_the_example_keeps_to_this_machine() -> None:
    config = load(EXAMPLE)
    assert [host.domain for host in config.hosts] == ["localhost"]
    assert config.state == EXAMPLE.parent / "state"
    listeners = (config.c2s.starttls, config.c2s.direct_tls, config.s2s.starttls, config.s2s.direct_tls)
    assert all(is_local(endpoint) for each in (*listeners, config.component_connections.listen) for endpoint in each)


def test_the_suggestions_of_the_example_hold() -> None:
    text = EXAMPLE.read_text()
    suggested = re.sub(r"(?m)^#(?=[a-z\[])", "", text)
    assert len(tomllib.loads(suggested)["host"]) == 2
    assert set(tomllib.loads(suggested)["s2s"]["peer"]) == {"old.example"}
    config = parse(suggested, EXAMPLE)
    assert config.hosts[0].registration
    assert config.limits.rate.stanzas_per_second == 1000


def test_every_option_is_described_and_every_number_bounded() -> None:
    for name, model in tables(Config):
        assert model.__doc__, name
        for key, field in model.model_fields.items():
            where = f"{name}.{key}"
            assert field.description, where
            if field.annotation is int:
                assert {type(bound).__name__ for bound in field.metadata} >= {"Ge", "Le"}, where
            if inner_table(field) is None and key != "domain":
                assert not field.is_required(), where


def test_the_reference_page_is_up_to_date() -> None:
    assert (ROOT / "docs/configuration.md").read_text() == reference()


def test_the_reference_page_has_every_option() -> None:
    sections = re.split(r"(?m)^## ", reference())
    [rate] = [section for section in sections if section.startswith("`[limits.rate]`")]
    assert "| `burst_stanzas` | 1 to 1,000,000 | `500` | Stanzas at once. |" in rate
    [c2s] = [section for section in sections if section.startswith("`[c2s]`")]
    assert '| `tls` | `"required"` or `"optional"` | `"required"` |' in c2s
    assert '| `starttls` | [text, ...] | `["tcp:5222"]` |' in c2s


def test_what_is_in_force_can_be_read_back() -> None:
    config = read(
        'state = "s"\n'
        + HOST
        + 'certificate = "a.crt"\nkey = "a.key"\nadmins = ["a@b.example"]\ncontacts.abuse = ["mailto:a@b.example"]\n'
        + 'limits.sessions = 3\n[[host]]\ndomain = "bücher.example"\n'
        + "[c2s]\nstarttls = ['tcp:1:interface=\\:\\:1']\ntls = \"optional\"\n[limits.account]\nblocked = 7\n"
        + '[s2s]\ndeny = ["c.example"]\nresolver = "[::1]:53"\nca_file = "ca.pem"\n[s2s.route]\n"d.example" = "e:1"\n'
        + '[s2s.peer."d.example"]\ntls = "optional"\n[[component]]\ndomain = "f.example"\nsecret_file = "f"\n'
        + '[component.privileges]\nhosts = ["library.example"]\niq = {"jabber:iq:version" = "get"}\n'
    )
    shown = as_toml(in_force(config))
    again = read(shown)
    assert again.model_dump(exclude={"hosts": {"__all__": {"limits", "s2s", "audit"}}}) == config.model_dump(
        exclude={"hosts": {"__all__": {"limits", "s2s", "audit"}}}
    )
    assert [again.account_limits(host) for host in again.hosts] == [
        config.account_limits(host) for host in config.hosts
    ]
    assert [again.federation(host) for host in again.hosts] == [config.federation(host) for host in config.hosts]
    assert 'state = "/etc/library/s"' in shown
    assert as_toml(in_force(again)) == shown
