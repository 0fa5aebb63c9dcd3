"""One run as the rules have it: what is live, and what follows when something of it ends."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.support.reference.conditions import FoundNothing, Unknown, holds, rendered
from tests.support.reference.maps import Items
from tests.support.reference.shape import Edge, Place, Rounds, Shape
from tests.support.reference.writing import Conflict, State, Writing

Definition = Mapping[str, Any]
Error = dict[str, Any]
ENDED = frozenset({"completed", "failed", "cancelled"})
PERFORMED = frozenset({"task", "item", "undo"})


class Key(NamedTuple):
    """What is live: of which child run (the nodes above, outermost first), what, where, which item."""

    path: tuple[Place, ...]
    kind: str
    node: str
    rounds: Rounds
    item: int | None = None


@dataclass
class Visit:
    """A visit that has not ended. Ancestors are the visits that lead to it, itself included."""

    number: int
    kind: str
    place: Place
    ancestors: frozenset[int]
    input: Any = None
    failures: int = 0
    items: Items | None = None
    child: "Reference | None" = None


@dataclass
class Undo:
    """A step that is to be undone: what its tool is called with."""

    node: str
    input: Any
    output: Any


@dataclass
class Ending:
    status: str
    error: Error | None
    undo: list[Undo] = field(default_factory=list)


class Reference:
    """One run. `graphs` are the definitions that nodes of type graph name.

    `done` lists what has ended, as "node outcome", in order; `error` is that of a failed run.
    """

    def __init__(
        self, definition: Definition, input: State, graphs: Mapping[str, Definition] | None = None
    ) -> None:
        self.definition = definition
        self.graphs = graphs or {}
        self.shape = Shape(definition)
        self.input = dict(input)
        self.writing = Writing(self.input, definition.get("reducers", {}))
        self.status = "running"
        self.error: Error | None = None
        self.output: Any = None
        self.done: list[str] = []
        self.undone: list[str] = []
        self.nodes: dict[str, Any] = {}
        self.signals: list[tuple[str, Any]] = []
        self._visits: list[Visit] = []
        # Child runs that nobody waits for any more, while what they did is undone.
        self._left: list[Visit] = []
        self._arrived: dict[Place, list[frozenset[int]]] = {}
        self._entered: set[Place] = set()
        self._taken: Counter[tuple[int, Rounds]] = Counter()
        self._can_be_undone: list[Undo] = []
        self._ending: Ending | None = None
        self._failing: Error | None = None
        self._failed: list[Visit] = []
        # Of a failed run: the visits that were live, and what had arrived where.
        self._stopped: tuple[list[Visit], dict[Place, list[frozenset[int]]]] = [], {}
        self._numbers = 0
        self._arrive(self.shape.first(), frozenset())
        self._settle()

    @property
    def state(self) -> State:
        return self.writing.state

    # What is live ----------------------------------------------------------------------------------

    def live(self, kinds: frozenset[str] | None = None) -> set[Key]:
        """Everything that somebody must perform, decide or send, in child runs too."""
        found = {key for visit in self._visits + self._left for key in self._keys(visit)}
        if self._ending and self.status not in ENDED:
            found.add(Key((), "undo", self._ending.undo[0].node, ()))
        return {key for key in found if kinds is None or key.kind in kinds}

    def _keys(self, visit: Visit) -> set[Key]:
        if visit.items:
            return {Key((), "item", *visit.place, i) for i in visit.items.under_way()}
        if visit.child:
            return {key._replace(path=(visit.place, *key.path)) for key in visit.child.live()}
        return {Key((), visit.kind, *visit.place)}

    def places(self) -> list[Place]:
        """Where visits are live in this run."""
        return [visit.place for visit in self._visits]

    def of(self, path: tuple[Place, ...]) -> "Reference":
        """The run itself or one below it."""
        if not path:
            return self
        children = {v.place: v.child for v in self._left + self._visits if v.child}
        return children[path[0]].of(path[1:])

    def input_of(self, key: Key) -> Any:
        """What a step is given; for an undo the recorded input and output."""
        run = self.of(key.path)
        if key.kind == "undo":
            assert run._ending
            return run._ending.undo[0]
        visit = run._at((key.node, key.rounds))
        return visit.items.inputs[key.item or 0] if visit.items else visit.input

    # What may happen -------------------------------------------------------------------------------

    def complete(self, *ends: tuple[Key, str, Any]) -> set[Key]:
        """Ends what is live, one thing or several at once: each with `success` and its output, `error` and an
        error {"type", "retryable"?}, `approved` or `rejected` and the data of the decision, or `expired`.

        What follows is worked out when all have ended, and only then the run fails, if one of them makes it.
        Returns what has come to life.
        """
        before = self.live()
        runs: list[Reference] = []
        for key, outcome, value in ends:
            if key in self.live():
                runs.append(self.of(key.path))
                self._complete(key, outcome, value)
        for run in runs:
            run._end_maps()
        self._settle_all()
        return self.live() - before

    def _complete(self, key: Key, outcome: str, value: Any) -> None:
        if key.path:
            self.of(key.path[:1])._complete(key._replace(path=key.path[1:]), outcome, value)
        elif key.kind == "undo":
            self._undone(outcome)
        elif key.kind == "item":
            self._item(self._at((key.node, key.rounds)), key.item or 0, outcome, value)
        else:
            self._attempt(self._at((key.node, key.rounds)), outcome, value)

    def _end_maps(self) -> None:
        """The end of its last item is that of a map: it counts as one of the things that end at once."""
        for visit in list(self._visits):
            if visit.items:
                self._ends(visit)

    def _settle_all(self) -> None:
        """From the runs furthest below upwards."""
        for visit in list(self._visits):
            if visit.child:
                visit.child._settle_all()
        self._settle()

    def signal(self, name: str, payload: Any, path: tuple[Place, ...] = ()) -> None:
        """A message to the run: the oldest wait for it ends, else it is kept."""
        self.of(path).signals.append((name, payload))
        self._settle_all()

    def cancel(self, compensate: bool = False) -> None:
        self._end_run("cancelled", None, compensate)

    def can_be_retried(self) -> bool:
        """Has it failed, and is nothing undone? How child runs are taken up is not written down here."""
        child = any(visit.child for visit in [*self._stopped[0], *self._left])
        return self.status == "failed" and not self.undone and not child

    def retry(self) -> None:
        """What was live is live again as it was, and what the run failed at is tried again."""
        assert self.can_be_retried()
        self.status, self.error, self._ending = "running", None, None
        visits, self._arrived = self._stopped
        for visit in visits:
            self._visits.append(visit)
            if not self._failing:
                self._again(visit)
        self._settle()

    def _again(self, visit: Visit) -> None:
        visit.failures = 0
        if visit.items:
            visit.items.again()
        elif visit.kind in ("task", "approval", "wait"):
            if "input" not in self.shape.nodes[visit.place[0]]:
                visit.input = self.state
        else:
            self._enter_or_fail(visit)

    def _at(self, place: Place) -> Visit:
        return next(v for v in self._visits if v.place == place)

    # What follows ----------------------------------------------------------------------------------

    def _settle(self) -> None:
        while self.status == "running" and not self._ending and not self._failing:
            place = next((p for p in self._arrived if self._is_decided(p)), None)
            if place is not None:
                self._open(place)
            elif not self._end_by_itself():
                break
        if self._failing:
            self._end_run("failed", self._failing)
        elif self.status == "running" and not self._ending and not self._visits:
            assert not self._arrived, "joins wait for each other"
            self._complete_run()

    def _is_decided(self, place: Place) -> bool:
        least = self._least(place[0])
        if least is not None and len(self._arrived[place]) >= least:
            return True
        others = [v.place for v in self._visits] + [p for p in self._arrived if p != place]
        return not any(self.shape.can_reach(other, place, self._entered) for other in others)

    def _least(self, node: str) -> int | None:
        """How many arrivals a join needs; None: all that can come."""
        join = self.shape.nodes[node].get("join", "all")
        return None if join == "all" else 1 if join == "any" else int(join["at_least"])

    def _arrive(self, place: Place, ancestors: frozenset[int]) -> None:
        # R6: a later arrival of the same visit does not run the node again.
        if place not in self._entered:
            self._arrived.setdefault(place, []).append(ancestors)

    def _open(self, place: Place) -> None:
        """R4, R6: enough has arrived, or all that can."""
        arrivals = self._arrived.pop(place)
        if self.shape.nodes[place[0]].get("cancel_rest"):
            for visit in [v for v in self._visits if self._leads(v.place, place)]:
                self._visits.remove(visit)
                if visit.child:
                    visit.child.cancel(compensate=True)
                    self._left.append(visit)
            self._arrived = {p: a for p, a in self._arrived.items() if not self._leads(p, place)}
        self._entered.add(place)
        self._numbers += 1
        visit = Visit(self._numbers, "", place, frozenset({self._numbers}).union(*arrivals))
        if len(arrivals) < (self._least(place[0]) or 1):
            self._note(visit, "skipped", None)
            return
        self._visits.append(visit)
        self._enter_or_fail(visit)
        if visit in self._visits:
            self._ends(visit)

    def _enter_or_fail(self, visit: Visit) -> None:
        try:
            self._enter(visit)
        except FoundNothing:
            self._end(visit, "error", {"type": "TemplateError"})

    def _leads(self, place: Place, target: Place) -> bool:
        return self.shape.can_reach(place, target, self._entered)

    def _enter(self, visit: Visit) -> None:
        node = self.shape.nodes[visit.place[0]]
        kind = node.get("type", "task")
        if kind == "task" and node.get("function") == "wait_for_approval":
            kind = "approval"
        visit.kind = kind
        if kind == "map":
            self._enter_map(visit, node)
            return
        given = self._rendered(node["input"]) if "input" in node else None
        visit.input = self.state if given is None else given
        if kind == "pass":
            self._end(visit, "success", given)
        elif kind == "fail":
            self._end(visit, "error", {"type": node.get("error", "Failed")})
        elif kind == "graph":
            child = self.graphs[node["graph"]]
            visit.child = Reference(child, visit.input, self.graphs)

    def _enter_map(self, visit: Visit, node: Mapping[str, Any]) -> None:
        items = self._rendered(node["items"])
        if not isinstance(items, list):
            self._end(visit, "error", {"type": "InvalidItems"})
            return
        inputs = [
            self._rendered(node["input"], item=item, index=i) if "input" in node else item
            for i, item in enumerate(items)
        ]
        visit.items = Items(inputs, node.get("concurrency"), node.get("tolerate", 0))

    def _end_by_itself(self) -> bool:
        """Does one of the visits end without anybody?"""
        return any(self._ends(visit) for visit in list(self._visits))

    def _ends(self, visit: Visit) -> bool:
        """A wait whose signal is there, a map or a child run that is over: the visit ends."""
        if visit.items and visit.items.verdict():
            self._end(visit, *visit.items.result())
            return True
        if visit.child and visit.child.status in ENDED:
            if visit.child.status == "completed":
                self._attempt(visit, "success", visit.child.output)
            else:
                self._attempt(visit, "error", visit.child.error)
            return True
        awaited = self.shape.nodes[visit.place[0]].get("signal")
        sent = next((s for s in self.signals if s[0] == awaited), None)
        if visit.kind == "wait" and sent:
            self.signals.remove(sent)
            self._end(visit, "success", sent[1])
            return True
        return False

    # How visits end --------------------------------------------------------------------------------

    def _attempt(self, visit: Visit, outcome: str, value: Any) -> None:
        if outcome == "error" and self._is_tried_again(visit.place[0], visit.failures, value):
            visit.failures += 1
            if visit.child:
                self._enter(visit)
            return
        self._end(visit, outcome, value)

    def _item(self, visit: Visit, item: int, outcome: str, value: Any) -> None:
        assert visit.items
        if outcome == "error" and self._is_tried_again(visit.place[0], visit.items.failures[item], value):
            visit.items.failures[item] += 1
        else:
            visit.items.end(item, outcome, value)

    def _is_tried_again(self, node: str, failures: int, error: Error) -> bool:
        policy = self.shape.nodes[node].get("retry", self.definition.get("retry")) or {}
        return (
            failures + 1 < policy.get("max_attempts", 1)
            and error.get("retryable", True)
            and error["type"] not in policy.get("non_retryable", [])
            and error["type"] in policy.get("retry_on", [error["type"]])
        )

    def _end(self, visit: Visit, outcome: str, value: Any) -> None:
        """R1 to R3, and what the node writes."""
        self._visits.remove(visit)
        node = self.shape.nodes[visit.place[0]]
        roots: dict[str, Any] = {}
        output = value if outcome == "success" else None
        if visit.kind == "approval":
            roots["decision"] = {**(value or {}), "decision": outcome}
        if outcome == "approved":
            named = node.get("form", {}).get("properties", {})
            outcome, output = "success", {k: v for k, v in (value or {}).items() if k in named}
        edges: list[Edge] | None = None
        performed = outcome == "success" and visit.kind == "task"
        if outcome != "error":
            kept = self.writing.mark(), self.done[:], dict(self.nodes)
            try:
                if outcome == "success":
                    self.writing.write(visit.number, visit.ancestors, node.get("into"), output)
                self._note(visit, outcome, output)
                edges = self._choose(visit, outcome, roots)
            except (Conflict, Unknown) as problem:
                mark, self.done, self.nodes = kept
                self.writing.reset(mark)
                outcome, value = "error", {"type": _TYPES[type(problem)]}
        # Whatever becomes of its edges and of what it writes: the tool has done it.
        if performed and "compensate" in node:
            self._can_be_undone.append(Undo(visit.place[0], visit.input, output))
        if outcome == "error":
            self._note(visit, outcome, None, value)
            try:
                edges = self._choose(visit, outcome, {"error": value})
            except Unknown:
                self._fail(visit, {"type": "ConditionUnknown"})
                return
        self._go_on(visit, edges, outcome, value)

    def _go_on(self, visit: Visit, edges: list[Edge] | None, outcome: str, value: Any) -> None:
        if edges is None:
            self._fail(visit, {"type": "NoMatchingEdge"})
        elif not edges and outcome != "success":
            closed = {"rejected": {"type": "Rejected"}, "expired": {"type": "Expired"}}
            self._fail(visit, closed.get(outcome, value))
        for edge in edges or []:
            self._taken[self.shape.count_of(edge, visit.place[1])] += 1
            self._arrive(self.shape.after(visit.place[1], edge), visit.ancestors)

    def _choose(self, visit: Visit, outcome: str, roots: Mapping[str, Any]) -> list[Edge] | None:
        """Edges that are taken; [] if none is a candidate, None if none matches."""
        name, rounds = visit.place
        candidates = [e for e in self.shape.edges if e.source == name and e.on in (outcome, "always")]
        if not candidates:
            return []
        first = self.shape.nodes[name].get("branch", "first") == "first"
        one = first and any(e.condition is not None for e in candidates)
        chosen: list[Edge] = []
        for edge in sorted(candidates, key=lambda e: (e.condition is None, e.number)):
            used = self._taken[self.shape.count_of(edge, rounds)]
            if edge.limit is not None and used >= edge.limit:
                continue
            if edge.condition is None or holds(edge.condition, self.state, {**self._roots(), **roots}):
                chosen.append(edge)
                if one:
                    break
        return sorted(chosen, key=lambda e: e.number) or None

    def _note(self, visit: Visit, outcome: str, output: Any, error: Any = None) -> None:
        name = visit.place[0]
        self.done.append(f"{name} {outcome}")
        visits = self.nodes.get(name, {}).get("visits", 0) + 1
        status = {"success": "completed", "error": "failed"}.get(outcome, outcome)
        known = {"output": output, "status": status, "attempts": visit.failures + 1, "visits": visits}
        self.nodes[name] = known | ({} if error is None else {"error": error})

    def _roots(self) -> dict[str, Any]:
        run = {"graph": self.definition.get("name")}
        return {"input": self.input, "nodes": self.nodes, "run": run}

    def _rendered(self, template: Any, **roots: Any) -> Any:
        return rendered(template, self.state, {**self._roots(), **roots})

    # How the run ends ------------------------------------------------------------------------------

    def _fail(self, visit: Visit, error: Error) -> None:
        """Of several failures the first is the run's."""
        self._failing = self._failing or error
        self._failed.append(visit)

    def _complete_run(self) -> None:
        template = self.definition.get("output")
        try:
            self.output = self.state if template is None else self._rendered(template)
        except FoundNothing:
            self._end_run("failed", {"type": "TemplateError"})
        else:
            self.status = "completed"

    def _end_run(self, status: str, error: Error | None, compensate: bool = True) -> None:
        """Nothing is live any more but, one after the other, what is undone: newest first."""
        if self.status in ENDED or self._ending:
            return
        for visit in self._visits:
            if visit.child and visit.child.status not in ENDED:
                visit.child.cancel(compensate)
                self._left.append(visit)
        self._stopped = self._visits + self._failed, self._arrived
        self._visits, self._arrived = [], {}
        self._failing, self._failed = None, []
        self._ending = Ending(status, error, self._can_be_undone[::-1] if compensate else [])
        self._over()

    def _undone(self, outcome: str) -> None:
        assert self._ending
        node = self._ending.undo.pop(0).node
        self.undone.append(f"{node} {outcome}")
        self._over()

    def _over(self) -> None:
        if self._ending and not self._ending.undo:
            self.status, self.error = self._ending.status, self._ending.error


_TYPES = {Conflict: "StateConflict", Unknown: "ConditionUnknown"}
