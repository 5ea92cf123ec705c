"""The Merkle tree, beside pymerkle and the test vectors of Certificate Transparency (RFC 6962 §2.1)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from vrxmpp.audit.tree import (
    EMPTY,
    STORED,
    Frontier,
    Lookup,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_at,
    root_of,
    verify_consistency,
    verify_inclusion,
)

# The leaves and roots of Certificate Transparency's own tests.
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
MOST = 600  # leaves: enough for subtrees that are kept
HASHES = [leaf_hash(index.to_bytes(4)) for index in range(MOST)]
SIZES = st.integers(1, MOST)


def lookup(level: int, position: int) -> bytes:
    return root_of(HASHES[position << level : (position + 1) << level])


def lookup_vector(level: int, position: int) -> bytes:
    return root_of(map(leaf_hash, LEAVES[position << level : (position + 1) << level]))


def reference(leaves: list[bytes]) -> Any:
    tree = InmemoryTree(algorithm="sha256")
    for leaf in leaves:
        tree.append_entry(leaf)
    return tree


REFERENCE = reference([index.to_bytes(4) for index in range(MOST)])


@pytest.mark.parametrize("size", range(len(ROOTS)))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert root_of(map(leaf_hash, LEAVES[:size])).hex() == ROOTS[size]


@pytest.mark.parametrize(
    ("index", "size", "proof"),
    [
        (0, 1, []),
        (
            0,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
    ],
)
def test_inclusion_proofs_are_those_of_certificate_transparency(index: int, size: int, proof: list[str]) -> None:
    assert [step.hex() for step in inclusion_proof(index, size, lookup_vector)] == proof


@pytest.mark.parametrize(
    ("old", "new", "proof"),
    [
        (0, 5, []),
        (8, 8, []),
        (
            1,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            2,
            5,
            [
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
        (
            6,
            8,
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
    ],
)
def test_consistency_proofs_are_those_of_certificate_transparency(old: int, new: int, proof: list[str]) -> None:
    assert [step.hex() for step in consistency_proof(old, new, lookup_vector)] == proof


@given(st.lists(st.binary(max_size=40), max_size=70))
def test_the_root_is_what_pymerkle_says(leaves: list[bytes]) -> None:
    assert root_of(map(leaf_hash, leaves)) == (reference(leaves).get_root() if leaves else EMPTY)


@given(SIZES)
def test_the_root_of_any_earlier_size_is_what_pymerkle_says(size: int) -> None:
    assert root_at(size, lookup) == REFERENCE.get_root(size)


@given(st.data(), SIZES)
def test_a_leaf_is_proved_as_pymerkle_does_and_nothing_else_is(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof, root = inclusion_proof(index, size, lookup), root_at(size, lookup)
    assert proof == REFERENCE.prove_inclusion(index + 1, size).path[1:]  # theirs begins with the leaf
    assert verify_inclusion(HASHES[index], index, size, proof, root)

    other = data.draw(st.integers(-1, MOST).filter(lambda other: other != index))
    assert not verify_inclusion(HASHES[index], other, size, proof, root)
    assert not verify_inclusion(leaf_hash(b"forged"), index, size, proof, root)
    assert not verify_inclusion(HASHES[index], index, size, [*proof, root], root)
    assert not verify_inclusion(HASHES[index], index, size, proof, EMPTY)
    if proof:
        assert not verify_inclusion(HASHES[index], index, size, proof[:-1], root)
        assert not verify_inclusion(HASHES[index], index, size, proof[1:], root)


@given(st.data(), SIZES)
def test_growth_is_proved_and_nothing_else_is(data: st.DataObject, new: int) -> None:
    old = data.draw(st.integers(0, new))
    proof, old_root, new_root = consistency_proof(old, new, lookup), root_at(old, lookup), root_at(new, lookup)
    assert verify_consistency(old, new, proof, old_root, new_root)

    assert not verify_consistency(old, new, proof, leaf_hash(b"forged"), new_root)
    assert not verify_consistency(old, new, [*proof, old_root], old_root, new_root)
    assert not verify_consistency(new + 1, new, proof, old_root, new_root)
    assert not verify_consistency(-1, new, proof, old_root, new_root)
    if old:
        assert not verify_consistency(old, new, proof, old_root, leaf_hash(b"forged"))
    if proof:
        assert not verify_consistency(old, new, proof[:-1], old_root, new_root)
        assert not verify_consistency(old, new, [*proof[:-1], EMPTY], old_root, new_root)
        assert not verify_consistency(old, new, [], old_root, new_root)


def test_there_is_no_proof_of_what_cannot_be() -> None:
    for index, size in ((0, 0), (5, 5), (-1, 5)):
        with pytest.raises(ValueError, match="no leaf"):
            inclusion_proof(index, size, lookup)
    for old, new in ((6, 5), (-1, 5)):
        with pytest.raises(ValueError, match="grown"):
            consistency_proof(old, new, lookup)


@given(st.lists(st.integers(0, 300), max_size=6).filter(lambda batches: sum(batches) <= MOST))
def test_a_frontier_grows_the_same_in_any_batches_and_says_what_is_complete(batches: list[int]) -> None:
    frontier, complete = Frontier(), []
    for batch in batches:
        complete += frontier.append(HASHES[frontier.size : frontier.size + batch])
        assert frontier.root() == (REFERENCE.get_root(frontier.size) if frontier.size else EMPTY)
    blocks = frontier.size >> STORED
    assert complete == [(STORED, at, lookup(STORED, at)) for at in range(blocks)]


def test_a_frontier_goes_on_from_what_is_there() -> None:
    asked = []

    def counted(level: int, position: int) -> bytes:
        asked.append((level, position))
        return lookup(level, position)

    search: Lookup = counted
    frontier = Frontier.of(MOST - 1, search)
    assert len(asked) == (MOST - 1).bit_count()  # never more than the logarithm of the size
    other = frontier.copy()
    frontier.append(HASHES[-1:])
    assert frontier.root() == REFERENCE.get_root()
    assert (other.size, other.root()) == (MOST - 1, REFERENCE.get_root(MOST - 1))
