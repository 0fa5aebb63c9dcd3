"""What a tool is, and the decorator that makes one."""

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, overload

from pgorch.errors import ConfigError
from pgorch.tool.context import Context
from pgorch.tool.docstrings import innermost
from pgorch.tool.options import Interval, checked_retry, interval_text, seconds_of
from pgorch.tool.signature import Signature

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}\Z")
MARK: Final = "__pgorch_tool__"

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, eq=False)
class Tool:
    """A Python callable that graphs can name as a `function`.

    `parameters` is the JSON Schema of its arguments, `retry` the language's retry setting, `timeout_seconds`
    how long one attempt may take. `wants_state` and `wants_context` name the parameters that get those.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    function: Callable[..., Any]
    is_async: bool
    transactional: bool
    retry: dict[str, Any] | None
    timeout_seconds: float | None
    signature: Signature

    @classmethod
    def of(
        cls,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        retry: Mapping[str, Any] | None = None,
        timeout: Interval | None = None,
        transactional: bool = False,
    ) -> "Tool":
        """The tool that calls `function`; ConfigError says why it cannot be one."""
        if not callable(function):
            raise ConfigError(f"A tool must be callable, but {function!r} is not.")
        name = name or _name_of(function)
        if not _NAME.match(name):
            raise ConfigError(
                f"{name!r} cannot be the name of a tool.",
                hint="Give it one by name=: a letter, then letters, digits, _, . and -, at most 128 in all.",
            )
        called = _called(function)
        if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
            raise ConfigError(f"The tool {name} is a generator.", hint="Return a list instead of yielding.")
        signature = Signature(function, name)
        return cls(
            name=name,
            description=signature.description if description is None else description,
            parameters=signature.schema,
            function=function,
            is_async=inspect.iscoroutinefunction(called),
            transactional=transactional,
            retry=checked_retry(retry, f"the tool {name}"),
            timeout_seconds=None
            if timeout is None
            else seconds_of(timeout, f"The timeout of the tool {name}"),
            signature=signature,
        )

    @property
    def wants_state(self) -> str | None:
        return self.signature.wants_state

    def reads_state(self, given: Collection[str] = ()) -> bool:
        """Is there anything of a state that a call could be given, beside arguments of these names?"""
        signature = self.signature
        lacks = signature.takes_rest or not signature.names <= set(given)
        return lacks or signature.wants_state is not None

    @property
    def wants_context(self) -> str | None:
        return self.signature.wants_context

    def bind(
        self, input: dict[str, Any] | None, state: Mapping[str, Any], context: Context | None = None
    ) -> dict[str, Any]:
        """The keyword arguments of a call: from `input` if there is one, else from `state` by name.

        InvalidArguments says in a sentence what does not fit.
        """
        return self.signature.bind(input, state, context)

    def definition(self) -> dict[str, Any]:
        """What `register_tools` takes and `GET /tools` shows."""
        known: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
            "transactional": self.transactional,
        }
        if self.retry is not None:
            known["retry"] = self.retry
        if self.timeout_seconds is not None:
            known["timeout"] = interval_text(self.timeout_seconds)
        return known


@overload
def tool(function: F, /) -> F: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    retry: Mapping[str, Any] | None = None,
    timeout: Interval | None = None,
    transactional: bool = False,
) -> Callable[[F], F]: ...


def tool(function: Any = None, /, **options: Any) -> Any:
    """Make a function a tool that graphs can name: `@tool`, or `@tool(timeout="30s", retry={...})`.

    The function itself is returned unchanged. Its name, docstring and type hints become the tool's name,
    description and JSON Schema. `transactional=True` gives it `ctx.connection`, whose writes commit with the
    checkpoint.
    """

    def declare(declared: Any) -> Any:
        made = Tool.of(declared, **options)
        try:
            setattr(declared, MARK, made)
        except AttributeError:
            raise ConfigError(
                f"{declared!r} cannot be marked as a tool.",
                hint="Wrap it in a function, or in functools.partial.",
            ) from None
        return declared

    return declare if function is None else declare(function)


def _called(function: Callable[..., Any]) -> Any:
    inner = innermost(function)
    return inner if inspect.isroutine(inner) or inspect.isclass(inner) else type(inner).__call__


def _name_of(function: Callable[..., Any]) -> str:
    inner = innermost(function)
    return str(getattr(inner, "__name__", type(inner).__name__))
