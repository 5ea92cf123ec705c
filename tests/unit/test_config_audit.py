"""The configuration's tables of the archive: what they accept, and what is said about a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from vrxmpp.config import ConfigError, parse

FILE = Path("/etc/vrxmpp/vrxmpp.toml")
HOST = '[[host]]\ndomain = "a.example"\n'

MISTAKES = {
    "[audit]\nenabled = 1": "audit.enabled = 1: must be true or false",
    '[audit]\non_failure = "drop"': 'audit.on_failure = "drop": must be "refuse" or "deliver"',
    '[audit]\nclass = "Staff"': (
        'audit.class = "Staff": must be small letters, digits and dashes, at most 32, a letter first'
    ),
    '[audit]\nclass = "audit"': 'audit.class = "audit": "audit" is the class of the archive\'s own records',
    '[audit]\nencrypted = "read"': 'audit.encrypted = "read": must be "record" or "refuse"',
    "[audit.checkpoints]\nevery_seconds = 0": "audit.checkpoints.every_seconds = 0: must be at least 1",
    '[audit.checkpoints]\nwitnesses = ["b.example", "B.example"]': (
        'audit.checkpoints.witnesses = ["b.example", "B.example"]: names a domain twice'
    ),
    '[audit.checkpoints]\nwitnesses = ["A.example"]': (
        'audit.checkpoints.witnesses = ["A.example"]: '
        "names a.example, which is served here: nobody vouches for themselves"
    ),
    '[audit.checkpoints]\nwitness_for = ["c.example", "a.example"]': (
        'audit.checkpoints.witness_for = ["c.example", "a.example"]: '
        "names a.example, which is served here: nobody vouches for themselves"
    ),
}


@pytest.mark.parametrize(("text", "said"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_is_told_in_one_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(HOST + text, FILE)
    assert str(caught.value) == f"{FILE}: {said}"


@pytest.mark.parametrize("source", ["", "file:", "command:", "passphrase:", "s3cret", "FILE"])
def test_what_is_no_source_of_a_root_key_is_not_repeated(source: str) -> None:
    """Somebody may have put the key itself there."""
    with pytest.raises(ConfigError) as caught:
        parse(f'{HOST}[audit]\nroot_key = "{source}"', FILE)
    assert 'must be "file", "file:PATH", "command:COMMAND" or "passphrase:FILE"' in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("file", "file"),
        ("file:root", "file:/etc/vrxmpp/root"),
        ("passphrase:/run/words", "passphrase:/run/words"),
        ("command:pass show root", "command:pass show root"),
    ],
)
def test_a_source_of_a_root_key_is_relative_to_the_file(source: str, read: str) -> None:
    assert parse(f'{HOST}[audit]\nroot_key = "{source}"', FILE).audit.root_key == read


def test_a_domain_has_its_own_class_and_the_rest_is_common() -> None:
    config = parse(f'{HOST}[host.audit]\nclass = "regulated"\n[audit]\nencrypted = "refuse"', FILE)
    archived = config.archived(config.hosts[0])
    assert (archived.class_name, archived.encrypted) == ("regulated", "refuse")
