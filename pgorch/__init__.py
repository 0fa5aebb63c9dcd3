"""pgorch: a durable agent orchestrator that lives in Postgres.

    from pgorch import Client, Context, Graph, tool

Names are imported when they are first used, so that `import pgorch` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgorch.client import AsyncClient, Client
    from pgorch.errors import (
        ConfigError,
        DatabaseUnavailable,
        IdempotencyConflict,
        InvalidGraph,
        InvalidValue,
        LeaseLost,
        NotAllowed,
        NotFound,
        PgorchError,
        SchemaMismatch,
        WrongState,
    )
    from pgorch.graph import Graph
    from pgorch.tool import Context, InvalidArguments, Registry, tool

__all__ = [
    "AsyncClient",
    "Client",
    "ConfigError",
    "Context",
    "DatabaseUnavailable",
    "Graph",
    "IdempotencyConflict",
    "InvalidArguments",
    "InvalidGraph",
    "InvalidValue",
    "LeaseLost",
    "NotAllowed",
    "NotFound",
    "PgorchError",
    "Registry",
    "SchemaMismatch",
    "WrongState",
    "tool",
]

_MODULES = {
    "AsyncClient": "pgorch.client",
    "Client": "pgorch.client",
    "Context": "pgorch.tool",
    "Graph": "pgorch.graph",
    "InvalidArguments": "pgorch.tool",
    "Registry": "pgorch.tool",
    "tool": "pgorch.tool",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'pgorch' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES.get(name, "pgorch.errors")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__version__ = "0.1.0"
