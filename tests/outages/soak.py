"""Figure G19: hours of steady work, and what grows meanwhile.

    python -m tests.outages.soak --hours 8 --rate 200 [--report SECONDS] [--out FILE]

An API and two workers on a server of their own with fsync; runs of five steps are started over HTTP, so many
steps a second. Finished runs are kept for a few minutes only, so that tables must stop growing. Each line is
one time: resident memory of API and workers (MB), sessions, pick-up p50/p95/p99 and calls' p99 (ms), size of
the tables and of the history (MB; it goes by whole weeks), runs kept, dead rows of hot tables. In the end the
last third is compared with the middle one.
Exit code 1 if memory, sessions or p99 have grown by more than a tenth (and 5 MB, 2, 5 ms).
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from tests.outages.calls import Callers, percentile
from tests.outages.feeding import STEPS, dead_tuples, moment, steady_ground, window
from tests.outages.ground import Ground

KEPT_MINUTES = 3
_CLIENTS = 8
_SLACK = {"memory": 5.0, "sessions": 2.0, "pickup_p99": 5.0, "call_p99": 5.0, "tables_mb": 5.0}


def resident(ground: Ground) -> dict[str, float]:
    """The processes' memory in MB."""
    sizes = {}
    for process in ground.processes:
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                sizes[str(process.pid)] = int(line.split()[1]) / 1024
    return sizes


def megabytes(ground: Ground, like: str) -> float:
    """The size of the tables that are, or are not, the history's."""
    return float(
        ground.value(
            "select sum(pg_total_relation_size(c.oid))::float8 / 1048576 from pg_class c"
            " where c.relnamespace = 'pgorch'::regnamespace and c.relkind = 'r'"
            f" and c.relname {like} '\\_history%%'"
        )
    )


def look(ground: Ground, since: str, until: str, calls: list[float]) -> dict[str, Any]:
    seen = window(ground, since, until)
    sizes = resident(ground)
    return {
        "steps_per_second": round(seen.steps_per_second, 1),
        "memory": round(sum(sizes.values()), 1),
        "memory_each": [round(size, 1) for size in sizes.values()],
        "sessions": ground.value("select count(*) from pg_stat_activity where application_name ~ '^pgorch'"),
        "pickup_p50": round(seen.p50, 2),
        "pickup_p95": round(seen.p95, 2),
        "pickup_p99": round(seen.p99, 2),
        "call_p99": round(percentile(calls, 99) * 1000, 1),
        "tables_mb": round(megabytes(ground, "not like"), 1),
        "history_mb": round(megabytes(ground, "like"), 1),
        "runs": ground.value("select count(*) from pgorch.runs"),
        "unfinished": ground.unfinished(),
        "dead": sum(dead for _, dead in dead_tuples(ground).values()),
    }  # fmt: skip


def soak(seconds: float, rate: float, report_seconds: float, out: Path | None) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    with steady_ground() as (ground, graph):
        api = ground.api()
        # Less than set_retention() takes: what would fill the tables in a month does so here in minutes.
        ground.db.execute("insert into pgorch.settings (name, value) values ('retention', to_jsonb(%s::text))"
                          " on conflict (name) do update set value = excluded.value",
                          [f"{KEPT_MINUTES} minutes"])  # fmt: skip
        callers = Callers([api], graph, clients=_CLIENTS, pause=_CLIENTS * STEPS / rate).start()
        began = time.monotonic()
        since = moment(ground)
        while time.monotonic() - began < seconds:
            time.sleep(report_seconds)
            # Workers do this each hour; here an hour has to pass in minutes.
            while ground.value("select pgorch.maintain()") > 1000:
                pass
            until = moment(ground)
            new, callers.calls = callers.calls, []
            lines.append({"minutes": round((time.monotonic() - began) / 60, 1),
                          **look(ground, since, until, [call.took for call in new])})  # fmt: skip
            since = until
            text = json.dumps(lines[-1])
            print(text, flush=True)
            if out is not None:
                with out.open("a") as file:
                    file.write(text + "\n")
            wrong = {call.status for call in new} - {200}
            assert not wrong, f"calls were answered with {wrong}"
        callers.stop()
        ground.all_ended()
        # The history of runs that were let go stays until all of its week are.
        ground.check(except_for=("I5 nothing belongs to a run that does not exist",))
    return lines


def compare(lines: list[dict[str, Any]]) -> bool:
    """Is the last third as the middle one? The first third warms up and fills the tables."""
    third = max(1, len(lines) // 3)
    middle, last = lines[-2 * third : -third], lines[-third:]
    flat = True
    for name, slack in _SLACK.items():
        was = statistics.median(line[name] for line in middle)
        now = statistics.median(line[name] for line in last)
        good = now <= was * 1.1 or now <= was + slack
        flat = flat and good
        print(f"{name:>12}: {was:.1f} -> {now:.1f}   {'flat' if good else 'GROWS'}")
    return flat


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hours", type=float, default=8)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--report", type=float, default=60)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = soak(options.hours * 3600, options.rate, options.report, options.out)
    sys.exit(0 if compare(lines) else 1)


if __name__ == "__main__":
    main()
