"""Every command that is documented exists, and every command says what it does."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import pgorch
from pgorch.cli.main import app
from tests.cli.conftest import Cli

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / name for name in ("README.md", "TECHNICAL_DOCS.md", "CONTRIBUTING.md", "CHANGELOG.md")]
DOCUMENTS += sorted(ROOT.glob("demos/**/*.md"))


def tree(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from tree(inner, (*path, name))


COMMANDS = dict(tree(typer.main.get_command(app)))


def documented(text: str) -> Iterator[list[str]]:
    """The words of each line of a code block that calls pgorch."""
    for block in re.findall(r"```(?:sh|bash|shell|console|text)?\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(r"\s*(?:\$ )?(?:\w+=\S+ )*(?:python3? -m )?pgorch ([^|>#]*)", line)
            if found:
                try:
                    yield shlex.split(found[1])
                except ValueError:
                    yield found[1].split()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_and_option_of_the_documents_exists(document: Path) -> None:
    for words in documented(document.read_text(encoding="utf-8") if document.exists() else ""):
        path: tuple[str, ...] = ()
        for word in words:
            if (*path, word) not in COMMANDS:
                break
            path = (*path, word)
        command = COMMANDS[path]
        assert not getattr(command, "commands", None) or words[:1] in (["--version"], ["--help"]), (
            f"{document.name}: pgorch {' '.join(words)} names no command"
        )
        known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= known or path == ("db", "psql"), f"{document.name}: {used - known} of {' '.join(path)}"


@pytest.mark.parametrize("path", [path for path in COMMANDS if path], ids=" ".join)
def test_every_command_has_help_that_says_what_it_does(path: tuple[str, ...], nowhere: Cli) -> None:
    said = nowhere(*path, "--help")
    assert said.code == 0
    assert said.out.startswith("Usage: pgorch")
    assert len(said.out.split("\n\n")[1].strip()) > 5


@pytest.mark.parametrize(
    "path",
    [
        *["dev", "serve", "worker", "migrate", "run", "doctor", "lost", "bench"],
        *["db start", "db stop", "db psql", "db reset"],
        *["graphs list", "graphs show", "graphs create", "graphs validate", "graphs explain", "graphs diff"],
        *["runs list", "runs show", "runs state", "runs events", "runs watch", "runs cancel"],
        *["approvals approve", "approvals comment", "approvals list", "approvals reassign"],
        *["approvals reject", "approvals show", "schedules create", "schedules delete"],
        *["schedules list", "schedules pause", "schedules resume", "schedules show"],
        *["schedules trigger"],
        *["keys create", "keys list", "keys revoke"],
        *["hooks create", "hooks list", "hooks show", "hooks update", "hooks rotate", "hooks pause"],
        *["hooks resume", "hooks delete", "hooks deliveries", "hooks test"],
        *["signal", "runs pause", "runs resume", "runs retry", "runs skip", "runs fork", "runs move"],
        *["runs bulk", "graphs delete"],
        *["runs diff", "runs explain", "runs timeline", "runs tree", "runs export", "runs label"],
        *["workers list", "tools list", "queues list", "retention show", "retention set"],
        *["limits list", "limits keys", "limits set", "limits drop"],
    ],
)
def test_the_command_exists(path: str) -> None:
    assert tuple(path.split()) in COMMANDS


def test_the_version_is_that_of_the_package(nowhere: Cli) -> None:
    assert nowhere("--version").out == f"pgorch {pgorch.__version__}\n"


def test_a_mistyped_command_is_answered_with_the_near_name(nowhere: Cli) -> None:
    said = nowhere("runs", "lst")
    assert said.code == 2
    assert "'list'" in said.err


def test_it_runs_as_a_module_without_importing_what_the_command_does_not_need() -> None:
    script = (
        "import sys, runpy; sys.argv = ['pgorch', '--version']\n"
        "try: runpy.run_module('pgorch', run_name='__main__')\n"
        "except SystemExit as end: print(end.code, sorted({'uvicorn', 'pydantic'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
