"""What keeps the secrets in a process from leaving it: no core dump (getrlimit(2)), and no debugger (prctl(2))."""

from __future__ import annotations

import ctypes
import resource

_PR_SET_DUMPABLE = 4


def dump_no_core() -> None:
    """Leave no core dump, should this process crash: its keys would be on the disk, and in the next backup."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def shut_out_debuggers() -> None:
    """Dump no core, and let no process of the same user look into this one, where the system can be told so.

    The recorder and the notary do without: another process of their user can read their keys where they do, in files,
    and how much memory they take (proc(5), smaps_rollup) could no more be measured. What a command has of an officer
    is nowhere else.
    """
    dump_no_core()
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:  # Linux
        prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
