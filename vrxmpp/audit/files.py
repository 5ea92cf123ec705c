"""Small secret files: replaced whole or not at all, on the disk when a call returns, their old bytes overwritten."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NEW = ".vrxmpp-new"  # being written; nothing needs it yet
_OLD = ".vrxmpp-old"  # replaced or destroyed, and still to be overwritten


@contextmanager
def changing(directory: Path) -> Iterator[None]:
    """Keep all others from changing files of a directory, and finish what a crash has interrupted. Raises OSError."""
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        for left in [*directory.glob(f".*{_NEW}"), *directory.glob(f".*{_OLD}")]:
            _clear(left)
        yield
    finally:
        os.close(held)


def replace(path: Path, content: bytes) -> None:
    """Write a file, in place of one that may be there; the old one stays if this fails. Raises OSError."""
    new, old = _beside(path, _NEW), _beside(path, _OLD)
    _clear(new)
    _clear(old)
    try:
        _write(new, content)
        with suppress(FileNotFoundError):
            os.link(path, old)  # a name by which the old bytes are found, even after a crash
        os.replace(new, path)
    except OSError:
        with suppress(OSError):
            _clear(new)
            _clear(old)
        raise
    _sync(path.parent)
    _clear(old)


def destroy(path: Path) -> None:
    """Overwrite and remove a file that may be there. Raises OSError."""
    old = _beside(path, _OLD)
    _clear(old)
    with suppress(FileNotFoundError):
        os.replace(path, old)
        _sync(path.parent)
    _clear(old)


def make_directory(path: Path) -> None:
    """Make a directory that only its owner reads, and those above it, if need be. Raises OSError."""
    if not path.is_dir():
        make_directory(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        _sync(path.parent)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}{ending}")


def _clear(left: Path) -> None:
    """Overwrite and remove what is left of a file, if it is there."""
    if not left.exists():
        return
    path = left.with_name(left.name[1:].removesuffix(_OLD))
    if not (path.exists() and path.samefile(left)):  # else it was never replaced
        _overwrite(left)
    left.unlink()
    _sync(left.parent)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _overwrite(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "wb") as file:
        file.write(bytes(os.fstat(descriptor).st_size))
        file.flush()
        os.fsync(descriptor)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
