"""`python -m bench.crash`: processes are killed while people chat; then the archive is compared with what they know."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from pathlib import Path

import click

from tests.live.crash import KILLED, UNHURRIED, Conversations
from tests.live.server import Server


@click.command()
@click.option("--kills", type=click.IntRange(1), default=200, show_default=True, help="How many.")
def main(kills: int) -> None:
    """Kill the server, the recorder and the notary at random moments. Exit status 0: nothing was lost or doubled."""
    directory = Path(tempfile.mkdtemp(prefix="vrxmpp-crash-"))
    click.echo(f"the server is in {directory}", err=True)
    began = time.monotonic()
    server = Server(directory, UNHURRIED)
    server.start()
    with Conversations(server) as conversations:
        for number in range(1, kills + 1):
            roles = random.choice(KILLED)
            conversations.kill(*roles)
            click.echo(f"{number}: {' and '.join(roles)}; {conversations.accepted} messages accepted", err=True)
        server.stop()
    conversations.check()
    shutil.rmtree(directory)
    heard, refused = (sum(len(getattr(pair, what)) for pair in conversations.pairs) for what in ("heard", "refused"))
    click.echo(
        f"{kills} kills in {time.monotonic() - began:.0f} s: {conversations.accepted} messages accepted, {heard} heard "
        f"and {refused} refused. What was accepted or heard is in the archive once, and was there before it was heard."
    )


if __name__ == "__main__":
    main()
