"""The data quality demo, told and checked."""

import json
from pathlib import Path
from typing import Any

from demos.machinery import Machinery
from demos.story import ask, claim, steps_of, tell, wait_for

GRAPH = Path(__file__).parent / "graph.json"
LOOPS = ["load", "profile", "clean", "profile", "clean", "profile", "clean", "profile"]


def play(machinery: Machinery, yes: bool) -> None:
    """Three runs of one graph: good in the end, hopeless, and refused. Disproved if any goes otherwise."""
    api = machinery.api
    tell("344 penguins as the researchers wrote them down, with everything that real tables have:")
    tell('"NA" for what is unknown, two names in one cell, ids that are used again every season, gaps.')
    tell("The graph profiles and cleans in a loop, at most three times; then a person approves.")
    graph_id = api.post("/graph/create", json.loads(GRAPH.read_text()))["graph_id"]

    run_id, document = _start(machinery, graph_id, threshold=0.995)
    claim("0.995 wanted: three rounds of cleaning, then the run waits for a person",
          document["status"] == "awaiting_approval" and steps_of(document) == LOOPS)  # fmt: skip
    _show_rounds(document)
    qualities = _qualities(document)
    claim("the quality rose from 0.8379 to 0.9954", (qualities[0], qualities[-1]) == (0.8379, 0.9954))
    claim("nothing is published yet", not machinery.rows("select from penguins.birds"))
    _decide(machinery, run_id, document, yes)
    document = api.state(run_id, wait=30)
    if _decision(document) == "approved":
        claim("approved, so it was published", steps_of(document) == [*LOOPS, "approve", "publish"])
        _check_published(machinery, run_id)
    else:
        claim("rejected, so it went to quarantine", steps_of(document) == [*LOOPS, "approve", "quarantine"])
        claim("and nothing was published", not machinery.rows("select from penguins.birds"))

    run_id, document = _start(machinery, graph_id, threshold=0.999)
    claim(
        "0.999 wanted: three rounds are not enough, so the run takes the else branch to quarantine",
        document["status"] == "completed" and steps_of(document) == [*LOOPS, "quarantine"],
    )
    kept = machinery.rows(
        "select jsonb_array_length(birds) as birds, quality from penguins.quarantine where run_id = %s",
        run_id,
    )
    claim(
        "its 342 birds are kept there for inspection",
        [(row["birds"], float(row["quality"])) for row in kept] == [(342, 0.9954)],
    )

    run_id, document = _start(machinery, graph_id, threshold=0.8)
    claim(
        "0.8 wanted: good enough as it is, so the run asks at once",
        document["status"] == "awaiting_approval" and steps_of(document) == ["load", "profile"],
    )
    api.post(f"/graph/resume/{run_id}", {"decision": "rejected", "comment": "Not with NA in it."})
    document = api.state(run_id, wait=30)
    claim(
        "rejected: the raw birds went to quarantine too",
        steps_of(document) == ["load", "profile", "approve", "quarantine"]
        and document["state"]["quarantined"] == 344,
    )


def _start(machinery: Machinery, graph_id: str, threshold: float) -> tuple[str, Any]:
    body = {"graph_id": graph_id, "initial_state": {"threshold": threshold}}
    run_id: str = machinery.api.post("/graph/run", body)["run_id"]
    return run_id, wait_for(
        "The run ends or waits for a person",
        lambda: _settled(machinery.api.state(run_id, wait=30)),
    )


def _settled(document: Any) -> Any:
    return document if document["status"] in ("awaiting_approval", "completed", "failed") else None


def _decide(machinery: Machinery, run_id: str, document: Any, yes: bool) -> None:
    decision: str | None = "approved"
    if not yes:
        approval = document["approvals"][0]
        decision = ask(
            approval["title"],
            lambda: machinery.api.state(run_id),
            [
                f"curl -X POST {machinery.api.address}/graph/resume/{run_id}",
                f"{' '.join((machinery.psql or ['psql'])[:1])} '{machinery.dsn}' "
                f"-c \"select pgorch.decide('{run_id}', 'approved')\"",
            ],
        )
    if decision is not None:
        machinery.api.post(f"/graph/resume/{run_id}", {"decision": decision})


def _decision(document: Any) -> str:
    decided = [event for event in document["history"] if event["kind"] == "approval_decided"]
    return str(decided[-1]["output"]["decision"])


def _profiles(document: Any) -> list[Any]:
    return [
        event["output"]
        for event in document["history"]
        if event["kind"] == "step_completed" and event["node"] == "profile"
    ]


def _qualities(document: Any) -> list[float]:
    return [profile["quality"] for profile in _profiles(document)]


def _show_rounds(document: Any) -> None:
    profiles = _profiles(document)
    tell(f"    {'':8} {'rows':>5} {'spelling':>9} {'identity':>9} {'gaps':>5} {'quality':>8}")
    for number, profile in enumerate(profiles):
        defects = profile["defects"]
        name = "before" if number == 0 else f"round {number}"
        tell(
            f"    {name:8} {profile['rows']:5} {defects['spelling']:9} {defects['identity']:9} "
            f"{defects['gaps']:5} {profile['quality']:8.4f}"
        )
    for entry in document["state"]["report"]:
        changed = ", ".join(f"{key.replace('_', ' ')} {count}" for key, count in entry["changed"].items())
        tell(f"    {entry['defect']}: {changed}")


def _check_published(machinery: Machinery, run_id: str) -> None:
    [found] = machinery.rows(
        """
        select count(*) as birds, count(distinct id) as ids, count(distinct species) as species,
               count(*) filter (where sex_from = 'partner') as inferred,
               count(*) filter (where sex is null) as unknown,
               bool_and(run_id = %s) as of_this_run,
               coalesce(bool_or(b::text like '%%NA%%' and b::text ~ '[,(]NA[,)]'), false) as has_na
        from penguins.birds b
        """,
        run_id,
    )
    claim(
        "342 birds are in the table penguins.birds, each with an id of its own",
        (found["birds"], found["ids"], found["of_this_run"]) == (342, 342, True),
    )
    claim(
        "three species, no NA, 5 sexes known by the partner, 4 left unknown",
        (found["species"], found["has_na"], found["inferred"], found["unknown"]) == (3, False, 5, 4),
    )
