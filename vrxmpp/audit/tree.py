"""The Merkle tree over the leaves: its root, and the proofs that it has something and only grew (RFC 6962 §2.1)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

EMPTY = hashlib.sha256().digest()
"""The root of a tree without leaves."""

STORED = 8  # each so many levels, the hashes of complete subtrees are worth keeping

Lookup = Callable[[int, int], bytes]
"""Returns the hash of a complete subtree, by its level (it has 2^level leaves) and its position among those."""


class Subtree(NamedTuple):
    """A subtree that is complete, of 2^level leaves."""

    level: int
    position: int
    hash: bytes


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf."""
    return hashlib.sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node with two children."""
    return hashlib.sha256(b"\1" + left + right).digest()


class Frontier:
    """What is needed of a tree to let it grow: the roots of the complete subtrees it consists of."""

    __slots__ = ("_peaks", "size")

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self._peaks = list(peaks)  # the largest first: one for each bit that is set in the size

    @classmethod
    def of(cls, size: int, lookup: Lookup) -> Frontier:
        """Return the frontier of a tree that is already there."""
        return cls(size, _peaks(0, size, lookup))

    def copy(self) -> Frontier:
        """Return one that grows by itself."""
        return Frontier(self.size, self._peaks)

    def append(self, hashes: Iterable[bytes]) -> list[Subtree]:
        """Add leaves by their hashes; return the subtrees this completes, at the levels that are kept."""
        sha256, peaks, size, complete = hashlib.sha256, self._peaks, self.size, []
        for leaf in hashes:
            size += 1
            hash, position, level = leaf, size, 0
            while not position & 1:
                hash = sha256(b"\1" + peaks.pop() + hash).digest()
                position >>= 1
                level += 1
                if not level % STORED:
                    complete.append(Subtree(level, position - 1, hash))
            peaks.append(hash)
        self.size = size
        return complete

    def root(self) -> bytes:
        """Return the root of the tree."""
        return _join(self._peaks) if self._peaks else EMPTY


def root_of(hashes: Iterable[bytes]) -> bytes:
    """Return the root of the tree with these leaf hashes."""
    frontier = Frontier()
    frontier.append(hashes)
    return frontier.root()


def root_at(size: int, lookup: Lookup) -> bytes:
    """Return the root the tree had when it was of this size."""
    return Frontier.of(size, lookup).root()


def inclusion_proof(index: int, size: int, lookup: Lookup) -> list[bytes]:
    """Return the proof that a leaf is in the tree of this size (RFC 6962 §2.1.1). ValueError if it cannot be."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_hash_of(middle, end, lookup))
            end = middle
        else:
            proof.append(_hash_of(start, middle, lookup))
            start = middle
    proof.reverse()
    return proof


def consistency_proof(old: int, new: int, lookup: Lookup) -> list[bytes]:
    """Return the proof that the tree of size ``new`` has grown out of that of size ``old`` (RFC 6962 §2.1.2).

    It is empty where one of them is empty or both are the same. ValueError if the old one is the larger.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves cannot have grown out of one of {old}")
    if old in (0, new):
        return []
    proof: list[bytes] = []
    start, end, is_known = 0, new, True  # until a part is cut off on the left, the old root itself is what is left
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(_hash_of(middle, end, lookup))
            end = middle
        else:
            proof.append(_hash_of(start, middle, lookup))
            start, is_known = middle, False
    if not is_known:
        proof.append(_hash_of(start, end, lookup))
    proof.reverse()
    return proof


def _split(size: int) -> int:
    """Return the largest power of two below ``size``."""
    return 1 << (size - 1).bit_length() - 1


def _peaks(start: int, end: int, lookup: Lookup) -> list[bytes]:
    """Return the roots of the complete subtrees that some leaves consist of, the largest first.

    They begin where a complete subtree of all of them could: so do those a proof asks for.
    """
    peaks, size = [], end - start
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            peaks.append(lookup(level, start >> level))
            start += 1 << level
    return peaks


def _join(peaks: Sequence[bytes]) -> bytes:
    *others, hash = peaks
    for peak in reversed(others):
        hash = node_hash(peak, hash)
    return hash


def _hash_of(start: int, end: int, lookup: Lookup) -> bytes:
    return _join(_peaks(start, end, lookup))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Check that the leaf with this hash is in the tree of that root (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last, hash = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            hash = node_hash(step, hash)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            hash = node_hash(hash, step)
        place, last = place >> 1, last >> 1
    return last == 0 and hash == root


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Check that the tree of ``new_root`` has grown out of that of ``old_root`` (RFC 9162 §2.1.4.2)."""
    if not 0 <= old <= new:
        return False
    if old in (0, new):
        return not proof and old_root == (new_root if old == new else EMPTY)
    if not proof:
        return False
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    first, *steps = proof if place else (old_root, *proof)
    before = after = first
    for step in steps:
        if last == 0:
            return False
        if place & 1 or place == last:
            before, after = node_hash(step, before), node_hash(step, after)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            after = node_hash(after, step)
        place, last = place >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root
