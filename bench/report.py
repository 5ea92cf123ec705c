"""The table: the median of all rounds by server, and its ratio to Prosody's."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

BASE = "prosody"
FIGURES = (  # scenario, figure, title
    ("chat", "per_second", "chat over TLS: messages/s"),
    ("chat", "per_cpu_second", "  per CPU-second of server"),
    ("chat", "p50_ms", "  delivery p50, ms"),
    ("chat", "p99_ms", "  delivery p99, ms"),
    ("chat-plain", "per_second", "chat without TLS: messages/s"),
    ("chat-plain", "per_cpu_second", "  per CPU-second of server"),
    ("federation", "per_second", "chat over s2s: messages/s"),
    ("federation", "per_cpu_second", "  per CPU-second of both"),
    ("federation", "p50_ms", "  delivery p50, ms"),
    ("federation", "p99_ms", "  delivery p99, ms"),
    ("archive", "per_second", "chat, archived: messages/s"),
    ("archive", "per_cpu_second", "  per CPU-second of server"),
    ("archive", "p50_ms", "  delivery p50, ms"),
    ("archive", "p99_ms", "  delivery p99, ms"),
    ("archive-rate", "p50_ms", "300 archived/s: delivery p50, ms"),
    ("archive-rate", "p99_ms", "  delivery p99, ms"),
    ("rate", "per_cpu_second", "500 messages/s: per CPU-second"),
    ("rate", "p50_ms", "  delivery p50, ms"),
    ("rate", "p99_ms", "  delivery p99, ms"),
    ("login", "per_second", "log-ins/s"),
    ("login", "per_cpu_second", "  per CPU-second of server"),
    ("presence", "per_second", "presence fan-out/s"),
    ("presence", "per_cpu_second", "  per CPU-second of server"),
    ("idle", "kib_per_connection", "KiB per idle TLS connection"),
    ("chat", "server_cpu_percent", "server's CPU in chat, %"),
    ("chat", "generator_cpu_percent", "generator's CPU in chat, %"),
    ("chat", "others_cpu_percent", "others' CPU in chat, %"),
)

Result = dict[str, Any]


def table(results: Sequence[Result], servers: Sequence[str]) -> str:
    """Lay out the medians and how far the rounds lay from them. Failed runs are named below, not counted."""
    base = BASE if BASE in servers else ""
    lines = ["".join([" " * 32, *(server.rjust(24) for server in servers)])]
    for scenario, figure, title in FIGURES:
        values = {server: _values(results, server, scenario, figure) for server in servers}
        if any(values.values()):
            compared = values.get(base, []) if not figure.endswith("_percent") else []
            cells = [_cell(values[server], compared if server != base else []) for server in servers]
            lines.append("".join([title.ljust(32), *(cell.rjust(24) for cell in cells)]))
    failed = [f"FAILED: {one['server']}, {one['scenario']}: {_reason(one)}" for one in results if not one["ok"]]
    return "\n".join([*lines, *failed])


def _values(results: Sequence[Result], server: str, scenario: str, figure: str) -> list[float]:
    same = [one for one in results if one["ok"] and one["server"] == server and one["scenario"] == scenario]
    return [one[figure] for one in same if figure in one]


def _cell(values: list[float], base: list[float]) -> str:
    """Write a median, the largest distance of a round from it, and the ratio to the base."""
    if not values:
        return "-"
    median = statistics.median(values)
    text = f"{median:.0f}" if median >= 100 else f"{median:.1f}"
    if len(values) > 1 and median:
        text += f" ±{100 * max(abs(value - median) for value in values) / median:.0f}%"
    ratio = f" x{median / statistics.median(base):.2f}" if base and statistics.median(base) else ""
    return text + ratio.rjust(8)


def _reason(result: Result) -> str:
    faults = ("lost", "duplicated", "reordered", "foreign", "refused")
    counted = [f"{result[fault]} {fault}" for fault in faults if result.get(fault)]
    return "; ".join(filter(None, [result.get("problem", ""), *counted]))
