"""The configuration of federation and components: what is in force, every kind of mistake, and that secrets stay so."""

from __future__ import annotations

from pathlib import Path

import pytest

from vrxmpp.config import Config, ConfigError, parse
from vrxmpp.config.addresses import parse_address
from vrxmpp.config.reference import as_toml, in_force

FILE = Path("/etc/library/vrxmpp.toml")
HOST = '[[host]]\ndomain = "library.example"\n'


def read(text: str) -> Config:
    return parse(text, FILE)


def mistakes(text: str) -> list[str]:
    """Return what is said about a file, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        parse(text, FILE)
    return [line.removeprefix(f"{FILE}: ") for line in str(caught.value).splitlines()]


MISTAKES = {
    # federation
    HOST + '[s2s]\nenabled = "no"': 's2s.enabled = "no": must be true or false',
    HOST + '[s2s]\nauthentication = "none"': (
        's2s.authentication = "none": must be "certificate-if-valid", "certificate" or "dialback"'
    ),
    HOST + '[s2s]\nstarttls = ["tcp:x"]': 's2s.starttls[0] = "tcp:x": has a port that is not a number up to 65535',
    HOST + '[s2s]\nallow = ["*"]': "s2s.allow[0] = \"*\": domainpart '*' is not a domain name",
    HOST + '[s2s]\ndeny = ["a.*"]': "s2s.deny[0] = \"a.*\": domainpart 'a.*' is not a domain name",
    HOST + '[s2s]\nresolver = "dns.example:53"': 's2s.resolver = "dns.example:53": does not name an IP address',
    HOST + "[s2s]\nroute = 1": "s2s.route = 1: must be a table",
    HOST + '[s2s.route]\n"a b" = "127.0.0.1:1"': "s2s.route.\"a b\": domainpart 'a b' is not a domain name",
    HOST + '[s2s.route]\n"b.example" = 5269': 's2s.route."b.example" = 5269: must be a text in quotes',
    HOST + '[s2s.route]\n"b.example" = "c.example"': (
        's2s.route."b.example" = "c.example": must be HOST:PORT, with an IPv6 address in brackets'
    ),
    HOST + '[s2s.route]\n"b.example" = "a b:1"': 's2s.route."b.example" = "a b:1": domainpart \'a b\' is not a '
    "domain name",
    HOST + '[s2s.route]\n"b.example" = "a:1"\n"B.example" = "a:2"': "s2s.route: names a domain twice",
    HOST + '[s2s.route]\n"LIBRARY.example" = "127.0.0.1:1"': (
        's2s.route."LIBRARY.example": is served here: no other server is asked for it'
    ),
    HOST + '[[component]]\ndomain = "irc.example"\nsecret = "hush"\n[s2s.peer."irc.example"]': (
        's2s.peer."irc.example": is served here: no other server is asked for it'
    ),
    HOST + '[s2s.peer."old.example"]\ntls = false': (
        's2s.peer."old.example".tls = false: must be "required" or "optional"'
    ),
    HOST + '[s2s.peer."old.example"]\nauthentification = "dialback"': (
        's2s.peer."old.example".authentification: unknown key; did you mean "authentication"?'
    ),
    HOST + "s2s.allow = [1]": "host[0].s2s.allow[0] = 1: must be a text in quotes",
    HOST + 's2s.tls = "optional"': "host[0].s2s.tls: unknown key; it belongs in [s2s]",
    HOST + "[limits.stanza]\nbytes = 600_000\ndepth = 200": (
        "limits.s2s: must let pass what [limits.stanza] does: stanza_bytes at least 600000, depth at least 200"
    ),
    HOST + "[limits.s2s]\nelements = 9999": (
        "limits.s2s: must let pass what [limits.stanza] does: elements at least 10000"
    ),
    HOST + "[limits.s2s]\nqueue_bytes = 500_000": "limits.s2s.queue_bytes = 500000: must not be below stanza_bytes",
    # components, whose secrets are not shown whatever is wrong
    HOST + '[component]\ndomain = "irc.example"\nsecret = "hush"': "component: must be a list of tables: [[component]]",
    HOST + '[[component]]\nsecret = "hush"': "component[0].domain: is missing",
    HOST + '[[component]]\ndomain = "Library.example"\nsecret = "hush"': (
        'component[0].domain = "Library.example": is served already by a [[host]]'
    ),
    HOST + '[[component]]\ndomain = "a.example"\nsecret = "1"\n[[component]]\ndomain = "A.example"\nsecret = "2"': (
        'component[1].domain = "A.example": is served already by another [[component]]'
    ),
    HOST + '[[component]]\ndomain = "a.example"\nsecret = 4711': "component[0].secret: must be a text in quotes",
    HOST + '[[component]]\ndomain = "a.example"\nsecret = ""': "component[0].secret: must not be empty",
    HOST + '[[component]]\ndomain = "a.example"': (
        "component[0].handler: exactly one of secret, secret_file and handler is needed"
    ),
    HOST + '[[component]]\ndomain = "a.example"\nsecret = "hush"\nsecret_file = "a"': (
        "component[0].handler: exactly one of secret, secret_file and handler is needed"
    ),
    HOST + '[[component]]\ndomain = "a.example"\nsecret = "hush"\nhandler = "a:B"': (
        'component[0].handler = "a:B": exactly one of secret, secret_file and handler is needed'
    ),
    HOST + '[[component]]\ndomain = "a.example"\nhandler = "gateway.Bot"': (
        'component[0].handler = "gateway.Bot": must name a class: package.module:Class'
    ),
    HOST + '[[component]]\ndomain = "a.example"\nsecret = "hush"\noptions.password = "hush"': (
        "component[0].options: belong to a handler"
    ),
    HOST + '[[component]]\ndomain = "a.example"\nsecret = "hush"\nprivileges.message = "outgoing"': (
        "component[0].privileges: need hosts: the component's domain is below none of them"
    ),
    HOST + '[[component]]\ndomain = "a.example"\nsecret = "hush"\nprivileges.hosts = ["b.example"]': (
        'component[0].privileges.hosts[0] = "b.example": is not served by a [[host]]'
    ),
    HOST + '[[component]]\ndomain = "a.library.example"\nsecret = "hush"\nprivileges.presence = "roster"': (
        'component[0].privileges.presence = "roster": must be "none" or "managed_entity"'
    ),
    HOST + '[[component]]\ndomain = "a.library.example"\nsecret = "hush"\nprivileges.iq."jabber:iq:x" = "all"': (
        'component[0].privileges.iq."jabber:iq:x" = "all": must be "get", "set" or "both"'
    ),
    HOST + '[components]\nlisten = ["tls:1"]': 'components.listen[0] = "tls:1": must be a Twisted server endpoint: '
    "tcp:PORT, tcp6:PORT, unix:PATH or systemd:DOMAIN",
}


@pytest.mark.parametrize(("text", "said"), MISTAKES.items(), ids=MISTAKES.values())
def test_a_mistake_is_told_in_one_line(text: str, said: str) -> None:
    assert mistakes(text) == [said]


def test_federation_is_open_and_careful_by_default() -> None:
    s2s = read(HOST).s2s
    assert s2s.enabled
    assert s2s.starttls == ("tcp:5269",)
    assert s2s.direct_tls == ("tcp:5270",)
    assert s2s.tls == "required"
    assert s2s.authentication == "certificate-if-valid"
    assert (s2s.allow, s2s.deny, s2s.routes, s2s.peers, s2s.resolver, s2s.ca_file) == ((), (), {}, {}, None, None)


def test_a_host_federates_in_its_own_way() -> None:
    config = read(
        HOST
        + 's2s = {allow = [], authentication = "dialback"}\n[[host]]\ndomain = "museum.example"\ns2s.enabled = true\n'
        + '[s2s]\nenabled = false\nauthentication = "certificate"\nallow = ["*.BÜCHER.example"]\nidle_seconds = 60\n'
    )
    library, museum = (config.federation(host) for host in config.hosts)
    assert (library.enabled, library.authentication, library.allow) == (False, "dialback", ())
    assert (museum.enabled, museum.authentication, museum.allow) == (True, "certificate", ("*.bücher.example",))
    assert (library.idle_seconds, museum.idle_seconds) == (60, 60)


def test_other_servers_are_named_by_prepared_domains() -> None:
    s2s = read(HOST + '[s2s]\npeer."XN--BCHER-KVA.example".tls = "optional"\nroute."Museum.example." = "a.test:1"').s2s
    assert s2s.peers["bücher.example"].tls == "optional"
    assert s2s.peers["bücher.example"].authentication is None
    assert s2s.routes == {"museum.example": ("a.test", 1)}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.3:5269", ("127.0.0.3", 5269)),
        ("[2001:DB8:0::1]:65535", ("2001:db8::1", 65535)),
        ("Bücher.example:1", ("bücher.example", 1)),
        ("xmpp:5269", ("xmpp", 5269)),
    ],
)
def test_addresses_to_connect_to(text: str, address: tuple[str, int]) -> None:
    [parsed] = read(f'{HOST}[s2s.route]\n"b.example" = "{text}"').s2s.routes.values()
    assert parsed == address
    assert parse_address(str(parsed)) == parsed


@pytest.mark.parametrize(
    "text",
    ["", ":1", "a:", "a", "a:0", "a:65536", "a:-1", "a:x", "a:\u0661", "::1:1", "[::1]", "[::1:1", "[a]:1", "a:1 "],
)
def test_what_is_no_address_to_connect_to(text: str) -> None:
    assert len(mistakes(f'{HOST}[s2s]\nresolver = "{text}"')) == 1
    assert len(mistakes(f'{HOST}[s2s.route]\n"b.example" = "{text}"')) == 1


def test_privileges_hold_for_the_nearest_host_above_or_for_those_that_are_named() -> None:
    config = read(
        '[[host]]\ndomain = "example"\n'
        + HOST
        + '[[component]]\ndomain = "a.irc.Library.example"\nsecret = "1"\nprivileges.roster = "both"\n'
        + '[[component]]\ndomain = "irc.test"\nsecret = "2"\nprivileges = {hosts = ["EXAMPLE"], roster = "get"}\n'
        + '[[component]]\ndomain = "dns.test"\nsecret = "3"\n'
    )
    assert [config.managed_hosts(component) for component in config.components] == [
        ("library.example",),
        ("example",),
        (),
    ]


def test_a_secret_comes_from_the_file_or_from_another(tmp_path: Path) -> None:
    path, file = tmp_path / "irc.secret", tmp_path / "vrxmpp.toml"
    text = HOST + '[[component]]\ndomain = "irc.example"\nsecret_file = "irc.secret"'
    [component] = parse(text, file).components
    with pytest.raises(ValueError, match="cannot be read"):
        component.shared_secret()
    path.write_text(" \n")
    with pytest.raises(ConfigError, match=r"component\[0\].secret_file = .*: holds no secret$"):
        parse(text, file, files=True)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"component\[0\].secret_file = .*: is not UTF-8 text$"):
        parse(text, file, files=True)
    path.write_text("geheim lich\n")
    [component] = parse(text, file, files=True).components
    assert component.shared_secret() == "geheim lich"
    [component] = read(HOST + '[[component]]\ndomain = "irc.example"\nsecret = "hush"').components
    assert component.shared_secret() == "hush"


def test_secrets_are_never_shown() -> None:
    config = read(
        HOST
        + '[[component]]\ndomain = "irc.example"\nsecret = "hush"\n'
        + '[[component]]\ndomain = "bot.example"\nhandler = "a:Bot"\noptions = {password = "hush", rooms = ["hush"]}\n'
    )
    shown = as_toml(in_force(config))
    assert "hush" not in shown
    assert 'rooms = "***"' in shown
    assert "hush" not in f"{config!r} {config}"
    assert config.components[1].options == {"password": "hush", "rooms": ["hush"]}
