"""`python -m bench`: vrxmpp, Prosody and ejabberd by turns under the same loads, and a table of what came out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import click

from bench import peers, report

PROJECT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"

# How many servers there are, and accounts on each, and what the generator is told; its own defaults are the rest.
# In those that begin with "archive", what is said is archived: by vrxmpp sealed and on the disk before it is delivered,
# by the others as they come.
SCENARIOS = {
    "chat": (1, 100, "--tls starttls chat --pairs 50 --window 2 --seconds 6"),
    "chat-plain": (1, 100, "--tls none chat --pairs 50 --window 2 --seconds 6"),
    "federation": (2, 50, "--tls starttls chat --pairs 50 --window 2 --seconds 6"),
    "archive": (1, 100, "--tls starttls chat --pairs 50 --window 2 --seconds 6"),
    "archive-rate": (1, 100, "--tls starttls rate --pairs 50 --rate 300 --seconds 6"),
    "rate": (1, 100, "--tls starttls rate --pairs 50 --rate 500 --seconds 6"),
    "login": (1, 50, "--tls starttls --sasl SCRAM-SHA-1 login --number 600 --at-once 32 --users 50"),
    "presence": (1, 201, "--tls starttls presence --contacts 200 --flips 150 --window 2"),
    "idle": (1, 1000, "--tls starttls idle --number 1000 --hold 8"),
}


def names(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    """Read a comma-separated list of servers or scenarios."""
    known = peers.PEERS if parameter.name == "servers" else SCENARIOS
    chosen = value.split(",")
    if unknown := set(chosen) - set(known):
        raise click.BadParameter(f"{', '.join(sorted(unknown))} is not among {', '.join(known)}")
    return chosen


@click.command(context_settings={"show_default": True})
@click.option("--servers", callback=names, default=",".join(peers.PEERS), help="Which, in which order.")
@click.option("--scenarios", callback=names, default=",".join(SCENARIOS), help="Which.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, help="How often; every other one in reverse order.")
def main(servers: list[str], scenarios: list[str], rounds: int) -> None:
    """Compare XMPP servers on this machine. Exit status 0: every run was clean."""
    signal.signal(signal.SIGTERM, _end)
    for server in [name for name in servers if not peers.PEERS[name].installed]:
        click.echo(f"{server} is not installed and left out", err=True)
        servers.remove(server)
    RESULTS.mkdir(exist_ok=True)
    lines = RESULTS / time.strftime("%Y-%m-%d-%H%M%S.jsonl")
    results = []
    try:
        for number in range(rounds):
            for scenario in scenarios:
                for server in servers if number % 2 == 0 else reversed(servers):
                    result = run(peers.PEERS[server], scenario) | {"round": number}
                    results.append(result)
                    with lines.open("a") as file:
                        file.write(json.dumps(result) + "\n")
    except KeyboardInterrupt:
        click.echo("interrupted; this is what there is", err=True)
    if results:
        click.echo(f"{report.table(results, servers)}\n\nAll figures: {lines.relative_to(PROJECT)}")
    sys.exit(0 if results and all(result["ok"] for result in results) else 1)


def _end(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run(peer: peers.Peer, scenario: str) -> report.Result:
    """Start servers of one kind afresh, play one scenario, stop them; return what the generator found."""
    cores = sorted(os.sched_getaffinity(0))
    server_core, generator_core = cores[0], cores[-1]
    servers, users, arguments = SCENARIOS[scenario]
    about = {"server": peer.name, "version": peer.version, "scenario": scenario, "time": time.time()}
    with tempfile.TemporaryDirectory(prefix="vrxmpp-bench-") as directory, ExitStack() as stack:
        places = peers.two_places(Path(directory), users, archived=scenario.startswith("archive"))[:servers]
        try:
            pids = [stack.enter_context(peers.running(peer, place, server_core)) for place in places]
            stack.enter_context(peers.pinned(generator_core))
            result = about | generate(places, pids, arguments)
            if servers > 1 and result["ok"] and not all(peer.federated(place) for place in places):
                result |= {"ok": False, "problem": "not every server has proven its domain by its certificate"}
        except peers.NotRunningError as error:
            result = about | {"ok": False, "problem": str(error)}
    shown = {key: result[key] for key in ("per_second", "per_cpu_second", "kib_per_connection") if key in result}
    click.echo(f"# {scenario}, {peer.name}: {shown if result['ok'] else result['problem'] or 'FAILED'}", err=True)
    return result


def generate(places: Sequence[peers.Place], pids: Sequence[int], arguments: str) -> report.Result:
    """Run the load generator against servers; return its line of results."""
    command = [sys.executable, "-m", "bench.load"]
    for place, pid in zip(places, pids, strict=True):
        command += [f"--port={place.port}", f"--domain={place.domain}", f"--pid={pid}"]
    command += arguments.split()
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    try:
        result: report.Result = json.loads(done.stdout)
    except ValueError:
        result = {"ok": False, "problem": f"the generator: {done.stderr.strip()[-500:]}"}
    return result


if __name__ == "__main__":
    main()
