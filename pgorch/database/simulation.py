"""What pgorch.testing asks the database beyond what workers and clients do: its clock, and what is due."""

from collections.abc import Sequence
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from psycopg import Connection
from psycopg.rows import args_row, scalar_row
from psycopg.types.json import Jsonb

from pgorch.database.translation import translated

_MOVE_CLOCK: LiteralString = (
    "select pgorch.set_clock(c.offset_by + make_interval(secs => %s)) from pgorch._clock c"
)
_TICK: LiteralString = "select pgorch.tick(p_bucket => %s)"
_NEXT_DUE: LiteralString = (
    "select extract(epoch from min(w.at) - pgorch.clock_now())::float8 from ("
    "select t.due_at from pgorch.timers t where t.run_id = any (%s::uuid[]) union all "
    "select s.ready_at from pgorch.steps s where s.run_id = any (%s::uuid[]) and s.lane_tool is not null"
    ") w(at)"
)
_NEXT_ATTEMPT: LiteralString = (
    "select extract(epoch from min(s.ready_at) - pgorch.clock_now())::float8 "
    "from pgorch.steps s where s.run_id = any (%s::uuid[]) and s.lane_tool is not null"
)
_CHILDREN: LiteralString = (
    "select r.id from pgorch.runs r where r.parent_run_id = any (%s::uuid[]) order by r.created_at, r.id"
)
_RUN: LiteralString = (
    "select r.status::text, pgorch.run_state(r.id), r.error, r.output from pgorch.runs r where r.id = %s"
)
_HISTORY: LiteralString = (
    "select h.seq, h.kind::text, h.node, h.attempt, h.item, h.actor, h.input, h.output, h.error "
    "from pgorch.history h where h.run_id = %s order by h.seq"
)
_APPROVALS: LiteralString = (
    "select a.id, a.run_id, a.node, a.title, a.show from pgorch.approvals a "
    "where a.run_id = any (%s::uuid[]) and a.status = 'open' order by a.requested_at, a.id"
)
_DECIDE: LiteralString = (
    "select pgorch.decide(p_run_id => %s, p_decision => %s, p_data => %s, p_comment => %s, "
    "p_approval_id => %s, p_actor => %s, p_roles => %s)"
)
_SIGNAL: LiteralString = "select pgorch.signal(p_run_id => %s, p_name => %s, p_payload => %s)"
_CANCEL: LiteralString = "select pgorch.cancel(p_run_id => %s, p_reason => %s, p_compensate => %s)"
_DEFINITION: LiteralString = (
    "select g.definition from pgorch.graphs g where g.id = pgorch.find_graph(p_graph => %s)"
)
_KNOWN_TOOLS: LiteralString = "select t.name from pgorch.tools t where t.name = any (%s)"
# By the server's time: that of the test may be far ahead, and then all of them seem to be dead.
_LIVING_WORKERS: LiteralString = (
    "select distinct l.name from pgorch._worker_leases l "
    "where l.status = 'alive' and l.expires_at > clock_timestamp() and l.name <> %s order by l.name"
)
# One test at a time in one database: two that name the same graphs and tools would wait for each other's end.
_TAKE_TURN: LiteralString = "select pg_advisory_xact_lock(hashtext('pgorch.testing'))"


class RunRow(NamedTuple):
    status: str
    state: dict[str, Any]
    error: dict[str, Any] | None
    output: Any


class Entry(NamedTuple):
    """An entry of a run's history."""

    seq: int
    kind: str
    node: str | None
    attempt: int | None
    item: int | None
    actor: str | None
    input: Any
    output: Any
    error: dict[str, Any] | None


class Approval(NamedTuple):
    """An open question."""

    id: UUID
    run_id: UUID
    node: str
    title: str | None
    show: Any


class Simulation:
    """Queries on one connection, each in a savepoint of its own: what is refused leaves the rest in place."""

    def __init__(self, connection: Connection[Any]) -> None:
        self.connection = connection

    def take_turn(self) -> None:
        self._one(_TAKE_TURN)

    def living_workers(self, but: str) -> list[str]:
        """Names of the workers that serve this database, without those of a name."""
        return self._all(scalar_row, _LIVING_WORKERS, but)

    def bucket_count(self) -> int:
        return int(self._one("select pgorch.bucket_count()"))

    def move_clock(self, seconds: float) -> None:
        """Lets the engine's clock run ahead by so much more."""
        self._one(_MOVE_CLOCK, seconds)

    def tick(self, bucket: int) -> int:
        """Does what is due. Returns how much that was."""
        return int(self._one(_TICK, bucket))

    def next_due(self, run_ids: Sequence[UUID]) -> float | None:
        """Seconds until something of these runs is due, a timer or an attempt; None if nothing is."""
        found = self._one(_NEXT_DUE, list(run_ids), list(run_ids))
        return None if found is None else float(found)

    def next_attempt(self, run_ids: Sequence[UUID]) -> float | None:
        """Seconds until a step of these runs may be tried again; None if none waits for that."""
        found = self._one(_NEXT_ATTEMPT, list(run_ids))
        return None if found is None else float(found)

    def children(self, run_ids: Sequence[UUID]) -> list[UUID]:
        return self._all(scalar_row, _CHILDREN, list(run_ids))

    def run(self, run_id: UUID) -> RunRow:
        row: RunRow
        (row,) = self._all(args_row(RunRow), _RUN, run_id)
        return row

    def history(self, run_id: UUID) -> list[Entry]:
        return self._all(args_row(Entry), _HISTORY, run_id)

    def approvals(self, run_ids: Sequence[UUID]) -> list[Approval]:
        return self._all(args_row(Approval), _APPROVALS, list(run_ids))

    def decide(
        self,
        approval: Approval,
        decision: str,
        *,
        data: Any,
        comment: str | None,
        actor: str | None,
        roles: Sequence[str] | None,
    ) -> None:
        """Raises WrongState, NotAllowed, InvalidValue."""
        told = None if data is None else Jsonb(data)
        named = None if roles is None else list(roles)
        self._one(_DECIDE, approval.run_id, decision, told, comment, approval.id, actor, named)

    def signal(self, run_id: UUID, name: str, payload: Any) -> None:
        self._one(_SIGNAL, run_id, name, Jsonb(payload))

    def cancel(self, run_id: UUID, reason: str | None, compensate: bool) -> None:
        """Raises WrongState if the run has ended."""
        self._one(_CANCEL, run_id, reason, compensate)

    def definition(self, graph: str) -> dict[str, Any]:
        """The definition of a graph that is there. Raises NotFound."""
        found: dict[str, Any] = self._one(_DEFINITION, graph)
        return found

    def known_tools(self, names: Sequence[str]) -> set[str]:
        return set(self._all(scalar_row, _KNOWN_TOOLS, list(names)))

    def _one(self, statement: LiteralString, *parameters: Any) -> Any:
        (value,) = self._all(scalar_row, statement, *parameters)
        return value

    def _all(self, row: Any, statement: LiteralString, *parameters: Any) -> list[Any]:
        with translated(), self.connection.transaction(), self.connection.cursor(row_factory=row) as cursor:
            return cursor.execute(statement, parameters or None).fetchall()
