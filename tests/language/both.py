"""One run in the engine and in the reference at once, compared after everything that happens."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from tests.support.emptied import EMPTY
from tests.support.engine import Engine, Row, Step
from tests.support.reference import Key, Reference
from tests.support.reference.machine import ENDED, PERFORMED
from tests.support.reference.shape import Place

Path = tuple[Place, ...]

# How the history names the ends of visits.
ENDS = {
    "step_completed": "success",
    "step_failed": "error",
    "step_expired": "expired",
    "step_skipped": "skipped",
    "approval_decided": "decided",
}
LIVE = """
    select s.id, s.run_id, s.kind::text as kind, s.node, s.item, s.visit, s.attempt,
           s.ready_at > pgorch.clock_now() as later
    from pgorch.steps s
    where s.run_id = any (%s) and s.kind in ('task', 'item', 'undo', 'approval', 'wait') and s.held is null
"""
CHILDREN = """
    select r.id, r.parent_run_id, s.node, s.visit
    from pgorch.runs r
    join pgorch.steps s on s.run_id = r.parent_run_id and s.id = r.parent_step_id
    where r.parent_run_id = any (%s) and r.finished_at is null
"""


class Both:
    """Whatever happens is done in both; `compare` is called after each act.

    It compares: what is live, also in child runs and item by item; that a worker has been given exactly what
    can be performed, with the arguments of its templates; the state; the status; and at the end also the
    output, the type of the error, what ended how often with which outcome, and the order of what was undone.
    """

    def __init__(
        self,
        engine: Engine,
        definition: Mapping[str, Any],
        input: Mapping[str, Any],
        graphs: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        self.engine = engine
        self.worker = engine.worker
        for graph in graphs:
            engine.graph(graph)
        self.run_id = engine.start(engine.graph(definition), input)
        self.reference = Reference(definition, dict(input), {str(g["name"]): g for g in graphs})
        self.paths: dict[UUID, Path] = {self.run_id: ()}
        self.at_hand: dict[Key, Step] = {}
        self.compare()

    # What happens ----------------------------------------------------------------------------------

    def hand_in(self, *results: tuple[Key, str, Any], twice: bool = False) -> None:
        """The worker hands in results of steps in one call; with `twice` it does so again, in vain."""
        steps = [(self.at_hand.pop(key), outcome, value) for key, outcome, value in results]
        seen = self._history_length()
        self.worker.advance(steps)
        if twice:
            assert [r.kind for r in self.worker.advance(steps)] == ["refused"] * len(steps)
        if len(results) > 1:
            results = tuple(self._as_recorded(results, seen))
        self.reference.complete(*results)
        self.compare()

    def _as_recorded(
        self, results: Sequence[tuple[Key, str, Any]], seen: Mapping[UUID, int]
    ) -> list[tuple[Key, str, Any]]:
        """The results of one call in the order in which they count, which the engine is free to choose."""
        found: dict[Key, tuple[Key, str, Any]] = {}
        for row in self._new_history(seen):
            path = self.paths[row["run_id"]]
            place = self._place(path, row)
            for result in results:
                key = result[0]
                if (key.path, (key.node, key.rounds), key.item) == (path, place, row["item"]):
                    found.setdefault(key, result)
        return list(found.values())

    def decide(self, key: Key, decision: str, data: Any) -> None:
        run_id, step_id = self._live()[key][1:]
        approval = self.engine.value("select id from pgorch.approvals where step_id = %s", step_id)
        self.engine.decide(run_id, decision, data, approval_id=approval)
        self.reference.complete((key, decision, data))
        self.compare()

    def signal(self, path: Path, name: str, payload: Any) -> None:
        [run_id] = [run_id for run_id, known in self.paths.items() if known == path and self._is_live(run_id)]
        self.engine.value("select pgorch.signal(%s, %s, %s)", run_id, name, Jsonb(payload))
        self.reference.signal(name, payload, path)
        self.compare()

    def retry(self) -> None:
        """A failed run is taken up again."""
        self.engine.value("select pgorch.retry(%s)", self.run_id)
        self.reference.retry()
        self.compare()

    def crash(self) -> None:
        """The worker is gone with all that it has at hand; what it hands in later is refused."""
        lost = list(self.at_hand.items())
        gone, self.at_hand = self.worker, {}
        self.engine.jump("34 seconds")
        self.worker = self.engine.new_worker(name="next")
        self.worker.beat_everywhere()
        # Of a step that others have died of, the next attempt is not made at once.
        self.engine.jump("2 seconds")
        for key, step in lost:
            if key.kind in PERFORMED:
                assert [r.kind for r in gone.advance([(step, "success", {"late": True})])] == ["refused"]
        self.compare()

    def let_time_pass(self) -> None:
        """Everything that is due within two days comes: deadlines and waits, as the history orders them."""
        for step in self.at_hand.values():
            self.worker.release(step)
        self.at_hand = {}
        live = {(row[1], row[2]): key for key, row in self._live().items() if key.kind not in PERFORMED}
        seen = self._history_length()
        self.engine.jump("50 hours")
        for bucket in self.engine.buckets:
            self.engine.value("select pgorch.tick(%s)", bucket)
        self.worker = self.engine.new_worker(name="rested")
        for run_id, key, outcome in self._ended(seen, set(live.values())):
            assert run_id in self.paths
            self.reference.complete((key, outcome, None))
        due = [key for key in self.reference.live() if key in live.values() and self._is_due(key)]
        assert due == [], "overdue, but still live"
        self.compare()

    def _is_due(self, key: Key) -> bool:
        node = self.reference.of(key.path).shape.nodes[key.node]
        return "deadline" in node or "for" in node

    # Comparing -------------------------------------------------------------------------------------

    def compare(self) -> None:
        self._claim()
        live = self._live()
        assert set(live) == self.reference.live()
        performed = {key for key, row in live.items() if key.kind in PERFORMED and not row[0]}
        assert set(self.at_hand) == performed
        for key, step in self.at_hand.items():
            if step.input is not None and key.kind != "undo":
                assert step.input == self.reference.input_of(key), key
        assert self.engine.state(self.run_id) == self.reference.state
        if self.reference.status in ENDED:
            self._compare_ends()
        else:
            assert self.engine.status(self.run_id) == self._status()

    def _status(self) -> str:
        kinds = {key.kind for key in self.reference.live() if not key.path}
        if kinds & PERFORMED:
            return "running"
        return "awaiting_approval" if "approval" in kinds else "waiting"

    def _compare_ends(self) -> None:
        reference = self.reference
        assert self.engine.status(self.run_id) == reference.status
        error = self.engine.error(self.run_id)
        if reference.error:
            assert error["type"] == reference.error["type"], error
        if reference.status == "completed" and "output" in reference.definition:
            query = "select output from pgorch.runs where id = %s"
            assert self.engine.value(query, self.run_id) == reference.output
        history = self.engine.history(self.run_id)
        undone = {"step_undone": "success", "undo_failed": "error"}
        assert [
            f"{h['node']} {undone[h['kind']]}" for h in history if h["kind"] in undone
        ] == reference.undone
        # Which of several nodes that nobody performs is the first to fail the run is left open.
        if reference.status == "completed":
            assert sorted(ended(history)) == sorted(reference.done)

    def _claim(self) -> None:
        """Takes all that can be taken. A step that is tried again after an error is waited for."""
        if any(row["later"] for row in self._rows()):
            self.engine.jump("2 seconds")
        self.worker.beat_everywhere()
        claimed = [s for s in self.worker.claim(1000) if s.kind == "step"]
        keys = {row[2]: key for key, row in self._live().items()}
        self.at_hand = {key: step for key, step in self.at_hand.items() if step.step_id in keys}
        self.at_hand |= {keys[step.step_id]: step for step in claimed if step.step_id in keys}

    def _rows(self) -> list[Row]:
        return self.engine.rows(LIVE, list(self.paths))

    def _live(self) -> dict[Key, tuple[bool, UUID, int]]:
        """What is live in the engine: is it to be claimed later only, its run, its step."""
        self._find_children()
        found = {}
        for row in self._rows():
            path = self.paths[row["run_id"]]
            item = row["item"] if row["kind"] == "item" else None
            node, rounds = (row["node"], ()) if row["kind"] == "undo" else self._place(path, row)
            key = Key(path, row["kind"], node, rounds, item)
            assert key not in found, f"{key} is live twice"
            found[key] = (row["later"], row["run_id"], row["id"])
        return found

    def _find_children(self) -> None:
        while True:
            rows = self.engine.rows(CHILDREN, list(self.paths))
            new = [row for row in rows if row["id"] not in self.paths]
            for row in new:
                path = self.paths[row["parent_run_id"]]
                self.paths[row["id"]] = (*path, self._place(path, row))
            if not new:
                return

    def _place(self, path: Path, row: Row) -> Place:
        """Where a row is. Graphs without forks have no visits: there only one visit of a node is live."""
        shape = self.reference.of(path).shape
        if row["visit"] is not None:
            return row["node"], tuple(zip(shape.around(row["node"]), row["visit"], strict=True))
        places = {p for p in self.reference.of(path).places() if p[0] == row["node"]}
        return places.pop() if len(places) == 1 else (row["node"], (("?", 0),))

    def _is_live(self, run_id: UUID) -> bool:
        return self.engine.status(run_id) not in ENDED

    def _history_length(self) -> dict[UUID, int]:
        return {
            run_id: self.engine.value("select seq from pgorch.runs where id = %s", run_id)
            for run_id in self.paths
        }

    def _new_history(self, seen: Mapping[UUID, int]) -> list[Row]:
        query = "select * from pgorch.history where run_id = any (%s) order by at, run_id, seq"
        return [row for row in self.engine.rows(query, list(seen)) if row["seq"] > seen[row["run_id"]]]

    def _ended(self, seen: Mapping[UUID, int], live: set[Key]) -> list[tuple[UUID, Key, str]]:
        """Approvals and waits that have ended since, in order."""
        found = []
        for row in self._new_history(seen):
            if row["kind"] in ("step_expired", "step_completed"):
                path = self.paths[row["run_id"]]
                place = self._place(path, row)
                here = [key for key in live if (key.path, key.node, key.rounds) == (path, *place)]
                found += [(row["run_id"], key, ENDS[row["kind"]]) for key in here]
        return found


def ended(history: Iterable[Row]) -> list[str]:
    """What has ended, as "node outcome", in order."""
    found = []
    for h in history:
        if h["kind"] in ENDS:
            outcome = ENDS[h["kind"]]
            if outcome == "decided":
                outcome = {"approved": "success"}.get(h["output"]["decision"], h["output"]["decision"])
            found.append(f"{h['node']} {'error' if h['error'] is not None else outcome}")
    return found


def wipe(engine: Engine) -> None:
    """Forgets everything: a run that was left in the middle would be claimed by the next, and a graph that is
    there already is pinned to the child graphs of its time."""
    engine.connection.execute(EMPTY)
    engine._tools.clear()
    engine._worker = None
