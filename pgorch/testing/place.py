"""The database of a test."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from psycopg import Connection

from pgorch.config import resolve_dsn
from pgorch.database.connection import connect_sync
from pgorch.database.migrations import check_schema
from pgorch.database.pooling import settle_sync
from pgorch.database.queries import SyncQueries
from pgorch.errors import ConfigError
from pgorch.graph import Graph
from pgorch.testing.answers import Decisions
from pgorch.testing.own_server import embedded
from pgorch.testing.player import Crashes, Player
from pgorch.testing.run import Run
from pgorch.testing.tools import Tools
from pgorch.tool import Registry
from pgorch.tool.options import near
from pgorch.worker.sql_steps import SQL_STEP

# Performed by pgorch itself.
_BUILT_IN = frozenset({"wait_for_approval"})


class Database:
    """A database to run graphs in, and the clock, the worker and the people that belong to it.

    `connection` is the transaction in which everything happens: make your own tables there, and look at them.
    """

    def __init__(self, connection: Connection[Any], tools: Registry | Iterable[Any] | None = None) -> None:
        self.connection = connection
        self._tools = Tools(Registry())
        if tools is not None:
            self._tools.add(tools)
        self._queries = SyncQueries(connection)
        self._player = Player(connection, self._tools)

    def create_graph(self, graph: Graph | Mapping[str, Any]) -> str:
        """Stores a graph, for nodes of type graph to name, or for runs to come; returns its name.

        Raises InvalidGraph with everything that is wrong with it.
        """
        definition = _definition(graph)
        self._register(_functions(definition))
        with self.connection.transaction():
            return self._queries.create_graph(definition).name

    def run(
        self,
        graph: Graph | Mapping[str, Any] | str,
        input: Mapping[str, Any] | None = None,
        *,
        tools: Mapping[str, Any] | Registry | Iterable[Any] | None = None,
        decisions: Mapping[str, Any] | None = None,
        signals: Mapping[str, Any] | None = None,
        crash_at: str | Sequence[str] = (),
        crash_after: str | Sequence[str] = (),
        actor: str | None = None,
    ) -> Run:
        """Starts a run and lets it go on until it has ended or waits; returns it.

        `graph`: a definition, or the name of one that is stored.
        `tools`: {name: fake}. A fake is a function of the arguments that the real tool would be given, a
            value, or an exception (see `failure`). A function with @tool is called as itself. Also a Registry
            or a list of real tools. A tool that is named nowhere does nothing and gives {}. They stay for
            later runs in this database.
        `decisions`: {node: "approved" | approved({...}) | [one for each visit]}; other approvals stay open.
        `signals`: {name: payload}, sent at the start.
        `crash_at`: nodes at whose step the worker dies, after the tool has run and before its result is
            handed in: the step runs again. "charge:2" is the second step of charge.
        `crash_after`: nodes after whose step it dies: nothing of them is repeated.
        `actor`: who starts the run.

        Raises InvalidGraph, NotFound, InvalidValue, ConfigError.
        """
        if tools is not None:
            self._tools.add(tools)
        name = graph if isinstance(graph, str) else self.create_graph(graph)
        definitions = self._definitions(name)
        nodes = [node for definition in definitions for node in definition["nodes"]]
        functions = {f for definition in definitions for f in _functions(definition)}
        fakes = tools if isinstance(tools, Mapping) and not isinstance(tools, Registry) else {}
        _check_names("tools", fakes, functions, "tool")
        _check_names("decisions", decisions or {}, {n["id"] for n in nodes}, "node")
        at, after = _listed(crash_at), _listed(crash_after)
        _check_names(
            "crashes", [c.partition(":")[0] for c in (*at, *after)], {n["id"] for n in nodes}, "node"
        )
        self._register(functions)
        self._player.enlist(functions, {str(n["queue"]) for n in nodes if "queue" in n})
        with self.connection.transaction():
            run_id = self._queries.start(name, input, actor=actor)
        run = Run(self._player, run_id, Decisions(decisions or {}), Crashes(at), Crashes(after))
        for signal, payload in (signals or {}).items():
            self._player.simulation.signal(run_id, signal, payload)
        return run.proceed()

    def _register(self, names: set[str]) -> None:
        known = self._player.simulation.known_tools(sorted(names))
        definitions = self._tools.definitions(names, known)
        with self.connection.transaction():
            self._queries.register_tools(definitions)

    def _definitions(self, name: str) -> list[dict[str, Any]]:
        """The graph, and those that its nodes of type graph name."""
        found: dict[str, dict[str, Any]] = {}
        to_do = [name]
        while to_do:
            each = to_do.pop()
            if each not in found:
                found[each] = self._player.simulation.definition(each)
                to_do += [str(n["graph"]) for n in found[each]["nodes"] if n.get("type") == "graph"]
        return list(found.values())


@contextmanager
def database(dsn: str | None = None, *, tools: Registry | Iterable[Any] | None = None) -> Iterator[Database]:
    """A database for one test; whatever happens there is rolled back at the end.

    With a `dsn`, or the one that is set (PGORCH_DSN, DATABASE_URL, PGHOST), that database, which must have
    the schema of this pgorch and no living workers; tests that are under way in it at once take turns. Else
    an embedded PostgreSQL, started for this. `tools`: the real tools of your app, where a test does not
    replace them with fakes.

    Raises ConfigError, DatabaseUnavailable, SchemaMismatch.
    """
    with ExitStack() as stack:
        place = resolve_dsn(dsn)
        if place is None:
            place = stack.enter_context(embedded())
        connection = stack.enter_context(connect_sync(place, application_name="pgorch testing"))
        settle_sync(connection, {})
        check_schema(connection)
        with connection.transaction(force_rollback=True):
            played = Database(connection, tools)
            played._player.simulation.take_turn()
            yield played


def _definition(graph: Graph | Mapping[str, Any]) -> dict[str, Any]:
    return dict(graph.to_json() if isinstance(graph, Graph) else graph)


def _functions(definition: Mapping[str, Any]) -> set[str]:
    """The tools that a definition names. What is no graph at all is left to the engine to refuse."""
    nodes = definition.get("nodes")
    named = {
        node[key]
        for node in (nodes if isinstance(nodes, list) else [])
        if isinstance(node, Mapping)
        for key in ("function", "compensate")
        if isinstance(node.get(key), str)
    }
    has_sql = any("sql" in node for node in (nodes if isinstance(nodes, list) else []))
    return (named - _BUILT_IN) | ({SQL_STEP.name} if has_sql else set())


def _check_names(what: str, given: Iterable[str], known: set[str], kind: str) -> None:
    """A misspelt name would make a test pass that tests nothing."""
    for name in given:
        if name not in known:
            raise ConfigError(
                f"{what} names {name!r}, but the graph has no such {kind}.",
                hint=near(name, known) or f"It has {', '.join(sorted(known)) or 'none'}.",
            )


def _listed(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
