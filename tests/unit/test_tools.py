"""Tools: what type hints and docstrings become, and what a call with wrong arguments is told."""

import functools
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

import jsonschema  # type: ignore[import-untyped]
import pytest
from pydantic import BaseModel, Field

from pgorch.errors import ConfigError, PgorchError
from pgorch.tool import Context, InvalidArguments, Tool, tool
from pgorch.tool.definition import MARK


@dataclass
class Item:
    sku: str
    count: int = 1


class Address(BaseModel):
    city: str


@tool(retry={"max_attempts": 5, "initial_interval": 0.5}, timeout="30s")
async def charge(
    order_id: str,
    amount: Annotated[float, Field(gt=0)],
    ctx: Context,
    items: list[Item] = [],  # noqa: B006
    currency: Literal["EUR", "USD"] = "EUR",
    address: Address | None = None,
) -> dict[str, Any]:
    """Charge the order.

    Once only.

    Args:
        order_id: Which order,
            by its number.
        amount (float): How much: gross.

    Returns:
        order_id: not an argument
    """
    return {"items": items, "address": address}


def of(function: Callable[..., Any]) -> Tool:
    made: Tool = getattr(function, MARK)
    return made


def context() -> Context:
    return Context(
        run_id=uuid.UUID(int=7), node="pay", step_id=3, attempt=2, born=5, lease_token=uuid.UUID(int=9 << 64)
    )


def test_a_docstring_becomes_the_description_and_those_of_the_parameters() -> None:
    assert of(charge).description == "Charge the order.\n\nOnce only."
    properties = of(charge).parameters["properties"]
    assert properties["order_id"] == {"type": "string", "description": "Which order, by its number."}
    assert properties["amount"] == {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": "How much: gross.",
    }


def test_type_hints_become_a_valid_json_schema_without_the_context() -> None:
    schema = of(charge).parameters
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert schema["required"] == ["order_id", "amount"]
    assert set(schema["properties"]) == {"order_id", "amount", "items", "currency", "address"}
    assert schema["properties"]["currency"] == {"enum": ["EUR", "USD"], "type": "string", "default": "EUR"}
    jsonschema.validate({"order_id": "1", "amount": 2, "items": [{"sku": "x"}]}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"order_id": "1", "amount": 2, "more": 1}, schema)


def test_a_definition_is_what_is_registered() -> None:
    known = of(charge).definition()
    assert {key: known[key] for key in ("name", "retry", "timeout", "transactional")} == {
        "name": "charge",
        "retry": {"max_attempts": 5, "initial_interval": "0.5 seconds"},
        "timeout": "30 seconds",
        "transactional": False,
    }
    assert of(charge).is_async
    assert of(charge).timeout_seconds == 30


def test_arguments_come_from_the_state_by_name_if_there_is_no_input() -> None:
    ctx = context()
    state = {"order_id": "1", "amount": 3, "items": [{"sku": "x"}], "address": {"city": "Ulm"}, "other": 1}
    assert of(charge).bind(None, state, ctx) == {
        "order_id": "1",
        "amount": 3.0,
        "items": [Item("x")],
        "address": Address(city="Ulm"),
        "ctx": ctx,
    }


def test_arguments_come_from_the_input_alone_if_there_is_one() -> None:
    assert of(charge).bind({"order_id": "2", "amount": 4}, {"order_id": "1", "currency": "USD"}, None) == {
        "order_id": "2",
        "amount": 4.0,
        "ctx": None,
    }


@pytest.mark.parametrize(
    ("given", "state", "sentence", "hint"),
    [
        (
            None,
            {"order_id": "1", "amount": "much"},
            'amount of the tool charge must be a number > 0, but it is a string ("much")',
            None,
        ),
        (None, {"order_id": "1", "amount": -1}, "must be a number > 0, but it is an integer (-1)", None),
        (
            None,
            {"order_id": None, "amount": 1},
            "order_id of the tool charge must be a string, but it is null",
            None,
        ),
        (
            None,
            {"order_id": "1"},
            "needs the argument amount (a number > 0), but there is only order_id",
            None,
        ),
        (None, {}, "needs the argument order_id (a string), but there is none", None),
        ({"order_id": "1", "ammount": 3}, {}, "has no parameter 'ammount'", "Did you mean amount?"),
        (
            {"order_id": "1", "amount": 1, "currency": "GBP"},
            {},
            "currency of the tool charge must be one of 'EUR', 'USD', but it is a string (\"GBP\")",
            None,
        ),
        (
            {"order_id": "1", "amount": 1, "items": [{"sku": 7}]},
            {},
            "items[0].sku of the tool charge is wrong (an integer (7))",
            None,
        ),
        ({"order_id": "1", "amount": 1, "items": {}}, {}, "items of the tool charge must be a list", None),
        ([1], {}, "must be an object with arguments of the tool charge, but it is a list", None),
    ],
)
def test_wrong_arguments_are_told_in_a_sentence(
    given: Any, state: dict[str, Any], sentence: str, hint: str | None
) -> None:
    with pytest.raises(InvalidArguments) as caught:
        of(charge).bind(given, state, None)
    assert sentence in str(caught.value)
    assert caught.value.hint == hint
    assert isinstance(caught.value, PgorchError)


def test_a_parameter_named_state_gets_the_whole_state() -> None:
    @tool
    def plain(state) -> None:  # type: ignore[no-untyped-def]
        """Without a hint."""

    @tool
    def hinted(state: dict[str, Any], amount: int) -> None: ...

    state = {"amount": 1, "b": [2]}
    assert of(plain).bind(None, state) == {"state": state}
    assert of(plain).parameters["properties"] == {}
    assert of(hinted).bind({"amount": 5}, state) == {"state": state, "amount": 5}
    assert of(hinted).wants_state == "state"


def test_a_parameter_named_state_of_another_type_is_an_ordinary_one() -> None:
    @tool
    def ship(state: str) -> None: ...

    assert of(ship).wants_state is None
    assert of(ship).bind(None, {"state": "Ohio", "b": 1}) == {"state": "Ohio"}


def test_dates_and_other_types_are_made_from_json() -> None:
    @tool
    def plan(day: date, run: uuid.UUID, size: int | None = None) -> None: ...

    assert of(plan).bind({"day": "2026-11-23", "run": str(uuid.UUID(int=1))}, {}) == {
        "day": date(2026, 11, 23),
        "run": uuid.UUID(int=1),
    }
    with pytest.raises(
        InvalidArguments, match=r"size of the tool plan must be an integer or null, but it is a string"
    ):
        of(plan).bind({"day": "2026-11-23", "run": str(uuid.UUID(int=1)), "size": "big"}, {})


def test_the_type_that_a_tool_returns_need_not_be_importable() -> None:
    @tool
    def table(rows: "int") -> "Frame":  # type: ignore[name-defined]  # noqa: F821
        return rows

    assert of(table).bind(None, {"rows": 2}) == {"rows": 2}


def test_a_tool_may_be_wrapped_by_another_decorator() -> None:
    @tool
    @functools.wraps(charge)
    async def logged(*args: Any, **kwargs: Any) -> Any:
        return await charge(*args, **kwargs)

    assert of(logged).parameters == of(charge).parameters
    assert of(logged).is_async


def test_a_parameter_for_the_rest_takes_what_no_other_takes() -> None:
    @tool
    def log(level: str, ctx: Context, **rest: Any) -> None: ...

    assert of(log).bind(None, {"level": "info", "a": 1}, None) == {"level": "info", "a": 1, "ctx": None}
    assert of(log).parameters["additionalProperties"] is True


class Greeter:
    """Greets."""

    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    async def __call__(self, name: str) -> str:
        return f"{self.greeting} {name}"


def test_objects_and_partials_can_be_tools() -> None:
    made = Tool.of(Greeter("Hello"))
    assert (made.name, made.description, made.is_async) == ("Greeter", "Greets.", True)
    assert made.parameters["required"] == ["name"]

    fixed = Tool.of(functools.partial(charge, amount=3.0), name="charge_three")
    assert fixed.is_async
    assert fixed.parameters["required"] == ["order_id"]
    assert fixed.description.startswith("Charge the order.")


def test_a_decorated_function_is_still_itself() -> None:
    @tool(name="adder")
    def add(a: int, b: int = 2) -> int:
        return a + b

    assert add(1) == 3
    assert of(add).name == "adder"


def generator(a: int) -> Any:
    yield a


def by_position(a: int, /) -> None: ...


def many(*values: int) -> None: ...


def strange(thing: Greeter) -> None: ...


def missing_type(thing: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "options", "sentence"),
    [
        (generator, {}, "is a generator"),
        (by_position, {}, "parameter a, which can only be given by position"),
        (many, {}, "parameter values, which can only be given by position"),
        (strange, {}, "JSON cannot describe: thing"),
        (missing_type, {}, "names something that is not there"),
        (lambda: None, {}, "'<lambda>' cannot be the name of a tool"),
        (charge, {"name": "pay now"}, "'pay now' cannot be the name of a tool"),
        (
            charge,
            {"timeout": "soon"},
            "The timeout of the tool charge must be a time longer than zero, but 'soon'",
        ),
        (charge, {"timeout": 0}, "must be a time longer than zero"),
        (charge, {"retry": {"max_atempts": 3}}, "has no setting 'max_atempts'"),
        (
            charge,
            {"retry": {"max_attempts": 0}},
            "max_attempts of the tool charge must be a whole number of at least 1",
        ),
        (charge, {"retry": {"max_attempts": 2.5}}, "must be a whole number"),
        (charge, {"retry": {"backoff_factor": True}}, "must be a number of at least 1"),
        (charge, {"retry": {"max_interval": "-1s"}}, "must be a time longer than zero"),
        (charge, {"retry": {"retry_on": "ValueError"}}, "must be a list of names of errors"),
        ("charge", {}, "must be callable"),
    ],
)
def test_what_cannot_be_a_tool_is_refused_when_it_is_declared(
    function: Any, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Tool.of(function, **options)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("interval", "seconds"),
    [
        ("90s", 90),
        ("48 hours", 172800),
        ("PT24H", 86400),
        ("P1DT1M", 86460),
        ("1 hour 30 min", 5400),
        ("01:30:00", 5400),
        ("00:00:01.5", 1.5),
        ("250ms", 0.25),
        (2, 2),
        (0.5, 0.5),
        (timedelta(minutes=2), 120),
        ("1.5 days", 129600),
        ("10", 10),
        ("2 weeks", 1209600),
    ],
)
def test_timeouts_are_read_as_postgres_reads_intervals(
    interval: str | float | timedelta, seconds: float
) -> None:
    assert Tool.of(by_name, timeout=interval).timeout_seconds == seconds


def by_name(a: int) -> None: ...


def test_the_names_of_errors_can_be_given_as_classes() -> None:
    made = Tool.of(
        by_name, retry={"non_retryable": [KeyError, "CardDeclined"], "jitter": False, "max_interval": "1 min"}
    )
    assert made.retry == {
        "non_retryable": ["KeyError", "CardDeclined"],
        "jitter": False,
        "max_interval": "1 min",
    }


def test_a_context_names_the_visit_and_not_the_attempt() -> None:
    ctx = context()
    assert ctx.idempotency_key == "00000000-0000-0000-0000-000000000007/pay/5"
    assert ctx.remaining() is None
    assert not ctx.cancelled.is_set()
    extra = ctx.logger.extra or {}
    assert (extra["node"], extra["attempt"]) == ("pay", 2)


def test_a_context_without_connection_says_how_to_get_one() -> None:
    with pytest.raises(ConfigError) as caught:
        context().connection  # noqa: B018
    assert "transactional=True" in (caught.value.hint or "")


def test_a_context_knows_how_long_the_step_may_still_take() -> None:
    ctx = context()
    ctx.deadline = datetime.now(UTC) + timedelta(seconds=60)
    assert 0 < (ctx.remaining() or 0) <= 60
    ctx.deadline = datetime.now(UTC) - timedelta(seconds=1)
    assert ctx.remaining() == 0
