"""Signed notes and cosignatures, against what others have published (C2SP signed-note, tlog-cosignature, tlog-witness).

The notes and keys are those of the specifications, of golang.org/x/mod/sumdb/note, of sum.golang.org, and of sigsum.
"""

from __future__ import annotations

from base64 import b64decode

import pytest

from vrxmpp.audit.notes import (
    COSIGNATURE,
    ED25519,
    Checkpoint,
    Note,
    NoteError,
    Signer,
    Submission,
    Verifier,
    cosigned_at,
    read_cosignature,
    write_note,
)

FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOO_NOTE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
"""
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SEED = b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
ENOCH_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)
PROBLEM = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.
"""
GO = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
GO_CHECKPOINT = """go.sum database tree
30055305
mXfgRcJ0bG0j3CPdKwgGWtUzBUbX67saZGRmFuJGGsM=

— sum.golang.org Az3grpgEild5qw7+5dtV13Kf1C2Xurm8q4fhdxvcsDHnqNTaxL2AFjBY+2TyGKevucFcAAlWFJJYle3EJlDCrQ+y3A8=
"""
SIGSUM_SEED = bytes([17]) + bytes(31)
SIGSUM_ROOT = bytes([28, 14, 71]) + bytes(29)
SIGSUM_ORIGIN = "sigsum.org/v1/tree/e796172b92befd62d9dc67e41c2f5bc9d3100a3023b20b1ca40288dd1c679e69"
SIGSUM_CHECKPOINT = f"""{SIGSUM_ORIGIN}
10
HA5HAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=

— {SIGSUM_ORIGIN} gJ2ho0n8F8olcerUF1FFdv235A/5as/coWrpLrtE7ovMeP5whgwouYExowG/lTznxu6OUGjjt5yJQ6bXtTcf718MqAQ=
"""
SIGSUM_COSIGNATURE = (
    "— example.org/witness "
    "ys8uUAAAAAAAAATSftMzceM8zssdZ9jin9SjwIxzx9iADMf63VqirX2hafol9RsqNqbofIz0LVRqHXI2kpEBSki5RTXFtxz1vo9+Cg==\n"
)
SOFA = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)
SOFA_COSIGNATURE = (
    "— witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)
SOFA_HASHES = """PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=
"""


def names(note: str, *keys: str) -> list[str]:
    return [signature.name for signature in Note.parse(note).signed_by(map(Verifier.parse, keys))]


# -- what others have signed


@pytest.mark.parametrize(
    ("note", "key"),
    [(FOO_NOTE, FOO), (f"{PROBLEM}\n{PETER_LINE}", PETER), (GO_CHECKPOINT, GO)],
    ids=["C2SP", "Go", "sum.golang.org"],
)
def test_published_notes(note: str, key: str) -> None:
    assert names(note, key) == [key.partition("+")[0]]
    for changed in (note.replace("a", "b", 1), note.replace("\n\n", " \n\n", 1)):
        with pytest.raises(NoteError):
            names(changed, key)


@pytest.mark.parametrize("key", [FOO, PETER, ENOCH, GO])
def test_published_keys(key: str) -> None:
    assert Verifier.parse(key).text == key
    assert Verifier.parse(key).type == ED25519


def test_signing_as_go_does() -> None:
    """Ed25519 gives the same signature to everybody who has the key (RFC 8032)."""
    signer = Signer("PeterNeumann", ED25519, PETER_SEED)
    assert signer.verifier.text == PETER
    assert write_note(PROBLEM, signer.sign(PROBLEM, 0)) == f"{PROBLEM}\n{PETER_LINE}"


def test_signing_as_sigsum_does() -> None:
    signer = Signer(SIGSUM_ORIGIN, ED25519, SIGSUM_SEED)
    text = Checkpoint(SIGSUM_ORIGIN, 10, SIGSUM_ROOT).text
    assert write_note(text, signer.sign(text, 0)) == SIGSUM_CHECKPOINT


def test_cosigning_as_sigsum_does() -> None:
    """cosignature/v1, its key id, its time and what is signed."""
    text = Checkpoint("example.org/log", 10, SIGSUM_ROOT).text
    signer = Signer("example.org/witness", COSIGNATURE, SIGSUM_SEED)
    assert signer.sign(text, 1234).line == SIGSUM_COSIGNATURE
    note = write_note(text, Signer("example.org/log", ED25519, PETER_SEED).sign(text, 0))
    found = read_cosignature(note, SIGSUM_COSIGNATURE, [signer.verifier])
    assert cosigned_at(found) == 1234


def test_the_published_cosignature_is_read() -> None:
    """C2SP tlog-cosignature: its example, of which the key is not published."""
    own, cosignature = Note.parse(SOFA + SOFA_COSIGNATURE).signatures
    assert (own.name, own.line) == ("example.com/behind-the-sofa", SOFA.rpartition("\n\n")[2])
    assert (cosignature.id.hex(), cosigned_at(cosignature)) == ("8d66cf3f", 1_679_315_147)
    assert cosignature.line == SOFA_COSIGNATURE


# -- keys


def test_no_part_of_a_key_is_a_key() -> None:
    """As golang.org/x/mod/sumdb/note tests it."""
    whole = range(len(PETER) + 1)
    parts = [PETER[start:end] for start in whole for end in whole[start + 1 :]]
    changed = [PETER[:at] + chr(ord(PETER[at]) + 1) + PETER[at + 1 :] for at in range(len(PETER))]
    for bad in {*parts, *changed} - {PETER}:
        with pytest.raises(NoteError):
            Verifier.parse(bad)


@pytest.mark.parametrize(
    "key",
    [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",  # too long
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",  # of an unknown type
        PETER.replace("c74f20a3", "C74F20A3"),  # signed-note: lower case
        PETER + "\n",
        "",
    ],
)
def test_what_is_no_key(key: str) -> None:
    with pytest.raises(NoteError):
        Verifier.parse(key)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\u2003b", "a\nb"])
def test_what_is_no_name(name: str) -> None:
    """signed-note: no Unicode spaces and no plus."""
    with pytest.raises(NoteError):
        Verifier(name, ED25519, bytes(32))


def test_one_key_for_two_types_has_two_ids() -> None:
    """signed-note, "Signatures"."""
    assert Verifier("a", ED25519, bytes(32)).id != Verifier("a", COSIGNATURE, bytes(32)).id


# -- notes


def test_signatures_of_others_are_passed_over() -> None:
    note = f"{PROBLEM}\n{ENOCH_LINE}{PETER_LINE}"
    assert names(note, PETER) == ["PeterNeumann"]
    assert names(note, PETER, ENOCH) == ["EnochRoot", "PeterNeumann"]
    with pytest.raises(NoteError, match="known"):
        names(note, FOO)


def test_one_bad_signature_of_a_known_key_spoils_a_note() -> None:
    """signed-note: where name and id fit, the signature must."""
    bad = PETER_LINE.replace("nAM=", "nAI=")
    assert names(f"{PROBLEM}\n{ENOCH_LINE}{bad}", ENOCH) == ["EnochRoot"]
    with pytest.raises(NoteError, match="PeterNeumann"):
        names(f"{PROBLEM}\n{ENOCH_LINE}{bad}", ENOCH, PETER)


@pytest.mark.parametrize("value", [b"", bytes(7), bytes(8), bytes(64), bytes(72)])
@pytest.mark.parametrize("type", [ED25519, COSIGNATURE])
def test_a_signature_of_any_length_is_refused_not_stumbled_over(type: int, value: bytes) -> None:
    verifier = Signer("w", type, PETER_SEED).verifier
    assert not verifier.verifies(PROBLEM, value)


def test_the_text_ends_at_the_last_empty_line() -> None:
    """signed-note: the text may have empty lines, too."""
    signer = Signer("PeterNeumann", ED25519, PETER_SEED)
    text = f"{PROBLEM}\n{PETER_LINE}\n\n{PROBLEM}"
    note = Note.parse(write_note(text, signer.sign(text, 0)))
    assert note.text == text
    assert len(note.signed_by([signer.verifier])) == 1


@pytest.mark.parametrize(
    "note",
    [
        PROBLEM,
        f"{PROBLEM}\n",
        f"{PROBLEM}\n{PETER_LINE[:-1]}",
        f"\x01{PROBLEM}\n{PETER_LINE}",
        f"a\r\n\r\n{PETER_LINE}",
        f"\ud800{PROBLEM}\n{PETER_LINE}",
        f"{PROBLEM}\n{PETER_LINE}Unexpected line.\n",
        f"{PROBLEM}\n{PETER_LINE.replace('PeterNeumann', 'Bad Name')}",
        f"{PROBLEM}\n{PETER_LINE.replace('PeterNeumann', 'a+b')}",
        f"{PROBLEM}\n{PETER_LINE.replace('PeterNeumann', '')}",
        f"{PROBLEM}\n{PETER_LINE.replace('— ', '- ')}",
        f"{PROBLEM}\n{PETER_LINE.replace('nAM=', 'nAN=')}",  # the same bytes, written otherwise
        f"{PROBLEM}\n{PETER_LINE.replace('nAM=', 'nAM')}",
        f"{PROBLEM}\n{PETER_LINE.replace('x08', 'é08')}",
        f"{PROBLEM}\n— PeterNeumann x08go w==\n",
        f"{PROBLEM}\n— PeterNeumann x08gow==\n",  # an id, and nothing behind it
        f"{PROBLEM}\n{PETER_LINE * 101}",
        f"{'a' * 65_536}\n\n{PETER_LINE}",
        "",
    ],
)
def test_what_is_no_note(note: str) -> None:
    with pytest.raises(NoteError, match=r"not (a signed note|base64)"):
        Note.parse(note)


def test_many_signatures_are_taken() -> None:
    """signed-note: 16 at least."""
    assert names(f"{PROBLEM}\n{ENOCH_LINE * 99}{PETER_LINE}", PETER) == ["PeterNeumann"]


# -- checkpoints


def test_the_published_checkpoint() -> None:
    text = Note.parse(SOFA).text
    checkpoint = Checkpoint.parse(text)
    assert checkpoint[:2] == ("example.com/behind-the-sofa", 20_852_163)
    assert checkpoint.text == text
    assert Checkpoint.parse(f"{text}an extension\n") == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "log\n10\n",
        f"log\n10\n{'A' * 43}=",
        f"\n10\n{'A' * 43}=\n",
        f"log\n\n{'A' * 43}=\n",
        f"log\n10\n{'A' * 43}=\n\n",
        f"log\n10\n{'A' * 43}=\n\nb\n",
        f"log\n010\n{'A' * 43}=\n",
        f"log\n-1\n{'A' * 43}=\n",
        f"log\n+1\n{'A' * 43}=\n",
        f"log\n1_0\n{'A' * 43}=\n",
        f"log\n٣\n{'A' * 43}=\n",
        f"log\n{'9' * 20}\n{'A' * 43}=\n",
        f"log\n10\n{'A' * 40}\n",
        f"log\n10\n{'A' * 42}B=\n",
        "log\n10\nnot base64\n",
    ],
)
def test_what_is_no_checkpoint(text: str) -> None:
    """tlog-checkpoint: no leading zeros, no empty lines, a hash of 32 bytes."""
    with pytest.raises(NoteError):
        Checkpoint.parse(text)


# -- what is said to a witness, and back


def test_the_published_request() -> None:
    """tlog-witness, add-checkpoint."""
    body = f"old 20852014\n{SOFA_HASHES}\n{SOFA}"
    submission = Submission.parse(body)
    assert (submission.old, len(submission.proof), submission.note) == (20_852_014, 4, SOFA)
    assert submission.text == body
    assert Submission.parse(f"old 0\n\n{SOFA}").proof == ()


@pytest.mark.parametrize(
    "body",
    [
        "",
        SOFA,
        f"old 1\n{SOFA}",
        f"old 01\n\n{SOFA}",
        f"old\n\n{SOFA}",
        f"old -1\n\n{SOFA}",
        f"new 1\n\n{SOFA}",
        f"old 1\nAAAA\n\n{SOFA}",
        f"old 1\n{'A' * 43}\n\n{SOFA}",
        f"old 1\n{(chr(65) * 43 + '=' + chr(10)) * 64}\n{SOFA}",
        f"\nold 1\n\n{SOFA}",
    ],
)
def test_what_is_no_request(body: str) -> None:
    with pytest.raises(NoteError):
        Submission.parse(body)


def test_a_cosignature_is_of_this_note_and_by_this_witness() -> None:
    witness = Signer("w.example/witness", COSIGNATURE, PETER_SEED)
    line = witness.sign(Note.parse(SOFA).text, 5).line
    assert cosigned_at(read_cosignature(SOFA, line, [witness.verifier])) == 5
    other = Signer("w.example/witness", COSIGNATURE, SIGSUM_SEED)
    for note, lines, verifier in (
        (SOFA.replace("20852163", "20852164"), line, witness.verifier),
        (SOFA, line, other.verifier),
        (SOFA, other.sign(Note.parse(SOFA).text, 5).line, witness.verifier),
        (SOFA, "", witness.verifier),
        (SOFA, f"more text\n\n{line}", witness.verifier),
    ):
        with pytest.raises(NoteError):
            read_cosignature(note, lines, [verifier])


def test_the_time_of_a_cosignature_cannot_be_changed() -> None:
    witness = Signer("w.example/witness", COSIGNATURE, PETER_SEED)
    signature = witness.sign(SOFA, 5)
    assert witness.verifier.verifies(SOFA, signature.value)
    assert not witness.verifier.verifies(SOFA, bytes(7) + b"\6" + signature.value[8:])
