"""What a run cost: CPU time and memory of the server's processes and of the machine, from /proc."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def _process_table() -> dict[int, tuple[int, float]]:
    """Return, by pid, the parent and the CPU time (seconds, user and system) of every process (proc(5))."""
    table = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        table[int(directory.name)] = int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS
    return table


def _family(roots: Sequence[int], table: dict[int, tuple[int, float]]) -> list[int]:
    """Return the processes `roots` and their descendants."""
    family = [root for root in roots if root in table]
    for member in family:
        family.extend(pid for pid, (parent, _) in table.items() if parent == member)
    return family


def cpu_seconds(roots: Sequence[int]) -> float:
    """Return the CPU time used so far by processes and their descendants."""
    table = _process_table()
    return sum(table[pid][1] for pid in _family(roots, table))


def pss_kib(roots: Sequence[int]) -> int:
    """Return the memory of processes and their descendants, KiB: proportional set size, shared pages shared out."""
    total = 0
    for pid in _family(roots, _process_table()):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total


def _machine_busy() -> float:
    """Return the CPU seconds the whole machine has spent working, as far as it knows."""
    user, nice, system, _idle, _wait, interrupt, soft = (
        int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]
    )
    return (user + nice + system + interrupt + soft) / TICKS


@dataclass(frozen=True)
class Snapshot:
    """Clocks read at one moment, in seconds."""

    wall: float
    server: float
    generator: float
    machine: float

    @classmethod
    def take(cls, servers: Sequence[int]) -> Snapshot:
        """Read the clocks; `servers` are the pids of the servers under test, whose time is added up."""
        return cls(time.monotonic(), cpu_seconds(servers), time.process_time(), _machine_busy())

    def until(self, end: Snapshot, units: int) -> dict[str, float]:
        """Return the figures of the time up to `end`, in which `units` were served."""
        seconds = end.wall - self.wall
        server, generator = end.server - self.server, end.generator - self.generator
        others = max(0.0, end.machine - self.machine - server - generator)
        return {
            "seconds": round(seconds, 3),
            "per_second": round(units / seconds, 1),
            "per_cpu_second": round(units / server, 1) if server else 0.0,
            "per_generator_cpu_second": round(units / generator, 1) if generator else 0.0,
            "server_cpu_percent": round(100 * server / seconds, 1),
            "generator_cpu_percent": round(100 * generator / seconds, 1),
            "others_cpu_percent": round(100 * others / seconds, 1),
        }


def latencies(nanoseconds: Sequence[int]) -> dict[str, float]:
    """Return the median, the 99th percentile and the maximum, in milliseconds."""
    ordered = sorted(nanoseconds)
    if not ordered:
        return {}
    shares = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
    return {name: round(ordered[math.ceil(share * len(ordered)) - 1] / 1e6, 3) for name, share in shares.items()}
