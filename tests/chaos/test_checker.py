"""Each check sees the violation that it is for: one that cannot fail is worth nothing."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, cast
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import DictRow

from tests.chaos.checker.check import bring, install
from tests.chaos.checker.checks import BY_SQL, CHECKS
from tests.chaos.checker.footprint import HOLD_NO_MORE, footprint, settled
from tests.chaos.faults import CLOCK_FAULT, CLOCK_SHIFT_SECONDS, DEADLY
from tests.chaos.ground import FAKETIME
from tests.chaos.plan import Hand
from tests.chaos.verdict import unexplained
from tests.support.engine import Engine, Step, definition
from tests.support.invariants import violations
from tests.support.races import open_connection

# The runs of `witnessed` by their idempotency keys.
WORK = "(select id from pgorch.runs where idempotency_key = 'work')"
EFFECT = (
    f"insert into outside.ext_effect select {{}} from outside.ext_effect where run_id = {WORK} and node = 'a'"
)
CLAIM = f"update contract.log set {{}} where run_id = {WORK} and node = 'a' and what = '{{}}'"
LATER_CLAIM = (
    "insert into contract.log (what, run_id, node, born, item, attempt, worker_id, token)"
    " select 'claimed', run_id, node, born, item, attempt + 1, worker_id, gen_random_uuid()"
    f" from contract.log where what = 'claimed' and node = 'a' and run_id = {WORK}"
)
CALL = "insert into outside.ext_api select {} from outside.ext_api where verb = '{}' limit 1"
READ = "insert into outside.ext_read select number + {}, at, reader, run_id, {}, digest from outside.ext_read"

# Where a query has several branches, or a reason several causes, one for each.
SEEDED: dict[str, str | tuple[str, ...]] = {
    "I1 every run has ended": (
        "select pgorch.start((select name from pgorch.graphs where 'a' = start_node limit 1),"
        " p_idempotency_key => 'open')"
    ),
    "I2 nothing is due and untouched": (
        "insert into pgorch.timers (bucket, run_id, due_at, kind)"
        " select bucket, id, now() - interval '1 hour', 'run_timeout' from pgorch.runs limit 1"
    ),
    "I3 a run that was acknowledged is there": CALL.format(
        "number, at, verb, 'lost', gen_random_uuid(), actor, 200, answer, sent", "start"
    ),
    "I3 a signal that was acknowledged is there": "delete from pgorch.signals",
    "I3 a decision that was acknowledged is there": "update pgorch.approvals set status = 'rejected'",
    "I3 a cancel that was acknowledged is there": (
        "update pgorch.runs set status = 'completed' where status = 'cancelled'"
    ),
    "I4 a key started one run": (
        "update pgorch.runs set idempotency_key = 'work' where idempotency_key = 'asked'"
    ),
    "I4 all answers to a key name one run": CALL.format(
        "number, at, verb, key, gen_random_uuid(), actor, 200, answer, sent", "start"
    ),
    "I5 each run was asked for": "delete from outside.ext_api where key = 'work'",
    "I5 each effect belongs to a run that exists": EFFECT.format(
        "number, at, what, gen_random_uuid(), node, born, item, attempt, token, key, pid, digest"
    ),
    "I7 a result counts under the last token of its visit": (
        LATER_CLAIM,
        "update pgorch.history set output = jsonb_set(output, '{token_a}', '999') where output ? 'token_a'",
        "update pgorch.history set output = '{}' where output ? 'token_a'",
        f"delete from contract.log where what = 'claimed' and node = 'a' and run_id = {WORK}",
    ),
    "I8 tokens grow": (
        "insert into contract.log (what, run_id, node, born, item, attempt, worker_id, token)"
        " select 'claimed', run_id, node, born, item, attempt + 1, worker_id,"
        " '00000000-0000-0000-0000-000000000000'"
        f" from contract.log where what = 'claimed' and node = 'a' and run_id = {WORK}"
    ),
    "I8 attempts are counted without a hole": CLAIM.format("attempt = 2", "claimed"),
    "I8 no more deaths than are borne": (
        "insert into pgorch.history (bucket, run_id, seq, kind, node, attempt, worker_id, started_at, at)"
        " select bucket, run_id, 100 + n, 'attempt_lost', node, attempt, worker_id, started_at, at"
        " from pgorch.history, generate_series(1, 4) n"
        f" where run_id = {WORK} and node = 'a' and kind = 'step_completed'"
    ),
    "I9 every claim is closed once": f"delete from contract.log where run_id = {WORK} and what = 'closed'",
    "I10 holders do not overlap": (
        "insert into contract.log (what, run_id, node, born, item, attempt, token)"
        " select 'claimed', run_id, node, born, item, attempt + n, gen_random_uuid()"
        " from contract.log, generate_series(1, 2) n where what = 'claimed' and node = 'a'",
        f"{LATER_CLAIM}; update contract.log set entry = default"
        f" where what = 'closed' and node = 'a' and run_id = {WORK}",
    ),
    "I14 a step came to be after what leads to it had ended": (
        "update contract.log set born = 0 where node = 'transfer'"
    ),
    "I17 what a transaction wrote is there once for each success": (
        "insert into outside.transfers select * from outside.transfers",
        "delete from outside.transfers",
        f"update outside.transfers set run_id = {WORK}, node = 'a'",
    ),
    "I18 each success had an effect": (
        f"delete from outside.ext_effect where run_id = {WORK} and node = 'a'",
        f"delete from outside.ext_effect where run_id = {WORK} and node = 'transfer'",
        f"update outside.ext_effect set token = token + 1 where run_id = {WORK} and node = 'a'",
    ),
    "I18 each execution belongs to a claim": "update outside.ext_effect set token = token + 1",
    "I18 a claim is executed at most once": "insert into outside.ext_effect select * from outside.ext_effect",
    "I18 the key is the same over the attempts": EFFECT.format(
        "number, at, what, run_id, node, born, item, attempt + 1, token, key || '2', pid, digest"
    ),
    "I18 a key is of one visit": EFFECT.format(
        "number, at, what, run_id, node, born + 1, item, attempt, token, key, pid, digest"
    ),
    "I19 nothing begins after its token was superseded": EFFECT.format(
        "number, at + 10, what, run_id, node, born, item, attempt, token, key, pid, digest"
    ),
    "I20 an approval has one acknowledged decision": CALL.format(
        "number, at, verb, key, run_id, 'second', status, answer, sent", "decide"
    ),
    "I20 nobody decides what he asked for, or too late": (
        "update pgorch.approvals set deadline = decided_at",
        "update pgorch.approvals a set decided_by = r.initiator from pgorch.runs r where r.id = a.run_id",
    ),
    "I21 no timer fires early": (
        "update pgorch.history set at = at - interval '2 hours' where node = 'w' and kind = 'step_completed'"
    ),
    "I21 a wait takes one signal": (
        "insert into pgorch.signals (bucket, id, run_id, name, payload, sent_at, sent_by, taken_at, taken_by)"
        " select bucket, gen_random_uuid(), run_id, name, payload, sent_at, sent_by, taken_at, taken_by"
        " from pgorch.signals"
    ),
    "I22 nothing is claimed of a run that is over": (
        "insert into contract.log (what, run_id, node, born, attempt, token)"
        " select 'claimed', id, 'a', 1, 1, gen_random_uuid() from pgorch.runs where status = 'cancelled'"
    ),
    "I23 who has ended stays so, and the history a reader sees grows": (
        READ.format(1, "'running', seq"),
        READ.format(1, "status, seq - 1"),
    ),
    "I25 no more are under way than the limit says": (
        "insert into contract.log (what, run_id, node, born, attempt, token, limiter)"
        " select 'claimed', run_id, node, 90 + n, 1, gen_random_uuid(), limiter"
        " from contract.log, generate_series(1, 2) n where limiter is not null and what = 'claimed'"
    ),
    "I26 each change has one row of the audit": (
        "insert into pgorch.audit (bucket, at, actor, source, action, run_id, approval_id, after)"
        " select bucket, at, actor, source, action, run_id, approval_id, after from pgorch.audit"
        " where action = 'signal'",
        *(f"delete from pgorch.audit where action = '{it}'" for it in ("signal", "approve", "cancel")),
    ),
    # Temporary relations hide those of the catalogue.
    "I28 no session is left, nor a transaction open": (
        "update outside.circumstances set sessions = 0",
        "create temporary view pg_stat_activity as select current_database() as datname, 0 as pid,"
        " 'client backend' as backend_type, 'a leak' as application_name,"
        " now() - interval '11 seconds' as xact_start",
        "create temporary view pg_prepared_xacts as select 'a leak' as gid",
        "create temporary view pg_replication_slots as select 'a leak' as slot_name",
    ),
    "I28 processes hold no more than before the faults": tuple(
        f"insert into outside.footprints values ('before', 20, 4, 0), ('after', {after})"
        for after in ("25, 4, 0", "20, 15, 0", "20, 4, 1")
    ),
    "I28 hot tables hold little that is dead": "",
    "I29 what was given is what is read": tuple(
        f"update outside.{log} set digest = 'another' where run_id = {WORK}{more}"
        for log, more in (
            ("ext_api", ""),
            ("ext_effect", " and node = 'a'"),
            ("ext_read", " and reader = 'r'"),
            ("ext_read", f" and reader = '{BY_SQL}'"),
        )
    ),
    "I31 transfers keep the total": (
        "update outside.accounts set balance = balance + 1 where id = 0",
        "update outside.accounts set balance = balance + 1 - 2 * id",
    ),
    "I32 little is done in vain": (
        "insert into outside.ext_effect (what, run_id, node)"
        f" select 'begin', {WORK}, 'a' from generate_series(1, 3000);"
        "insert into pgorch.history (bucket, run_id, seq, kind, node, attempt, worker_id, at)"
        " select bucket, run_id, 100 + n, kind, node, attempt, worker_id, at"
        " from pgorch.history, generate_series(1, 1000) n"
        f" where kind = 'step_completed' and node = 'a' and run_id = {WORK}"
    ),
}


class Witness:
    """Writes down what a sink, callers and readers would have."""

    def __init__(self) -> None:
        self.api: list[dict[str, Any]] = []
        self.effects: list[dict[str, Any]] = []
        self.reads: list[dict[str, Any]] = []

    def perform(self, step: Step) -> dict[str, Any]:
        effect = {
            "at": time.time(), "run_id": step.run_id, "node": step.node, "born": step.born, "item": step.item,
            "attempt": step.attempt, "token": step.lease_token.int >> 64, "pid": 1, "digest": "the same",
            "key": f"{step.run_id}/{step.node}/{step.born}",
        }  # fmt: skip
        self.effects += [{**effect, "what": "begin"}, {**effect, "what": "end"}]
        return {f"token_{step.node}": effect["token"]}

    def call(self, verb: str, run_id: UUID, actor: str, key: str | None = None, **more: Any) -> None:
        call = {"at": time.time(), "verb": verb, "run_id": run_id, "actor": actor, "key": key}
        self.api.append({**call, "status": 200, "answer": {}, "sent": {}, **more})


@pytest.fixture(scope="module")
def witnessed(databases: Any, template: str) -> Iterator[psycopg.Connection[DictRow]]:
    name = databases.create(template)
    with open_connection(databases.dsn(name)) as connection:
        install(connection)
        play(connection)
        yield connection
    databases.drop(name)


def play(connection: psycopg.Connection[DictRow]) -> None:
    """A chain with a transfer; a question, a wait and a signal; a cancelled run; a concurrency key."""
    witness, engine = Witness(), Engine(connection)
    me = engine.value("select session_user")

    def transfer(step: Step) -> dict[str, Any]:
        result = witness.perform(step)
        connection.execute("update outside.accounts set balance = balance + 2 * id - 1")
        connection.execute(
            "insert into outside.transfers values (%s, %s, %s, 1)", [step.run_id, step.node, step.born]
        )
        return result

    def start(key: str, graph: dict[str, Any]) -> UUID:
        run_id = engine.start(graph, idempotency_key=key)
        witness.call("start", run_id, me, key, digest="the same")
        return run_id

    work = start("work", definition("a transfer", ["a>transfer"]))
    chosen = {
        "id": "k", "function": "a", "concurrency_key": "k", "concurrency": 1
    }  # fmt: skip
    start("keyed", definition([chosen]))
    steps = [
        {"id": "w", "type": "wait", "for": "1 hour"},
        {"id": "ok", "type": "approval", "exclude_initiator": True},
        {"id": "s", "type": "wait", "signal": "go"},
    ]
    asked = start("asked", definition(steps, ["w>ok", "ok>s"]))
    cancelled = start("cancelled", definition("a"))
    engine.cancel(cancelled)
    witness.call("cancel", cancelled, me)
    tools = {"a": witness.perform, "transfer": transfer}
    engine.run(tools)
    engine.jump("1 hour")
    for bucket in engine.buckets:
        engine.value("select pgorch.tick(%s)", bucket)
    approval = engine.approve(asked, actor="approver")
    witness.call(
        "decide", asked, "approver", sent={"decision": "approved"}, answer={"approval_id": str(approval)}
    )
    signal_id = engine.value("select pgorch.signal(%s, 'go', '{}', 'signal')", asked)
    witness.call("signal", asked, me, "signal", answer={"signal_id": str(signal_id)})
    read = {"at": time.time(), "run_id": work, "status": "completed", "seq": 3, "digest": "the same"}
    witness.reads += [{**read, "reader": "r"}, {**read, "reader": BY_SQL}]
    for log, rows in (
        ("ext_api", witness.api), ("ext_effect", witness.effects), ("ext_read", witness.reads)
    ):  # fmt: skip
        assert bring(connection, log, rows) == len(rows)
    connection.execute("insert into outside.circumstances values (100, 3600, 10)")
    # The engine's clock was set ahead, those of the record were not.
    connection.execute("update outside.circumstances set clock_shift = 0")


def test_nothing_is_found_where_nothing_is_wrong(witnessed: psycopg.Connection[DictRow]) -> None:
    assert violations(witnessed, CHECKS) == {}
    assert violations(witnessed) == {}


def test_every_check_is_proved() -> None:
    assert set(SEEDED) == set(CHECKS)


SEEDS = [
    (name, seed)
    for name, seeded in SEEDED.items()
    for seed in ((seeded,) if isinstance(seeded, str) else seeded)
    if seed
]


@pytest.mark.parametrize(("name", "seed"), SEEDS, ids=[name for name, _ in SEEDS])
def test_a_seeded_violation_is_seen(witnessed: psycopg.Connection[DictRow], name: str, seed: str) -> None:
    with witnessed.transaction(force_rollback=True):
        witnessed.execute(seed.encode())
        assert name in violations(witnessed, {name: CHECKS[name]})


def test_an_end_that_no_fault_explains_is_told() -> None:
    exits = {"worker-0": Counter({-9: 2, 1: 1}), "worker-1": Counter({0: 1}), "api-0": Counter[int]()}
    told = unexplained(exits, DEADLY)
    assert [problem.partition(":")[0] for problem in told] == [
        "worker-0 ended by itself with 1, 1 times",
        "worker-1 ended by itself with 0, 1 times",
    ]
    assert len(unexplained(exits, ())) == 3


def test_only_what_was_injected_is_borne() -> None:
    hand = Hand(cast(Any, None), 1)
    hand.injected.update({32: 3, 13: 1})
    assert (hand.deaths, hand.clock_shift) == (set(), 0)
    hand.injected[1] = 1
    assert (hand.deaths, hand.clock_shift) == ({-9}, 0)
    hand.injected[4] = 1
    assert hand.deaths == {-9, -11, 9}


@pytest.mark.skipif(FAKETIME is None, reason="the clock jumps only where libfaketime is installed")
def test_only_a_clock_that_jumped_is_borne() -> None:
    hand = Hand(cast(Any, None), 1)
    hand.injected[CLOCK_FAULT] = 1
    assert hand.clock_shift == CLOCK_SHIFT_SECONDS


def test_what_processes_keep_is_seen(witnessed: psycopg.Connection[DictRow], databases: Any) -> None:
    footprint(witnessed, "before")
    with ExitStack() as leaks:
        for _ in range(6):
            leak = leaks.enter_context(
                open_connection(databases.dsn(witnessed.info.dbname), autocommit=False)
            )
            leak.execute("set application_name = 'pgorch leak'")
            leak.execute("lock table outside.accounts in access share mode")
        leak.execute("set local work_mem = '64kB'")
        leak.execute("declare spilt cursor for select n from generate_series(1, 100000) n order by -n")
        leak.execute("fetch spilt")
        footprint(witnessed, "after")
        held = violations(witnessed, {HOLD_NO_MORE: CHECKS[HOLD_NO_MORE]})[HOLD_NO_MORE]
        leaks.callback(leak.rollback)
    told = [row["why"].partition(",")[0] for row in held]
    assert told[:2] == ["6 sessions", "12 locks"]
    assert told[2].endswith("temporary files")
    settled(witnessed, 30)
    assert violations(witnessed, {HOLD_NO_MORE: CHECKS[HOLD_NO_MORE]}) == {}


def test_dead_rows_of_a_hot_table_are_seen(witnessed: psycopg.Connection[DictRow]) -> None:
    # They are counted in statistics, which a transaction that is rolled back does not change for itself.
    name = "I28 hot tables hold little that is dead"
    witnessed.execute("alter table pgorch._worker_leases set (autovacuum_enabled = off)")
    witnessed.execute(
        "insert into pgorch._worker_leases"
        " (bucket, worker_id, name, queues, tools, slots, started_at, expires_at)"
        " select 0, gen_random_uuid(), '', '{}', '{}', 1, now(), now() from generate_series(1, 6000)"
    )
    witnessed.execute("delete from pgorch._worker_leases where slots = 1")
    witnessed.execute("select pg_stat_force_next_flush()")
    assert name in violations(witnessed, {name: CHECKS[name]})
    witnessed.execute("vacuum pgorch._worker_leases")
    assert violations(witnessed, {name: CHECKS[name]}) == {}
