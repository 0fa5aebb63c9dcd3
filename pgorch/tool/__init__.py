"""Tools: Python callables that graphs name, with the JSON Schema of their arguments.

    @tool(retry={"max_attempts": 5}, timeout="30s")
    async def charge(order_id: str, amount: float, ctx: Context) -> dict: ...

The module is callable, as the decorator `tool` that it holds: `from pgorch import tool` finds this module as
soon as anything has imported it, and must find the decorator.
"""

import sys
from types import ModuleType
from typing import Any

from pgorch.tool.context import Context
from pgorch.tool.definition import Tool, tool
from pgorch.tool.registry import Registry, load_app
from pgorch.tool.signature import InvalidArguments

__all__ = ["Context", "InvalidArguments", "Registry", "Tool", "load_app", "tool"]


class _Decorator(ModuleType):
    def __call__(self, function: Any = None, /, **options: Any) -> Any:
        return tool(function, **options) if function is not None else tool(**options)


sys.modules[__name__].__class__ = _Decorator
