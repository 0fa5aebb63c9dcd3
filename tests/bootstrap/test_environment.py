"""The environment that demos/run.py and tests/run.py make for themselves, tried on a small checkout of its
own.

The small checkout needs nothing from the network: its build backend is a file in it.
"""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from types import ModuleType

import pytest

from demos import environment

ROOT = Path(__file__).resolve().parents[2]

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "small"
version = "1"
"""

BACKEND = '''
"""Builds an editable wheel by hand."""
import os, zipfile

def build_editable(directory, config_settings=None, metadata_directory=None):
    name = "small-1-py3-none-any.whl"
    info = "small-1.dist-info/"
    metadata = "Metadata-Version: 2.1\\nName: small\\nVersion: 1\\nProvides-Extra: embedded\\n"
    tags = "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
        wheel.writestr("small.pth", os.getcwd() + "/package\\n")
        wheel.writestr(info + "METADATA", metadata)
        wheel.writestr(info + "WHEEL", tags)
        wheel.writestr(info + "RECORD", "")
    return name
'''

PROGRAM = """
import os, sys
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from demos.environment import ensure
ensure(sys.argv[1])
import small
print(sys.prefix, sys.argv[1:], small.ANSWER)
sys.exit(7)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    (root / "demos").mkdir(parents=True)
    (root / "package" / "small").mkdir(parents=True)
    (root / "package" / "small" / "__init__.py").write_text("ANSWER = 42\n")
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "backend.py").write_text(BACKEND)
    shutil.copy(ROOT / "demos" / "environment.py", root / "demos")
    (root / "demos" / "program.py").write_text(PROGRAM)
    return root


def run(checkout: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "PIP_"))}
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    return subprocess.run(
        [str(python), str(checkout / "demos" / "program.py"), *arguments],
        env={**clean, "PIP_NO_INDEX": "1", **variables},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def small(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module as it sees the small checkout."""
    monkeypatch.setattr(environment, "ROOT", str(checkout))
    return environment


def test_the_first_run_makes_the_environment_and_the_second_finds_it_ready(checkout: Path) -> None:
    first = run(checkout, "embedded", "--yes")
    assert first.returncode == 7, first.stderr
    assert "==> Making a Python environment" in first.stdout
    assert "==> Installing" in first.stdout
    assert first.stdout.splitlines()[-1] == f"{checkout}/.venv ['embedded', '--yes'] 42"
    second = run(checkout, "embedded")
    assert second.returncode == 7, second.stderr
    assert second.stdout == f"{checkout}/.venv ['embedded'] 42\n"

    changed = PYPROJECT.replace('version = "1"', 'version = "1"\ndescription = "changed"')
    (checkout / "pyproject.toml").write_text(changed)
    third = run(checkout, "embedded")
    assert third.returncode == 7, third.stderr
    assert "==> Installing" in third.stdout
    assert "==> Making" not in third.stdout


def test_what_pip_cannot_install_is_told_with_its_last_words(checkout: Path) -> None:
    (checkout / "pyproject.toml").write_text(PYPROJECT.replace("requires = []", 'requires = ["not-there"]'))
    failed = run(checkout, "embedded")
    assert failed.returncode == 2
    assert "not-there" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (checkout / ".venv" / environment.STAMP).exists()


def test_an_old_python_names_what_is_missing_and_where_to_get_it(checkout: Path) -> None:
    module = checkout / "demos" / "environment.py"
    module.write_text(module.read_text().replace("OLDEST = (3, 11)", "OLDEST = (3, 99)"))
    refused = run(checkout, "embedded")
    assert refused.returncode == 2
    assert "pgorch needs Python 3.99 or newer" in refused.stderr
    assert "apt install python3" in refused.stderr


def test_an_old_python_goes_on_with_a_newer_one_from_the_path(checkout: Path, tmp_path: Path) -> None:
    newer = tmp_path / "bin" / "python3.99"
    newer.parent.mkdir()
    newer.write_text('#!/bin/sh\ncase "$1" in -c) exit 0;; esac\necho "newer: $*"\n')
    newer.chmod(0o755)
    module = checkout / "demos" / "environment.py"
    module.write_text(module.read_text().replace("OLDEST = (3, 11)", "OLDEST = (3, 95)"))
    taken = run(checkout, "embedded", PATH=str(newer.parent))
    assert taken.stdout == f"newer: {checkout}/demos/program.py embedded\n"


def test_a_python_without_ensurepip_is_told_which_package_to_install(
    small: ModuleType, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho 'ensurepip is not available' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(small, "_base_python", lambda: str(fake))
    with pytest.raises(environment.Impossible, match="apt install python3-venv"):
        small._make_venv(str(checkout / ".venv"))
    assert not (checkout / ".venv").exists()


def test_an_environment_whose_python_is_gone_does_not_suit(small: ModuleType, checkout: Path) -> None:
    place = checkout / ".venv"
    venv.create(place, symlinks=True)
    assert small._suits(str(place / "bin" / "python"))
    (place / "bin" / "python").unlink()
    (place / "bin" / "python").symlink_to("/nonexistent/python3.11")
    assert not small._suits(str(place / "bin" / "python"))


def test_where_the_checkout_is_not_writable_the_environment_goes_to_the_cache(
    small: ModuleType, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    real = os.access

    def refuse_checkout(path: str, mode: int) -> bool:
        return path != str(checkout) and real(path, mode)

    monkeypatch.setattr(os, "access", refuse_checkout)
    place = Path(small._place("embedded"))
    assert place.parent == tmp_path / "cache" / "pgorch"
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nothing/can/be/made/here")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert Path(small._place("embedded")).parent == tmp_path / f"pgorch-{os.getuid()}"


def test_the_module_needs_nothing_but_the_standard_library() -> None:
    program = "import sys; sys.path.insert(0, sys.argv[1]); import demos.environment"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(ROOT)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
