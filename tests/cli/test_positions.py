import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgorch.cli.positions import position_of

KEYS = st.text(max_size=5) | st.sampled_from(["a/b", "~", "~1", '"', "{", "\\", "é"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def pointers(value: Any, path: str = "") -> list[tuple[str, Any]]:
    found = [(path, value)]
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = [(key.replace("~", "~0").replace("/", "~1"), each) for key, each in value.items()]
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, each in items:
        found += pointers(each, f"{path}/{key}")
    return found


def value_at(text: str, line: int, column: int) -> Any:
    offset = sum(len(each) for each in text.split("\n")[: line - 1]) + line - 1 + column - 1
    return json.JSONDecoder().raw_decode(text, offset)[0]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES, st.sampled_from([None, 0, 2]), st.booleans())
def test_the_value_of_a_pointer_begins_at_its_position(
    value: Any, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    for pointer, expected in pointers(value):
        assert value_at(text, *position_of(pointer, text)) == expected


def test_what_is_missing_is_placed_at_what_should_hold_it() -> None:
    text = '{"nodes": [\n  {"id": "a"},\n  {"id": "b"}]}'
    assert position_of("/nodes/1/function", text) == (3, 3)
    assert position_of("/nodes/7", text) == (1, 11)
    assert position_of("/start_node", text) == (1, 1)
    # "/nodes/1" is no part of "/nodes/10".
    assert position_of("/nodes/10/id", text) == (1, 11)
