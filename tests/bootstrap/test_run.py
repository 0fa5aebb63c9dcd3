import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tests_run", ROOT / "tests" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_arguments_reach_pytest_and_the_cores_are_used(runner: ModuleType) -> None:
    command = runner.pytest_command(["tests/engine", "-k", "join"])
    assert command[1:3] == ["-m", "pytest"]
    assert command[-3:] == ["tests/engine", "-k", "join"]
    assert int(command[command.index("-n") + 1]) >= 2


def test_a_given_number_of_workers_is_respected(runner: ModuleType) -> None:
    assert runner.pytest_command(["-n0"])[3:] == ["-n0"]


def test_help_says_how_to_use_it_without_making_anything() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(ROOT / "tests" / "run.py"), "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "--all-versions" in done.stdout
    assert "==>" not in done.stdout


def test_programs_of_a_version_that_nobody_has_are_not_found(
    runner: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert runner.find_programs(99) == ""
    assert os.path.isdir(runner.find_programs(18))
