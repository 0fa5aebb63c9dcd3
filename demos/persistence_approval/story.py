"""The persistence and approval demo, told and checked."""

import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from demos.machinery import API, WORKERS, Machinery
from demos.story import Refused, ask, claim, steps_of, tell, wait_for

GRAPH = Path(__file__).parent / "graph.json"


def play(machinery: Machinery, yes: bool) -> None:
    """Kill a worker, stop everything, go on, decide over HTTP and in psql. Disproved if it goes otherwise."""
    api = machinery.api
    graph_id = api.post("/graph/create", json.loads(GRAPH.read_text()))["graph_id"]
    adelie, gentoo = (_start(machinery, graph_id, species) for species in ("Adelie", "Gentoo"))
    tell("Two runs estimate how heavy the penguins are. Each takes a few seconds, long enough to be killed.")
    survivor = _kill_in_the_middle(machinery, adelie)
    documents = {run_id: machinery.settled(run_id, "awaiting_approval") for run_id in (adelie, gentoo)}
    _check_takeover(machinery, adelie, documents[adelie], survivor)

    tell("Both runs wait for a person now. Nothing needs to run for that:")
    _stop_everything(machinery)
    machinery.start_postgres()
    machinery.start_api()
    machinery.await_api()
    api = machinery.api
    claim(
        "PostgreSQL and the API are back, and both runs are exactly as they were",
        all(api.state(run_id) == documents[run_id] for run_id in (adelie, gentoo)),
    )

    tell("Decisions need no worker either:")
    decision = _decide_by_http(machinery, adelie, documents[adelie], yes)
    _decide_by_psql(machinery, gentoo)
    try:
        api.post(f"/graph/resume/{gentoo}", {"decision": "rejected"})
        refused = 0
    except Refused as refusal:
        refused = refusal.code
    claim("a second, contrary decision is refused with 409", refused == 409)
    live = machinery.rows("select from pgorch.worker_list where status = 'alive'")
    claim("no worker lives yet, so nothing is published", not live and _published(machinery) == {})

    machinery.start_workers(*WORKERS)
    document = machinery.settled(gentoo, "completed")
    claim("the run decided in psql has finished", steps_of(document) == ["estimate", "release", "publish"])
    document = machinery.settled(adelie, "completed" if decision == "approved" else "failed")
    claim(
        f"the other, {decision}, has ended as {document['status']}",
        document["error"] is None or decision != "approved",
    )
    expected = {gentoo: 1, adelie: 1} if decision == "approved" else {gentoo: 1}
    claim("each estimate that was released is published exactly once", _published(machinery) == expected)
    for row in machinery.rows(
        "select species, mean_g, low_g, high_g from estimates.published order by species"
    ):
        tell(f"    {row['species']}: {row['mean_g']} g (95 % between {row['low_g']} and {row['high_g']} g)")


def _start(machinery: Machinery, graph_id: str, species: str) -> str:
    body = {"graph_id": graph_id, "initial_state": {"species": species, "seconds": 2.5}}
    return str(machinery.api.post("/graph/run", body)["run_id"])


def _kill_in_the_middle(machinery: Machinery, run_id: str) -> str:
    """Kill the worker that runs a step of this run; the name of the one that is left."""

    def under_way() -> dict[str, Any] | None:
        # The tool has left its trace, so the step is really in the middle, and its worker is known.
        found = machinery.rows("select to_regclass('estimates.attempts') is not null as there")
        rows = found[0]["there"] and machinery.rows(
            """
            select s.worker, s.attempt, a.process
            from pgorch.live_steps s
            join estimates.attempts a on a.run_id = s.run_id and a.attempt = s.attempt
            where s.run_id = %s and s.node = 'estimate' and s.status = 'running'
            """,
            run_id,
        )
        return rows[0] if rows else None

    step = wait_for("A worker runs the first step", under_way)
    victim = str(step["worker"])
    claim(
        f"{victim} (process {step['process']}) is in the middle of the first step, attempt {step['attempt']}",
        machinery.children[victim].pid == step["process"] and step["attempt"] == 1,
    )
    machinery.kill(victim)
    tell(f"kill -9 {step['process']}")
    [survivor] = set(WORKERS) - {victim}
    return survivor


def _check_takeover(machinery: Machinery, run_id: str, document: Any, survivor: str) -> None:
    traces = machinery.rows(
        "select attempt, process, started_at from estimates.attempts where run_id = %s order by attempt",
        run_id,
    )
    processes = [row["process"] for row in traces]
    gap = (traces[-1]["started_at"] - traces[0]["started_at"]).total_seconds() if len(traces) > 1 else 0.0
    claim(
        f"{survivor} (process {machinery.children[survivor].pid}) took over, attempt 2, "
        f"{gap:.1f} s after the first began",
        [row["attempt"] for row in traces] == [1, 2]
        and processes[1] == machinery.children[survivor].pid
        and processes[0] != processes[1],
    )
    kinds = [
        (event["kind"], event.get("attempt")) for event in document["history"] if event["node"] == "estimate"
    ]
    claim(
        "the history has the lost attempt, and one checkpoint of the second",
        kinds == [("attempt_lost", 1), ("step_completed", 2)],
    )


def _stop_everything(machinery: Machinery) -> None:
    postmaster = machinery.postmaster()
    began = datetime.now(UTC)
    ended = machinery.stop_all()
    seconds = (datetime.now(UTC) - began).total_seconds()
    claim(
        f"the {API}, the worker and PostgreSQL have ended ({len(ended) + 1} processes, {seconds:.1f} s)",
        len(ended) == 2 and not any(_lives(process) for process in (*ended, postmaster)),
    )
    claim("nothing answers any more", not machinery.answers())


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # One that has ended and was not buried yet does nothing any more.
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def _decide_by_http(machinery: Machinery, run_id: str, document: Any, yes: bool) -> str:
    decision: str | None = "approved"
    if not yes:
        decision = ask(
            document["approvals"][0]["title"],
            lambda: machinery.api.state(run_id),
            [f"curl -X POST {machinery.api.address}/graph/resume/{run_id}"],
        )
    if decision is not None:
        machinery.api.post(f"/graph/resume/{run_id}", {"decision": decision})
    made = _decision(machinery.api.state(run_id))
    claim(
        f"one was {made['output']['decision']} over HTTP (by {made['actor']})",
        decision in (None, made["output"]["decision"]),
    )
    return str(made["output"]["decision"])


def _decide_by_psql(machinery: Machinery, run_id: str) -> None:
    statement = f"select pgorch.decide('{run_id}', 'approved', p_comment => 'From psql.')"
    if machinery.psql:
        done = subprocess.run([*machinery.psql, "-c", statement], capture_output=True, text=True, timeout=60)
        claim(f'the other was approved in psql: "{statement}"', done.returncode == 0)
    else:
        machinery.rows(statement)
        tell(f'(There is no psql on this machine, so the same SQL went over a driver: "{statement}")')
    made = _decision(machinery.api.state(run_id))
    claim(
        f"and the history knows it (by {made['actor']})",
        made["output"]["decision"] == "approved" and made["output"].get("comment") == "From psql.",
    )


def _decision(document: Any) -> Any:
    return next(event for event in reversed(document["history"]) if event["kind"] == "approval_decided")


def _published(machinery: Machinery) -> dict[str, int]:
    rows = machinery.rows("select run_id::text as run_id, count(*) as n from estimates.published group by 1")
    return {row["run_id"]: row["n"] for row in rows}
