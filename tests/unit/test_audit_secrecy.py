"""What keeps secrets in the memory of a process from leaving it, as the system sees it."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, resource
from vrxmpp.audit.secrecy import {name}
{name}()
print(*resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))  # PR_GET_DUMPABLE
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl(2) is Linux's")
@pytest.mark.parametrize(("name", "expected"), [("dump_no_core", "0 0 1"), ("shut_out_debuggers", "0 0 0")])
def test_no_core_is_dumped_and_a_command_cannot_be_looked_into(name: str, expected: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(name=name)], stdout=subprocess.PIPE, check=True, text=True
    )
    assert done.stdout.strip() == expected
