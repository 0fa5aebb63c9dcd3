"""The tools that one worker serves, and how they are found in a user's modules."""

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any, overload

from pgorch.errors import ConfigError
from pgorch.tool.definition import MARK, F, Tool
from pgorch.tool.options import Interval, near


class Registry(Mapping[str, Tool]):
    """Tools by name."""

    def __init__(self, tools: Iterable[Tool | Callable[..., Any]] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        for each in tools:
            self.add(each)

    def add(self, tool: Tool | Callable[..., Any]) -> Tool:
        """Add a tool, or a function as one; ConfigError if another tool has the name."""
        made = tool if isinstance(tool, Tool) else getattr(tool, MARK, None) or Tool.of(tool)
        other = self._tools.setdefault(made.name, made)
        if other.function != made.function:
            raise ConfigError(
                f"Two tools have the name {made.name}: {_where(other)} and {_where(made)}.",
                hint="Give one of them another name: @tool(name=...).",
            )
        return other

    @overload
    def tool(self, function: F, /) -> F: ...

    @overload
    def tool(
        self,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        retry: Mapping[str, Any] | None = None,
        timeout: Interval | None = None,
        transactional: bool = False,
    ) -> Callable[[F], F]: ...

    def tool(self, function: Any = None, /, **options: Any) -> Any:
        """The decorator `tool`, for this registry alone."""

        def declare(declared: Any) -> Any:
            self.add(Tool.of(declared, **options))
            return declared

        return declare if function is None else declare(function)

    def definitions(self) -> list[dict[str, Any]]:
        """What `register_tools` takes, in the order of names."""
        return [self._tools[name].definition() for name in sorted(self._tools)]

    def __getitem__(self, name: str) -> Tool:
        return self._tools[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)


def load_app(*specs: str) -> Registry:
    """The tools of `module` or `module:attribute` (a Registry, a tool, or a list of them), or ConfigError.

    A module gives the tools that it, and the modules below it that it imported, have in their namespaces.
    """
    found = Registry()
    for spec in specs:
        for each in _tools_of(spec):
            found.add(each)
    return found


def _tools_of(spec: str) -> list[Tool]:
    name, _, attribute = spec.partition(":")
    module = _imported(name.strip(), spec)
    target: Any = module
    if attribute:
        if not hasattr(module, attribute):
            raise ConfigError(
                f"The module {name} has no {attribute!r}.",
                hint=near(attribute, vars(module)) or f"See {_file(module)}.",
            )
        target = getattr(module, attribute)
    tools = _collected(target, spec)
    if not tools:
        raise ConfigError(
            f"{spec} has no tools.",
            hint="Decorate a function with @pgorch.tool there, or name the module that has them.",
        )
    return tools


def _imported(name: str, spec: str) -> ModuleType:
    if not name or name.endswith(".py") or "/" in name or "\\" in name:
        suggestion = name.removesuffix(".py").replace("\\", "/").strip("./").replace("/", ".")
        raise ConfigError(
            f"{spec!r} does not name a Python module.",
            hint=f"Write it as Python imports it: {suggestion or 'module:attribute'}.",
        )
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"There is no module {error.name}.",
                hint=f"It is looked for in {here} and in the environment.",
            ) from error
        raise ConfigError(
            f"The module {name} could not be imported: it needs {error.name}, which is not installed.",
            hint=f"Install {error.name} in {sys.prefix}.",
        ) from error
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"The module {name} could not be imported: {type(error).__name__}: {error}",
            hint=f"Run python -c 'import {name}' to see where.",
        ) from error


def _collected(target: Any, spec: str) -> list[Tool]:
    if isinstance(target, Registry):
        return list(target.values())
    if isinstance(target, Tool):
        return [target]
    if isinstance(target, ModuleType):
        return list(_tools_below(target))
    if hasattr(target, MARK):
        return [getattr(target, MARK)]
    if isinstance(target, list | tuple | set | frozenset):
        return list(Registry(target).values())
    raise ConfigError(
        f"{spec} is of type {type(target).__name__}, not tools.",
        hint="Name a Registry, a tool, or a list of tools.",
    )


def _tools_below(module: ModuleType) -> Iterator[Tool]:
    for name, each in list(sys.modules.items()):
        if each is module or name.startswith(f"{module.__name__}."):
            for value in list(vars(each).values()):
                made = inspect.getattr_static(value, MARK, None)
                if isinstance(made, Tool):
                    yield made


def _where(tool: Tool) -> str:
    code = getattr(tool.function, "__code__", None)
    place = f"{code.co_filename}:{code.co_firstlineno}" if code else repr(tool.function)
    return f"{getattr(tool.function, '__qualname__', tool.name)} ({place})"


def _file(module: ModuleType) -> str:
    return str(getattr(module, "__file__", None) or module.__name__)
