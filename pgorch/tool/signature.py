"""From a function's signature to the JSON Schema of its arguments, and from JSON to its arguments."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NotRequired, Union, get_args, get_origin

import orjson
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import TypedDict

from pgorch.errors import ConfigError, PgorchError
from pgorch.tool.context import Context
from pgorch.tool.docstrings import described, innermost
from pgorch.tool.options import near
from pgorch.tool.sentences import explain, kind, listed


class InvalidArguments(PgorchError):
    """The arguments that a step has for its tool do not fit the tool's parameters."""


class _Schema(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class Signature:
    """The parameters of a tool.

    `wants_state` and `wants_context` name the parameters that get those; `names` are the others, `schema` is
    their JSON Schema, `takes_rest` says that there is a `**` parameter; `description` is from the docstring.
    """

    def __init__(self, function: Callable[..., Any], tool: str) -> None:
        self.tool = tool
        self.wants_state: str | None = None
        self.wants_context: str | None = None
        self.takes_rest = False
        self.description, documented = described(function)
        hints = _hints(function, tool)
        fields: dict[str, Any] = {}
        defaults: dict[str, Any] = {}
        for name, parameter in inspect.signature(function).parameters.items():
            hint = hints.get(name, Any)
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                self.takes_rest = True
            elif parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY):
                raise ConfigError(
                    f"The tool {tool} has the parameter {name}, which can only be given by position.",
                    hint="Arguments come from JSON objects: make it an ordinary parameter.",
                )
            elif _is_context(hint):
                self.wants_context = name
            elif name == "state" and _is_mapping(hint):
                self.wants_state = name
            else:
                if name in documented:
                    hint = Annotated[hint, FieldInfo(description=documented[name])]
                if parameter.default is not inspect.Parameter.empty:
                    defaults[name] = parameter.default
                    hint = NotRequired[hint]
                fields[name] = hint
        self.names = frozenset(fields)
        self._adapter = _adapter(tool, fields)
        self.schema = _schema(self._adapter, defaults, self.takes_rest)

    def bind(self, given: Any, state: Mapping[str, Any], context: Context | None) -> dict[str, Any]:
        """The keyword arguments: from `given` if the node has an input, else from the state by name."""
        if given is not None and not isinstance(given, dict):
            raise InvalidArguments(
                f"The node's input must be an object with arguments of the tool {self.tool}, "
                f"but it is {kind(given)}."
            )
        source = state if given is None else given
        rest: set[str] = set()
        if self.takes_rest or given is not None:
            rest = source.keys() - self.names - {self.wants_state or "", self.wants_context or ""}
            if rest and not self.takes_rest:
                unknown = min(rest)
                raise InvalidArguments(
                    f"The tool {self.tool} has no parameter {unknown!r}; it has {listed(self.names)}.",
                    hint=near(unknown, self.names),
                )
        arguments = self._validated(source) if self.names else {}
        if rest:
            arguments.update((name, source[name]) for name in rest)
        if self.wants_state is not None:
            arguments[self.wants_state] = dict(state)
        if self.wants_context is not None:
            arguments[self.wants_context] = context
        return arguments

    def _validated(self, source: Mapping[str, Any]) -> dict[str, Any]:
        try:
            arguments: dict[str, Any] = self._adapter.validate_python(source)
        except ValidationError as error:
            raise InvalidArguments(explain(error, self.tool, self.schema["properties"], source)) from None
        return arguments


def _adapter(tool: str, fields: dict[str, Any]) -> TypeAdapter[Any]:
    make: Any = TypedDict  # called by another name, because the fields are known only here
    shape = make(tool, fields)
    shape.__pydantic_config__ = ConfigDict(arbitrary_types_allowed=False)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(shape)
        adapter.json_schema()
    except (PydanticUserError, TypeError) as error:
        unfit = next((name for name, hint in fields.items() if not _describable(hint)), None)
        raise ConfigError(
            f"The tool {tool} has a parameter whose type JSON cannot describe: {unfit}.",
            hint="Use str, int, float, bool, list, dict, a dataclass or a pydantic model.",
        ) from error
    return adapter


def _describable(hint: Any) -> bool:
    try:
        TypeAdapter(get_args(hint)[0] if get_origin(hint) is NotRequired else hint).json_schema()
    except (PydanticUserError, TypeError):
        return False
    return True


def _schema(adapter: TypeAdapter[Any], defaults: dict[str, Any], takes_rest: bool) -> dict[str, Any]:
    schema = adapter.json_schema(schema_generator=_Schema)
    schema.pop("title", None)
    schema.setdefault("properties", {})
    schema["additionalProperties"] = takes_rest
    for name, default in defaults.items():
        try:
            schema["properties"][name]["default"] = orjson.loads(orjson.dumps(default))
        except TypeError:
            continue  # a default that is no JSON: the parameter is optional all the same
    return schema


def _hints(function: Callable[..., Any], tool: str) -> dict[str, Any]:
    inner = innermost(function)
    if inspect.isclass(inner):
        inner = inner.__init__
    elif not inspect.isroutine(inner):
        inner = type(inner).__call__
    # What a tool returns is checked as JSON, so the type that it promises need not even be importable.
    hints = {name: hint for name, hint in inspect.get_annotations(inner).items() if name != "return"}
    names = getattr(inspect.unwrap(inner), "__globals__", {})
    try:
        return typing.get_type_hints(types.SimpleNamespace(__annotations__=hints), names, include_extras=True)
    except NameError as error:
        raise ConfigError(
            f"A type hint of the tool {tool} names something that is not there: {error}.",
            hint="Import it at the module's top, not under TYPE_CHECKING.",
        ) from error


def _is_context(hint: Any) -> bool:
    if get_origin(hint) in (Union, types.UnionType, Annotated):
        return any(_is_context(part) for part in get_args(hint))
    return hint is Context


def _is_mapping(hint: Any) -> bool:
    origin = get_origin(hint) or hint
    return hint is Any or (isinstance(origin, type) and issubclass(origin, Mapping))
