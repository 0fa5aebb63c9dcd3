"""Environments of their own for peers and tools of the benchmarks: made on demand, kept in a cache."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

_DONE = "complete"


def environment(name: str, packages: tuple[str, ...]) -> Path:
    """The directory with the programs of an environment that has these packages, made if there is none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.sha256(repr((packages, sys.version_info[:2])).encode()).hexdigest()[:8]
    directory = cache / "pgorch" / "bench" / f"{name}-{key}"
    programs = directory / "bin"
    if not (directory / _DONE).exists():
        print(f"  installing {', '.join(packages)} into {directory}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True)
        subprocess.run([programs / "python", "-m", "pip", "install", "--quiet", *packages], check=True)
        (directory / _DONE).touch()
    return programs


def versions(programs: Path, packages: tuple[str, ...]) -> dict[str, str]:
    """Which versions of the packages the environment has."""
    ask = "import sys, importlib.metadata as m; print(*[m.version(name) for name in sys.argv[1:]])"
    names = [package.partition("[")[0].partition("=")[0] for package in packages]
    said = subprocess.run(
        [programs / "python", "-c", ask, *names], check=True, capture_output=True, text=True
    )
    return dict(zip(names, said.stdout.split(), strict=True))
