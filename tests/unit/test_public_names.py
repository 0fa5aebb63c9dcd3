"""The names that users import, pinned."""

import subprocess
import sys

import pytest

import pgorch

PUBLIC = {
    "AsyncClient", "Client", "ConfigError", "Context", "DatabaseUnavailable", "Graph", "IdempotencyConflict",
    "InvalidArguments", "InvalidGraph", "InvalidValue", "LeaseLost", "NotAllowed", "NotFound", "PgorchError",
    "Registry", "SchemaMismatch", "WrongState", "tool",
}  # fmt: skip


def test_the_public_names_are_these_and_each_can_be_imported() -> None:
    assert set(pgorch.__all__) == PUBLIC
    assert set(dir(pgorch)) >= PUBLIC
    for name in PUBLIC:
        assert getattr(pgorch, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'toool'"):
        pgorch.toool  # noqa: B018


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_importing_the_package_imports_nothing_heavy() -> None:
    loaded = run(
        "import pgorch, sys; print([m for m in ('pydantic', 'psycopg', 'orjson') if m in sys.modules])"
    )
    assert loaded.strip() == "[]"


def test_the_decorator_is_found_before_and_after_its_module_is_imported() -> None:
    lines = run(
        "from pgorch import tool as early\n"
        "import pgorch.tool\n"
        "from pgorch import tool as late\n"
        "from pgorch.tool import load_app\n"
        "@early\n"
        "def a(): 'A.'\n"
        "@late(name='c')\n"
        "def b(): 'B.'\n"
        "print(sorted(load_app('__main__')))\n"
    )
    assert lines.strip() == "['a', 'c']"
