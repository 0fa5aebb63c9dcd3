"""Writing graphs in Python: sugar that produces the JSON of the graph language, and nothing else.

    g = Graph("data_quality")
    g.task("profile", profile_data)
    g.task("clean", clean_data, retry={"max_attempts": 3})
    g.task("publish", "finish_pipeline")
    g.edge("profile", "publish", condition="$.quality >= 0.95")
    g.edge("profile", "clean", limit=3)
    g.edge("clean", "profile")

Whether a graph makes sense is decided where it is stored: create_graph reports all its errors at once.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Self

import orjson

from pgorch import strict_json
from pgorch.errors import ConfigError, InvalidValue
from pgorch.tool.definition import MARK, Tool
from pgorch.tool.options import Interval, checked_retry, interval_text, seconds_of

Function = str | Tool | Callable[..., Any]


class Graph:
    """A graph under construction; `to_json()` is the definition that every door of pgorch takes.

    The first node is the start until `start()` names another. Every method takes further keys of the
    language, or of an editor, by name: they are kept as they are. Where the language has an interval, seconds
    and timedeltas are taken too, and `join=2` stands for {"at_least": 2}.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        input_schema: Mapping[str, Any] | None = None,
        reducers: Mapping[str, str] | None = None,
        retry: Mapping[str, Any] | None = None,
        timeout: Interval | None = None,
        output: Any = None,
        **keys: Any,
    ) -> None:
        self._document: dict[str, Any] = _present(
            name=name,
            input_schema=input_schema,
            reducers=reducers,
            retry=checked_retry(retry, "the graph"),
            timeout=_interval(timeout, "timeout", "the graph"),
            output=output,
            **keys,
        )
        self._document |= {"nodes": [], "edges": []}

    def task(
        self,
        id: str,
        function: Function,
        *,
        input: Mapping[str, Any] | None = None,
        compensate: Function | None = None,
        **keys: Any,
    ) -> str:
        """A node that runs a tool, given by name or as the function itself; its id is returned, for `edge`.

        `input` is the template of its arguments (without it: the state, by name), `compensate` the tool that
        undoes it.
        """
        undo = None if compensate is None else _name_of(compensate)
        return self._node(id, function=_name_of(function), input=input, compensate=undo, **keys)

    def sql(self, id: str, statement: str, *, input: Sequence[Any] | None = None, **keys: Any) -> str:
        """A node that is one SQL statement; `input` is the list of its parameters $1, $2, ..."""
        return self._node(id, sql=statement, input=input, **keys)

    def map(self, id: str, function: Function, items: str | Sequence[Any], **keys: Any) -> str:
        """A node that runs a tool for each item of a list: $item and $index are known in its `input`."""
        return self._node(id, type="map", function=_name_of(function), items=items, **keys)

    def child(self, id: str, graph: str, *, input: Mapping[str, Any] | None = None, **keys: Any) -> str:
        """A node that runs another graph, named by name, name@version or id, and waits for its end."""
        return self._node(id, type="graph", graph=graph, input=input, **keys)

    def wait(
        self,
        id: str,
        *,
        duration: Interval | None = None,
        until: str | datetime | None = None,
        signal: str | None = None,
        row: Mapping[str, Any] | None = None,
        **keys: Any,
    ) -> str:
        """A node at which the run waits for one of: a duration, a time, a signal, a row of a table.

        A time has its zone; `row` is {"table", "key", "key_column" (or the primary key), "condition"}.
        """
        if isinstance(until, datetime):
            if until.tzinfo is None:
                raise ConfigError(f"The time until which the node {id} waits has no zone.")
            until = until.isoformat()
        if not (isinstance(duration, str) and "${" in duration):
            duration = _interval(duration, "duration", f"the node {id}")
        return self._node(id, type="wait", **{"for": duration}, until=until, signal=signal, row=row, **keys)

    def approval(
        self,
        id: str,
        *,
        title: str | None = None,
        show: Any = None,
        form: Mapping[str, Any] | None = None,
        assignees: Sequence[str] | None = None,
        remind: Mapping[str, Any] | None = None,
        **keys: Any,
    ) -> str:
        """A node at which the run waits for people; edges on "approved", "rejected" and "expired" lead on.

        `form` is the JSON Schema of what they enter, `remind` {"after": interval, "to": [...]}.
        """
        if remind is not None and "after" in remind:
            after = _interval(remind["after"], "remind", f"the node {id}")
            remind = {**remind, "after": after}
        return self._node(
            id,
            type="approval",
            title=title,
            show=show,
            form=form,
            assignees=assignees,
            remind=remind,
            **keys,
        )

    def passing(self, id: str, **keys: Any) -> str:
        """A node that does nothing: a place for edges to meet or part."""
        return self._node(id, type="pass", **keys)

    def fail(self, id: str, *, error: str | None = None, message: str | None = None, **keys: Any) -> str:
        """A node that fails the run with this type of error and message."""
        return self._node(id, type="fail", error=error, message=message, **keys)

    def edge(
        self,
        source: str,
        target: str,
        *,
        condition: str | Mapping[str, Any] | None = None,
        on: str | None = None,
        limit: int | None = None,
        **keys: Any,
    ) -> Self:
        """An edge: `condition` is a SQL/JSON path predicate or an object to be contained in the state."""
        self._document["edges"].append(
            _present(source=source, target=target, condition=condition, on=on, limit=limit, **keys)
        )
        return self

    def start(self, id: str) -> Self:
        """Name the node that runs first."""
        self._document["start_node"] = id
        return self

    def to_json(self) -> dict[str, Any]:
        """The definition, as a value of its own."""
        return copy.deepcopy(self._document)

    @classmethod
    def from_json(cls, definition: Mapping[str, Any] | str | bytes) -> Self:
        """The graph of a definition, as a value or as text; keys that pgorch does not know are kept.

        InvalidValue if the text is no strict JSON or no object with lists of nodes and edges.
        """
        value: Any = definition
        if isinstance(definition, str | bytes):
            value = strict_json.loads(definition, what="The graph")
        if not isinstance(value, Mapping) or not all(
            isinstance(value.get(key), list) for key in ("nodes", "edges")
        ):
            raise InvalidValue(
                "A graph is an object with a list of nodes and a list of edges, but this is not.",
                hint='For instance {"nodes": [{"id": "a", "function": "f"}], "edges": []}.',
            )
        graph = cls()
        graph._document = copy.deepcopy(dict(value))
        return graph

    def _node(self, id: str, **keys: Any) -> str:
        what = f"the node {id}"
        for key in ("timeout", "heartbeat", "deadline"):
            if key in keys:
                keys[key] = _interval(keys[key], key, what)
        if "retry" in keys:
            keys["retry"] = checked_retry(keys["retry"], what)
        if isinstance(keys.get("join"), int):
            keys["join"] = {"at_least": keys["join"]}
        self._document["nodes"].append({"id": id, **_present(**keys)})
        self._document.setdefault("start_node", id)
        return id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self._document == other._document

    def __repr__(self) -> str:
        text = orjson.dumps(self._document).decode()
        return f"Graph({text if len(text) <= 200 else text[:197] + '...'})"


def _present(**keys: Any) -> dict[str, Any]:
    return {key: _own(value) for key, value in keys.items() if value is not None}


def _own(value: Any) -> Any:
    """A copy of JSON, with dicts and lists for what is like them."""
    if isinstance(value, Mapping):
        return {key: _own(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_own(part) for part in value]
    return copy.deepcopy(value)


def _name_of(function: Function) -> str:
    if isinstance(function, str):
        return function
    if isinstance(function, Tool):
        return function.name
    made = getattr(function, MARK, None)
    return made.name if isinstance(made, Tool) else Tool.of(function).name


def _interval(interval: Interval | None, key: str, what: str) -> str | None:
    if interval is None:
        return None
    seconds = seconds_of(interval, f"The {key} of {what}")
    return interval if isinstance(interval, str) else interval_text(seconds)
