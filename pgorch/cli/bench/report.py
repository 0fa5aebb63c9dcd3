"""On what the benchmark ran, and its figures for people."""

import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pgorch.cli.session import Session

_LINES = {
    "steps_per_second": "steps/s",
    "runs_per_second": "runs/s",
    "wal_bytes_per_step": "WAL bytes per step",
    "transactions_per_step": "transactions per step",
    "server_cpu_us_per_step": "server CPU per step, µs",
    "client_cpu_us_per_step": "worker CPU per step, µs",
    "steps_by_worker": "steps by worker",
    "idle_run_ms_p50": "run on an idle system, ms, p50",
    "idle_run_ms_p99": "run on an idle system, ms, p99",
    "marginal_step_ms": "one more step, ms",
    "resume_ms_p50": "decision to next step, ms, p50",
    "resume_ms_p99": "decision to next step, ms, p99",
    "starts_per_second_bulk": "starts/s, in bulk",
    "starts_per_second_single": "starts/s, one by one",
}


def circumstances(db: Session) -> dict[str, Any]:
    """Server, machine, date and command: without them a figure says nothing."""
    names = ("fsync", "synchronous_commit", "shared_buffers", "max_wal_size", "full_page_writes")
    settings = {name: db.value("select current_setting(%s) as setting", [name]) for name in names}
    version = db.value("select current_setting('server_version') as version")
    return {
        "postgres": {"version": version, **settings},
        "machine": machine(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["pgorch", *sys.argv[1:]]),
    }


def machine() -> dict[str, Any]:
    """The machine of the client."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else ""
    return {
        "cpus": os.cpu_count(),
        "cpu": model or platform.processor(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def for_people(figures: dict[str, Any]) -> list[str]:
    """One line for each figure that was measured."""
    lines = []
    for key, name in _LINES.items():
        value = figures.get(key)
        if isinstance(value, dict):
            lines.append(f"{name:<34}" + ", ".join(str(count) for count in value.values()))
        elif value is not None:
            lines.append(f"{name:<34}{value:,}")
    return lines
