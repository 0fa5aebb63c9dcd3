"""What a worker makes of whatever a tool does."""

import asyncio
import contextvars
import math
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from pgorch.tool import Context
from pgorch.worker.identity import Timing
from tests.support.engine import chain
from tests.worker.conftest import Place

KINDS = pytest.mark.parametrize("kind", ["async", "sync"])


def declare(place: Place, kind: str, body: Any, **options: Any) -> None:
    """The tool `a`, whose body is a plain function of a context."""
    if kind == "sync":

        @place.tool(name="a", **options)
        def plain(ctx: Context) -> Any:
            return body(ctx)

        return

    @place.tool(name="a", **options)
    async def coroutine(ctx: Context) -> Any:
        return body(ctx)


def raises(problem: BaseException) -> Any:
    def body(ctx: Context) -> Any:
        raise problem

    return body


async def fails(place: Place) -> dict[str, Any]:
    """Runs the tool `a`; the error that its run failed with."""
    await place.work()
    run = await place.ended(place.start(place.graph("a")))
    assert run["status"] == "failed", run
    error = run["history"][0]["error"]
    assert isinstance(error, dict)
    return error


@KINDS
async def test_the_context_names_the_step(place: Place, kind: str) -> None:
    seen: list[Context] = []
    declare(place, kind, seen.append, timeout="60s")
    await place.work()
    run_id = place.start(place.graph("a"))
    await place.ended(run_id)
    (ctx,) = seen
    assert (ctx.run_id, ctx.node, ctx.attempt) == (run_id, "a", 1)
    assert ctx.idempotency_key.startswith(f"{run_id}/a/")
    assert 0 < ctx.fencing_token < 2**63
    assert ctx.deadline is not None
    assert 0 < (ctx.deadline - datetime.now(UTC)).total_seconds() <= 60


async def test_fencing_tokens_grow_from_claim_to_claim(place: Place) -> None:
    tokens: list[int] = []
    declare(place, "async", lambda ctx: tokens.append(ctx.fencing_token))
    graph = place.graph("a")
    await place.work()
    for _ in range(5):
        await place.ended(place.start(graph))
    assert tokens == sorted(set(tokens))


async def test_arguments_come_from_the_template_else_from_the_state(place: Place) -> None:
    @place.tool
    async def a(x: int, y: str = "default") -> dict[str, Any]:
        return {"saw": [x, y]}

    @place.tool
    def b(state: dict[str, Any], extra: int) -> dict[str, Any]:
        return {"state": state, "extra": extra}

    graph = place.graph(
        ["a", {"id": "b", "function": "b", "input": {"extra": "${$.x}"}, "into": "b"}], ["a>b"]
    )
    await place.work()
    run = await place.ended(place.start(graph, {"x": 7}))
    assert run["state"]["saw"] == [7, "default"]
    assert run["state"]["b"] == {"state": {"x": 7, "saw": [7, "default"]}, "extra": 7}


@KINDS
async def test_wrong_arguments_fail_the_step_with_a_sentence(place: Place, kind: str) -> None:
    if kind == "async":

        @place.tool
        async def a(x: int) -> None: ...
    else:

        @place.tool(name="a")
        def b(x: int) -> None: ...

    error = await fails(place)
    assert error["type"] == "InvalidArguments"
    assert error["retryable"] is False
    assert "x" in error["message"]


@KINDS
async def test_an_exception_is_told_with_type_message_and_place(place: Place, kind: str) -> None:
    declare(place, kind, raises(LookupError("no such thing \0 \ud800 " + "x" * 5000)))
    error = await fails(place)
    assert error["type"] == "LookupError"
    assert error["message"].startswith("no such thing \\u0000 \\ud800 xxx")
    assert len(error["message"]) <= 4020
    assert "in body" in error["traceback"]
    assert "pgorch/worker" not in error["traceback"]


@KINDS
async def test_a_tool_that_exits_fails_its_step_and_not_the_worker(place: Place, kind: str) -> None:
    declare(place, kind, lambda ctx: sys.exit(3))

    @place.tool
    def b() -> None: ...

    other = place.graph("b")
    error = await fails(place)
    assert (error["type"], error["retryable"]) == ("ToolExited", False)
    assert (await place.ended(place.start(other)))["status"] == "completed"


@KINDS
async def test_whatever_is_raised_is_an_error_of_the_step(place: Place, kind: str) -> None:
    problems = [
        KeyboardInterrupt(),
        asyncio.CancelledError(),
        GeneratorExit(),
        StopIteration(3),
        RecursionError(),
        MemoryError(),
    ]
    left = list(reversed(problems))

    def body(ctx: Context) -> None:
        raise left.pop()

    declare(place, kind, body)
    graph = place.graph("a")
    await place.work()
    for problem in problems:
        run = await place.ended(place.start(graph))
        assert run["status"] == "failed", problem
        assert run["history"][0]["error"]["message"], problem


@KINDS
async def test_an_exception_can_say_that_it_is_final_or_when_to_try_again(place: Place, kind: str) -> None:
    class Refused(Exception):
        retryable = False

    class Busy(Exception):
        retry_after = 0.01

    def body(ctx: Context) -> None:
        raise Busy("later") if ctx.attempt == 1 else Refused("never")

    declare(place, kind, body, retry={"max_attempts": 5, "initial_interval": "1h"})
    error = await fails_finally(place)
    assert (error["type"], error["retryable"]) == ("Refused", False)


async def fails_finally(place: Place) -> dict[str, Any]:
    await place.work()
    run_id = place.start(place.graph("a"))
    assert (await place.ended(run_id))["status"] == "failed"
    assert place.kinds(run_id)[:2] == ["attempt_failed", "step_failed"]
    return place.error(run_id)


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100):
        value = [value]
    return value


@KINDS
async def test_a_result_that_is_no_json_fails_the_step(place: Place, kind: str) -> None:
    values: list[Any] = [
        math.nan, {"x": math.inf}, "a\0b", "\ud800", {1: 2}, {"x": {1, 2}}, b"bytes", 2**60 + 1, object(),
        UUID, "x" * (1024 * 1024 + 1), deep(),
    ]  # fmt: skip
    left = list(reversed(values))
    declare(place, kind, lambda ctx: left.pop())
    graph = place.graph("a")
    await place.work()
    for value in values:
        run = await place.ended(place.start(graph))
        error = run["history"][0]["error"]
        assert (error["type"], error["retryable"]) == ("InvalidResult", False), repr(value)[:50]
        assert len(error["message"]) > 20


async def test_a_forgotten_await_is_told(place: Place) -> None:
    async def inner() -> int:
        return 1

    made = []

    def body(ctx: Context) -> Any:
        made.append(inner())
        return made[0]

    declare(place, "sync", body)
    error = await fails(place)
    made[0].close()
    assert error["type"] == "InvalidResult"
    assert "await" in error["hint"]


async def test_any_json_is_a_result(place: Place) -> None:
    values = [None, 1, 1.5, "x", [1, 2], True, {"a": {"b": None}}, "äöü €😀", '"\\{},', "\t\n", "", {}, []]

    @place.tool
    async def a(i: int) -> Any:
        return values[i]

    graph = place.graph([{"id": "a", "function": "a", "into": "out"}])
    await place.work()
    runs = place.start_many(graph, [{"i": i} for i in range(len(values))])
    await place.all_ended()
    assert [place.run(run)["state"]["out"] for run in runs] == values


async def test_a_coroutine_that_takes_too_long_is_cancelled(place: Place) -> None:
    cleaned_up = asyncio.Event()

    @place.tool(timeout="0.05s")
    async def a() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned_up.set()

    error = await fails(place)
    assert (error["type"], error["retryable"]) == ("Timeout", True)
    assert cleaned_up.is_set()


async def test_a_coroutine_that_will_not_be_cancelled_is_left_behind(place: Place) -> None:
    release = asyncio.Event()

    @place.tool(timeout="0.05s")
    async def a() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    await place.work(timing=Timing(beat=0.1, stubborn=0.1, stall_exit=None))
    run = await place.ended(place.start(place.graph("a")))
    assert run["error"]["type"] == "Timeout"
    release.set()


async def test_a_thread_that_takes_too_long_keeps_its_slot_until_it_returns(place: Place) -> None:
    release = threading.Event()
    cancelled: list[bool] = []

    @place.tool(timeout="0.05s")
    def a(ctx: Context) -> dict[str, int]:
        cancelled.append(ctx.cancelled.wait(20))
        release.wait(20)
        return {"late": 1}

    @place.tool
    def b() -> None: ...

    other = place.graph("b")
    await place.work(slots=1)
    run = await place.ended(place.start(place.graph("a")))
    assert (run["error"]["type"], run["state"]) == ("Timeout", {})
    waiting = place.start(other)
    await asyncio.sleep(0.3)  # for nothing: the one slot is taken
    assert place.run(waiting)["status"] == "running"
    release.set()
    assert (await place.ended(waiting))["status"] == "completed"
    assert cancelled == [True]


async def test_the_timeout_of_the_node_comes_before_the_tool_s(place: Place) -> None:
    @place.tool(timeout="1h")
    async def a() -> None:
        await asyncio.sleep(60)

    await place.work()
    graph = place.graph([{"id": "a", "function": "a", "timeout": "0.05s"}])
    assert (await place.ended(place.start(graph)))["error"]["type"] == "Timeout"


async def test_a_timeout_is_tried_again(place: Place) -> None:
    @place.tool(timeout="0.05s", retry={"max_attempts": 2, "initial_interval": "0.01s"})
    async def a(ctx: Context) -> dict[str, int]:
        if ctx.attempt == 1:
            await asyncio.sleep(60)
        return {"attempt": ctx.attempt}

    await place.work()
    assert (await place.ended(place.start(place.graph("a"))))["state"] == {"attempt": 2}


async def test_steps_do_not_see_each_other_s_context_variables(place: Place) -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    @place.tool
    async def a() -> dict[str, str]:
        seen = variable.get()
        variable.set("a")
        return {"a": seen}

    @place.tool
    def b() -> dict[str, str]:
        seen = variable.get()
        variable.set("b")
        return {"b": seen}

    graph = place.create(chain("a b"))
    await place.work(slots=1)
    for _ in range(3):
        run = await place.ended(place.start(graph))
        assert run["state"] == {"a": "unset", "b": "unset"}


async def test_asyncio_timeouts_inside_a_tool_are_its_own(place: Place) -> None:
    @place.tool
    async def a() -> dict[str, bool]:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            return {"inner": True}
        return {"inner": False}

    await place.work()
    assert (await place.ended(place.start(place.graph("a"))))["state"] == {"inner": True}


async def test_a_blocked_event_loop_is_noticed(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    @place.tool
    async def a() -> None:
        time.sleep(1.5)  # noqa: ASYNC251

    await place.work(timing=Timing(beat=0.1, stall_warning=0.5, stall_exit=None))
    run_id = place.start(place.graph("a"))
    await place.ended(run_id)
    said = next(record.getMessage() for record in caplog.records if "blocked" in record.getMessage())
    assert "time.sleep(1.5)" in said
