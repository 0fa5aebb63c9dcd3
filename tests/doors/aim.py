"""Hooks of schemathesis: what it draws at random is led to what is there, so that it gets past "not found".

What is there is read once, from the API named by PGORCH_DOORS_URL, with the key in PGORCH_DOORS_KEY. Which of
it a request gets follows from what was drawn, never from chance, so that a failure can be repeated. A quarter
of the requests stays as it was drawn.
"""

import copy
import functools
import hashlib
import json
import os
from typing import Any

import schemathesis
from schemathesis import HookContext
from schemathesis.core.parameters import ParameterLocation

from tests.doors.ground import ask
from tests.doors.population import GRAPHS

NAMES = {
    "name": ["nightly", "noon", "mail", "new"],
    "kind": ["queue", "tool"],
    "hook": ["shop", "other"],
    "graph": [*GRAPHS, "plain@1"],
    "node": ["begin", "ask", "echo", "each", "child"],
}


@functools.cache
def there() -> dict[str, list[str]]:
    """The ids of runs and approvals."""
    url, key = os.environ["PGORCH_DOORS_URL"], os.environ["PGORCH_DOORS_KEY"]
    runs = ask(f"{url}/v1/runs", key)["runs"]
    return {
        "run_id": [run["run_id"] for run in runs],
        # A stream of a run that is not over does not end.
        "ended": [run["run_id"] for run in runs if run["status"] == "completed"],
        "approval_id": [a["approval_id"] for a in ask(f"{url}/v1/approvals", key)["approvals"]],
    }


def number(drawn: Any) -> int:
    """The same for what is drawn the same."""
    return int.from_bytes(hashlib.sha256(repr(drawn).encode("utf-8", "backslashreplace")).digest()[:4])


@schemathesis.hook
def before_call(context: HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """Aims what was drawn as something that is right. What is wrong on purpose stays wrong."""
    wrong = {location for location, drawn in _components(case) if drawn.mode.is_negative}
    if ParameterLocation.PATH not in wrong and case.path_parameters:
        case.path_parameters = {name: _aimed(name, value) for name, value in case.path_parameters.items()}
    if ParameterLocation.BODY not in wrong and isinstance(case.body, dict):
        case.body = aimed_body(case.operation.path, case.body)
    _shorten(case)


def _components(case: schemathesis.Case[Any]) -> list[tuple[Any, Any]]:
    return [] if case.meta is None else list(case.meta.components.items())


def _aimed(name: str, value: Any) -> Any:
    drawn, choice = number(value), there().get(name) or NAMES.get(name)
    return choice[drawn // 4 % len(choice)] if choice and drawn % 4 and value not in choice else value


def _shorten(case: schemathesis.Case[Any]) -> None:
    """Long waits, and streams that go on for ever, are right. But time is short."""
    if isinstance(case.query, dict) and str(case.query.get("wait", "")).isdecimal():
        case.query["wait"] = min(int(case.query["wait"]), 1)
    if case.headers and "wait" in str(case.headers.get("Prefer", "")):
        case.headers["Prefer"] = "wait=1"
    if case.operation.path.endswith("/events") and case.path_parameters:
        ended = there()["ended"]
        case.path_parameters["run_id"] = ended[number(case.path_parameters) % len(ended)]


def aimed_body(path: str, body: dict[str, Any]) -> dict[str, Any]:
    drawn = number(body)
    if drawn % 4 == 0:
        return body
    if path in ("/graph/create", "/v1/graphs", "/v1/graphs/validate"):
        return replaced(drawn, body)
    for name in ("graph", "graph_id", "node"):
        if isinstance(body.get(name), str):
            choice = NAMES.get(name, NAMES["graph"])
            body = {**body, name: choice[drawn // 4 % len(choice)]}
    return body


def replaced(drawn: int, body: dict[str, Any]) -> dict[str, Any]:
    """A graph that is right, but for one value that comes from what was drawn."""
    names = list(GRAPHS)
    graph = copy.deepcopy(GRAPHS[names[drawn // 4 % len(names)]])
    places = list(_places(graph))
    parts = [part for _, part in _places(body)] or [None]
    (holder, key), _ = places[drawn // 64 % len(places)]
    holder[key] = json.loads(json.dumps(parts[drawn // 4096 % len(parts)][0] if parts[0] else None))
    return graph


def _places(value: Any) -> Any:
    """Each place in a JSON value, as (holder, key), with what is there."""
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, member in list(members):
        yield (value, key), (member,)
        yield from _places(member)
