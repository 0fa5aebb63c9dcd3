"""Tools for the tests of the command line."""

from pgorch.tool import tool


@tool
def greet(name: str = "world") -> dict[str, str]:
    """Greet somebody."""
    return {"greeting": f"Hello, {name}!"}
