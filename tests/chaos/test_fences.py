"""The checker sees an engine that takes the result of a lease that is over: one without its fences."""

from collections.abc import Iterator

import pytest

from tests.chaos.checker.check import install
from tests.chaos.checker.checks import CHECKS
from tests.support.databases import Databases
from tests.support.engine import Engine, chain
from tests.support.invariants import violations
from tests.support.races import open_connection

STALE = "I7 a result counts under the last token of its visit"
# Where the engine compares the lease of a result with that of its step.
FENCES = (
    ("advance", " and s.lease_token = t.token"),
    ("_advance_plain", " and s.lease_token = i.token"),
    ("_advance_plain", " and s.worker_id = p_worker_id"),
    ("_write_plain", " and s.lease_token = t.token"),
    ("_hand_over", " and s.lease_token = t.token"),
    ("_end_plain", " and s.lease_token = t.token"),
    ("_settle", " and s.lease_token = p_lease_tokens[i]"),
    ("_settle", " or v_step.worker_id <> p_worker_id"),
)


@pytest.fixture
def recorded(databases: Databases, template: str) -> Iterator[Engine]:
    name = databases.create(template)
    with open_connection(databases.dsn(name)) as connection:
        install(connection)
        yield Engine(connection)
    databases.drop(name)


def without_fences(engine: Engine) -> None:
    for function, fence in FENCES:
        body = str(engine.value(f"select pg_get_functiondef('pgorch.{function}'::regproc)"))
        assert body.count(fence) == 1, f"{function} compares in another way"
        engine.connection.execute(body.replace(fence, "").encode())


def play(engine: Engine, nodes: str) -> list[str]:
    """One worker gives its step back and hands its result in all the same, when another has the step. Returns
    what it is told."""
    run_id = engine.start(chain(nodes))
    first, second = engine.worker, engine.new_worker(name="second")
    early = first.claim_one()
    first.release(early)
    late = second.claim_one()
    assert (early.run_id, early.node, early.attempt) == (run_id, late.node, late.attempt)
    answers = first.succeed(early, {f"token_{early.node}": early.lease_token.int >> 64})
    return [answer.kind for answer in answers]


@pytest.mark.parametrize("nodes", ["a b", "a"])
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "settled"])
def test_a_result_of_a_lease_that_is_over_is_refused_and_would_be_seen(
    recorded: Engine, plain: bool, nodes: str
) -> None:
    recorded.graph(chain(nodes))
    if not plain:
        recorded.connection.execute(
            "create function contract.slow() returns trigger language plpgsql as $$"
            " begin new.fast_in := false; new.fast_out := false; return new; end $$;"
            "create trigger slow before insert or update on pgorch.nodes"
            " for each row execute function contract.slow()"
        )
    assert play(recorded, nodes) == ["refused"]
    assert violations(recorded.connection, {STALE: CHECKS[STALE]}) == {}

    without_fences(recorded)
    assert "refused" not in play(recorded, nodes)
    assert list(violations(recorded.connection, {STALE: CHECKS[STALE]})) == [STALE]
