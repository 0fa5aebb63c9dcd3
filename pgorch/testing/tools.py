"""The tools of a test: fakes, and beside them, if wanted, the real ones."""

import asyncio
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from pgorch.database.worker_queries import Advanced
from pgorch.errors import ConfigError
from pgorch.tool import Registry, Tool
from pgorch.tool.definition import MARK
from pgorch.worker import outcomes
from pgorch.worker.outcomes import Outcome
from pgorch.worker.running import BY_NAME, Running
from pgorch.worker.sql_steps import SQL_STEP
from pgorch.worker.state import State


@dataclass(frozen=True)
class Call:
    """A call of a tool: `args` is what it was given, `attempt` counts from 1."""

    tool: str
    node: str
    run_id: UUID
    attempt: int
    args: Any


class Tools:
    """Performs steps. A fake is a function of the arguments, a value, or an exception to be raised."""

    def __init__(self, real: Registry) -> None:
        self.real = Registry([*real.values(), SQL_STEP])
        self.fakes: dict[str, Any] = {}
        self.calls: list[Call] = []

    def add(self, tools: Mapping[str, Any] | Registry | Iterable[Any]) -> None:
        """Fakes by name; or real tools, as a Registry or a list of functions."""
        if isinstance(tools, Registry) or not isinstance(tools, Mapping):
            real: Iterable[Any] = tools.values() if isinstance(tools, Registry) else tools
            for each in real:
                self.real.add(each)
            return
        for name, fake in tools.items():
            made = fake if isinstance(fake, Tool) else getattr(fake, MARK, None)
            if made is not None and made.name == name:
                self.real.add(made)
                self.fakes.pop(name, None)
            else:
                self.fakes[name] = fake

    def definitions(self, names: Iterable[str], known: set[str]) -> list[dict[str, Any]]:
        """What is to be registered for these names; of those that are not real and not known, no more than
        the name."""
        real = {d["name"]: d for d in self.real.definitions() if d["name"] != SQL_STEP.name}
        bare = {"description": "", "parameters": {"type": "object"}}
        return [
            real.get(name, {"name": name, **bare})
            for name in sorted(set(names) - {SQL_STEP.name})
            if name in real or name not in known
        ]

    def perform(self, bucket: int, worker_id: UUID, row: Advanced, connection: Any) -> Outcome:
        """Calls the tool of a step. Raises ConfigError if the test itself is at fault."""
        try:
            return outcomes.success(self._called(bucket, worker_id, row, connection))
        except ConfigError:
            raise
        except Exception as problem:
            return outcomes.raised(problem)

    def _called(self, bucket: int, worker_id: UUID, row: Advanced, connection: Any) -> Any:
        real = self.real.get(row.tool)
        running = None if real is None else Running(bucket, worker_id, row, State(row.state), real)
        if running is None or real is None:
            args = _plain_arguments(row)
        else:
            if running.context is not None and real.transactional:
                if real.is_async:
                    raise ConfigError(
                        f"The async transactional tool {row.tool} cannot be called in a test's transaction.",
                        hint="Give a fake for it, or test it with a worker.",
                    )
                running.context.open_connection = connection
            args = running.arguments()
        # What an SQL step is given are the parameters of its statement.
        given = _plain_arguments(row) if real is SQL_STEP else args
        shown = (
            given
            if real is SQL_STEP
            else {k: v for k, v in args.items() if real is None or k != real.wants_context}
        )
        self.calls.append(Call(row.tool, row.node, UUID(row.run_id), row.attempt, shown))
        if row.tool in self.fakes:
            return _fake(self.fakes[row.tool], shown)
        # A tool that the test says nothing of does nothing.
        return {} if real is None else _awaited(real.function(**args))


def _fake(fake: Any, args: Any) -> Any:
    given = _awaited(_call(fake, args)) if callable(fake) and not isinstance(fake, type) else fake
    if isinstance(given, BaseException):
        raise given
    return given


def _call(fake: Any, args: Any) -> Any:
    return fake(args) if inspect.signature(fake).parameters else fake()


def _awaited(value: Any) -> Any:
    async def finish() -> Any:
        return await value

    return asyncio.run(finish()) if inspect.isawaitable(value) else value


def _plain_arguments(row: Advanced) -> Any:
    """The rendered input, or the state; what goes by name lies over the state."""
    state = orjson.loads(row.state or "{}")
    given = None if row.input is None else orjson.loads(row.input)
    if given is None:
        return state
    return {**state, **given} if row.role in BY_NAME else given
