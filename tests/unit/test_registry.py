"""Registries, and how tools are found in a user's modules."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgorch.errors import ConfigError
from pgorch.tool import Registry, Tool, load_app


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with modules of its own, which are forgotten afterwards."""
    before, path = set(sys.modules), list(sys.path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(project: Path, **modules: str) -> None:
    for name, text in modules.items():
        path = project / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("from pgorch import Registry, tool\n" + text)


def test_a_module_of_the_working_directory_gives_its_tools(project: Path) -> None:
    write(
        project,
        shop_one="@tool\ndef pay(): 'Pay.'\n\n@tool(name='send')\ndef ship(): ...\n\ndef helper(): ...\n",
    )
    assert sorted(load_app("shop_one")) == ["pay", "send"]
    assert load_app("shop_one")["pay"].description == "Pay."


def test_tools_that_a_module_imports_and_those_of_modules_below_it_count(project: Path) -> None:
    write(
        project,
        shop_two__payments="@tool\ndef pay(): ...\n",
        shop_two__inner="@tool\ndef inner(): ...\n",
        shop_other="@tool\ndef other(): ...\n@tool\ndef unused(): ...\n",
        shop_two____init____="",
    )
    (project / "shop_two/__init__.py").write_text("import shop_two.payments\nfrom shop_other import other\n")
    assert sorted(load_app("shop_two")) == ["other", "pay"]
    assert sorted(load_app("shop_two", "shop_other")) == ["other", "pay", "unused"]


def test_an_attribute_can_be_a_registry_a_tool_or_a_list(project: Path) -> None:
    write(
        project,
        shop_three="app = Registry()\n@app.tool\ndef a(): ...\n@app.tool(name='b')\ndef bee(): ...\n"
        "@tool\ndef c(): ...\nsome = [c]\nnumber = 3\n",
    )
    assert sorted(load_app("shop_three:app")) == ["a", "b"]
    assert sorted(load_app("shop_three:some")) == ["c"]
    assert sorted(load_app("shop_three:c")) == ["c"]
    assert sorted(load_app("shop_three:app", "shop_three")) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("spec", "text", "sentence", "hint"),
    [
        ("nowhere_at_all", "", "no module nowhere_at_all", "looked for in"),
        ("broken:nope", "@tool\ndef a(): ...\n", "has no 'nope'", "See"),
        ("broken:pay_ment", "payment = 1\n", "has no 'pay_ment'", "Did you mean payment?"),
        ("broken:number", "number = 3\n", "broken:number is of type int, not tools", "Registry"),
        ("broken", "x = 1\n", "broken has no tools", "@pgorch.tool"),
        ("broken", "1 / 0\n", "could not be imported: ZeroDivisionError", "import broken"),
        ("broken", "import not_installed_anywhere\n", "needs not_installed_anywhere", "Install"),
        ("broken", "def x(:\n", "could not be imported: SyntaxError", "import broken"),
        ("demos/broken.py", "", "does not name a Python module", "demos.broken"),
        ("", "", "does not name a Python module", "module:attribute"),
        ("broken", "@tool\ndef a(*b): ...\n", "can only be given by position", "ordinary"),
    ],
)
def test_what_cannot_be_loaded_is_told_with_its_cause(
    project: Path, spec: str, text: str, sentence: str, hint: str
) -> None:
    write(project, broken=text)
    with pytest.raises(ConfigError) as caught:
        load_app(spec)
    assert sentence in str(caught.value)
    assert hint in (caught.value.hint or "")


def test_two_tools_of_one_name_are_refused_with_both_places(project: Path) -> None:
    write(project, shop_four="@tool\ndef pay(): ...\n", shop_five="@tool\ndef pay(): ...\n")
    with pytest.raises(ConfigError, match=r"Two tools have the name pay: .*shop_four\.py:2.*shop_five\.py:2"):
        load_app("shop_four", "shop_five")


def double(x: int) -> int:
    """Twice."""
    return 2 * x


def test_a_registry_is_a_mapping_of_its_tools() -> None:
    registry = Registry([double])
    assert registry.add(double) is registry["double"]
    assert isinstance(registry["double"], Tool)
    assert (len(registry), list(registry), "triple" in registry) == (1, ["double"], False)
    assert [known["name"] for known in registry.definitions()] == ["double"]
