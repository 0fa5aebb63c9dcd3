"""The checker sees an engine that takes the result of a lease that is over: one without its fences."""

import re
from collections.abc import Iterator

import pytest

from tests.chaos.checker.check import install
from tests.chaos.checker.checks import CHECKS
from tests.support.databases import Databases
from tests.support.engine import Engine, Step, definition
from tests.support.invariants import violations
from tests.support.races import open_connection

STALE = "I7 a result counts under the last token of its visit"
# How the engine compares the lease of a result with that of its step.
_TOKEN = re.compile(r" and s\.lease_token = (?:[it]\.token|p_lease_tokens\[i\])")
_WORKER = re.compile(r" and s\.worker_id = p_worker_id| or v_step\.worker_id <> p_worker_id")
_TAKES_RESULTS = {"advance", "_advance_plain", "_settle"}


@pytest.fixture
def recorded(databases: Databases, template: str) -> Iterator[Engine]:
    name = databases.create(template)
    with open_connection(databases.dsn(name)) as connection:
        install(connection)
        yield Engine(connection)
    databases.drop(name)


def without_fences(engine: Engine) -> None:
    opened = set()
    for name, body in [
        (str(row["proname"]), str(row["body"]))
        for row in engine.rows(
            "select proname, pg_get_functiondef(oid) as body from pg_proc"
            " where pronamespace = 'pgorch'::regnamespace and prosrc ~ 'lease_token'"
        )
    ]:
        without = _TOKEN.sub("", body)
        if name in _TAKES_RESULTS:
            without = _WORKER.sub("", without)
        if without != body:
            engine.connection.execute(without.encode())
            opened.add(name)
    assert opened >= _TAKES_RESULTS, "leases are compared in another way"


def made_under(step: Step) -> dict[str, int]:
    return {f"token_{step.node}": step.lease_token.int >> 64}


def play(engine: Engine, graph: str) -> list[str]:
    """One worker gives the step `a` back and hands its result in all the same, when another has the step.
    Returns what it is told."""
    run_id = engine.start(graph)
    first, second = engine.worker, engine.new_worker(name="second")
    early = first.claim(1)[0]
    if early.node == "start":
        first.succeed(early, made_under(early))
        early = first.claim_one("a")
    first.release(early)
    late = second.claim_one("a")
    assert (early.run_id, early.attempt, late.run_id, late.attempt) == (run_id, 1, run_id, 1)
    answers = first.succeed(early, made_under(early))
    if engine.status(run_id) == "running":
        engine.cancel(run_id)
    return [answer.kind for answer in answers]


def stale(engine: Engine) -> list[str]:
    """The nodes whose results are found to be of another lease."""
    found = violations(engine.connection, {STALE: CHECKS[STALE]})
    return [row["why"].partition(",")[0] for row in found.get(STALE, [])]


BRANCHES = ["start>a", "start>b", "a>join", "b>join"]


@pytest.mark.parametrize(
    ("nodes", "edges"),
    [("a b", ["a>b"]), ("a", []), ("start a b join", BRANCHES)],
    ids=["goes on", "ends", "branches"],
)
@pytest.mark.parametrize("plain", [True, False], ids=["as a set", "one by one"])
def test_a_result_of_a_lease_that_is_over_is_refused_and_would_be_seen(
    recorded: Engine, plain: bool, nodes: str, edges: list[str]
) -> None:
    graph = definition(nodes, edges)
    recorded.graph(graph)
    if not plain:
        recorded.without_fast_path()
    assert play(recorded, graph["name"]) == ["refused"]
    assert stale(recorded) == []

    without_fences(recorded)
    assert "refused" not in play(recorded, graph["name"])
    assert stale(recorded) == ["a"]
