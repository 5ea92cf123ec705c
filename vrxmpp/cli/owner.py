"""The state directory belongs to the server's user, whoever gives the command."""

from __future__ import annotations

import os
from pathlib import Path


def become_owner(directory: Path) -> None:
    """Let root act as the server's user, who must be able to write every file that is made here."""
    owner = directory.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
