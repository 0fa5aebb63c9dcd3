"""What reads input decodes plain JSON and nothing else: no pickle, no eval, no format strings of users."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import pgorch

ROOT = Path(pgorch.__file__).parent
MODULES = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "shelve",
    "marshal",
    "yaml",
    "jsonpickle",
    "xml",
    "jinja2",
}
CALLS = {"eval", "exec", "compile", "__import__"}


def unsafe(source: str) -> Iterator[str]:
    tree = ast.parse(source)
    composed = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _is_literal(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            names = []
        yield from (f"line {node.lineno}: import {n}" for n in names if n.split(".")[0] in MODULES)  # type: ignore[attr-defined]
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Name) and function.id in CALLS:
            yield f"line {node.lineno}: {function.id}()"
        if isinstance(function, ast.Attribute):
            # A format string that is no literal may be a user's, who reads attributes with it.
            known = isinstance(function.value, ast.Name) and function.value.id in composed
            if function.attr in ("format", "format_map") and not (known or _is_literal(function.value)):
                yield f"line {node.lineno}: .{function.attr}() of what is no literal"
            reader = function.value.id if isinstance(function.value, ast.Name) else ""
            if function.attr == "loads" and reader not in ("orjson", "json", "strict_json"):
                yield f"line {node.lineno}: {reader}.loads()"
        for keyword in node.keywords:
            if keyword.arg == "shell" and not (
                isinstance(keyword.value, ast.Constant) and not keyword.value.value
            ):
                yield f"line {node.lineno}: a shell"
            if keyword.arg in ("object_hook", "object_pairs_hook"):
                yield f"line {node.lineno}: {keyword.arg}"


def _is_literal(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id.lstrip("_").isupper()):
        return True
    # sql.SQL("...").format(): composes identifiers and literals, and escapes them.
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "SQL"


def test_nothing_decodes_more_than_json() -> None:
    files = sorted(ROOT.rglob("*.py"))
    assert len(files) > 100
    assert {str(f.relative_to(ROOT)): u for f in files if (u := list(unsafe(f.read_text())))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from yaml import load",
        "import xml.etree.ElementTree",
        "eval(text)",
        "exec(text)",
        "template.format(x)",
        "template.format_map(x)",
        "marshal.loads(data)",
        "subprocess.run(text, shell=True)",
        "json.loads(text, object_hook=build)",
    ],
)
def test_what_is_looked_for_is_found(source: str) -> None:
    assert list(unsafe(source))
