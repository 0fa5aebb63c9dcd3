"""What a worker gives to a tool, and what of the run's state it decodes for that."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from pgorch.database.worker_queries import Advanced
from pgorch.tool import tool
from pgorch.tool.definition import MARK
from pgorch.worker.running import Running
from pgorch.worker.state import State

INPUT = '{"item": 5, "index": 0}'
STATE = '{"item": 1, "rate": 2}'


@tool
def alone(item: int, index: int) -> None: ...


@tool
def rated(item: int, rate: int = 1) -> None: ...


@tool
def anything(**given: Any) -> None: ...


@tool
def looking(item: int, state: dict[str, Any]) -> None: ...


def given(function: Callable[..., Any], state: str) -> dict[str, Any]:
    row = Advanced(
        "step", 1, "token", None, "m", "t", 1, 0, None, INPUT, state, None, None, "loose item", 0, None
    )
    return Running(0, uuid.UUID(int=1), row, State(state), getattr(function, MARK)).arguments()


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (alone, {"item": 5, "index": 0}),
        (rated, {"item": 5, "rate": 2}),
        (anything, {"item": 5, "index": 0, "rate": 2}),
        (looking, {"item": 5, "state": {"item": 5, "index": 0, "rate": 2}}),
    ],
)
def test_an_item_lies_over_the_state(function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    assert given(function, STATE) == arguments


def test_the_state_is_not_decoded_for_a_tool_that_finds_all_in_its_item() -> None:
    assert given(alone, "no JSON") == {"item": 5, "index": 0}
    with pytest.raises(ValueError, match="line 1"):
        given(rated, "no JSON")
