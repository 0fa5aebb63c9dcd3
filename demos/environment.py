"""Makes the environment that the demos and the tests need, on a machine that has Python and nothing else.

    from demos.environment import ensure, stage

    ensure("embedded")     # from here on the program runs in the environment

The first time, `ensure` makes `.venv` in the checkout, installs pgorch into it with the extra that is named,
and starts the program again with the environment's Python. Later it only looks whether that is still up to
date. By itself (`python3 demos/environment.py dev`) it prints the environment's Python.
Standard library only, and plain enough that an old Python gets as far as the sentence that says what is
missing.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OLDEST = (3, 11)
STAMP = "pgorch.json"
INCLUDES = {"dev": ("dev", "embedded")}


class Impossible(Exception):
    """The environment cannot be made; the text says why and what to do."""


def stage(text: str) -> None:
    """Tell the person who waits what is going on."""
    print("==> " + text, flush=True)


def ensure(extra: str) -> None:
    """Return in an environment that has pgorch with this extra; exit with a sentence if there is no way.

    Arguments, exit code and signals of the program pass through: it is replaced, not started as a child.
    """
    try:
        _need_python(OLDEST)
        place = _place(extra)
        if not _is_fresh(place, extra):
            _make_alone(place, extra)
        _continue_in(place)
    except Impossible as problem:
        print(problem, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Interrupted. Run it again to go on.", file=sys.stderr)
        sys.exit(130)


def install(*requirements: str) -> None:
    """Install more packages into the environment that this program runs in."""
    try:
        _pip_install(sys.executable, list(requirements))
    except Impossible as problem:
        print(problem, file=sys.stderr)


def _need_python(oldest: "tuple[int, int]") -> None:
    """Go on with a new enough Python from PATH if this one is too old."""
    if os.name != "posix":
        raise Impossible("pgorch runs on Linux and macOS. On Windows, use it inside WSL.")
    if sys.version_info[:2] >= oldest:
        return
    wanted = f"{oldest[0]}.{oldest[1]}"
    for minor in range(oldest[1] + 8, oldest[1] - 1, -1):
        python = shutil.which("python3." + str(minor))
        if python and _runs(python, "import sys; sys.exit(sys.version_info[:2] < " + repr(oldest) + ")"):
            os.execv(python, [python, *sys.argv])
    raise Impossible(
        f"pgorch needs Python {wanted} or newer. This is {sys.version.split()[0]} ({sys.executable}),"
        " and no newer one is on PATH.\nInstall one (Debian, Ubuntu: apt install python3; macOS: brew install"
        " python; anywhere: uv python install), then run this with it."
    )


def _place(extra: str) -> str:
    """The directory of the environment: one that is ready, else the first that can be made."""
    key = hashlib.sha256(os.fsencode(ROOT)).hexdigest()[:12]
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    places = [
        os.path.join(ROOT, ".venv"),
        os.path.join(cache, "pgorch", "venv-" + key),
        os.path.join(tempfile.gettempdir(), "pgorch-" + str(os.getuid()), "venv-" + key),
    ]
    for place in places:
        if _is_fresh(place, extra):
            return place
    for place in places:
        if _can_be_made(place):
            return place
    raise Impossible(
        "There is no directory that could be written for the environment: tried " + ", ".join(places)
    )


def _can_be_made(place: str) -> bool:
    if os.path.isdir(place):
        return os.stat(place).st_uid == os.getuid() and os.access(place, os.W_OK)
    if place == os.path.join(ROOT, ".venv"):
        return os.access(ROOT, os.W_OK)
    try:
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    except OSError:
        return False
    # In a shared directory somebody else may have made it first.
    return os.stat(os.path.dirname(place)).st_uid == os.getuid() and os.access(
        os.path.dirname(place), os.W_OK
    )


def _is_fresh(place: str, extra: str) -> bool:
    try:
        with open(os.path.join(place, STAMP), encoding="utf-8") as file:
            stamp = json.load(file)
    except (OSError, ValueError):
        return False
    python = _python_of(place)
    if not os.access(python, os.X_OK):
        return False
    if _is_current(place) and stamp.get("python") != _version():
        return False
    return bool(stamp.get("digest") == _digest() and extra in stamp.get("extras", ()))


def _make_alone(place: str, extra: str) -> None:
    """Make the environment, or bring it up to date, while nobody else does."""
    import fcntl

    checkout = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(checkout, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stage("Waiting for another process that prepares the environment")
            fcntl.flock(checkout, fcntl.LOCK_EX)
        if not _is_fresh(place, extra):
            _make(place, extra)
    finally:
        os.close(checkout)


def _make(place: str, extra: str) -> None:
    python = _python_of(place)
    if not _suits(python):
        stage("Making a Python environment in " + place)
        _make_venv(place)
    stage(f"Installing pgorch[{extra}] and what it needs (about a minute the first time)")
    _pip_install(python, ["-e", ROOT + "[" + extra + "]"])
    version = subprocess.check_output([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
    extras = set(INCLUDES.get(extra, (extra,)))
    stamp = {"digest": _digest(), "extras": sorted(extras), "python": version.decode().strip()}
    part = os.path.join(place, STAMP + ".part")
    with open(part, "w", encoding="utf-8") as file:
        json.dump(stamp, file)
    os.replace(part, os.path.join(place, STAMP))


def _make_venv(place: str) -> None:
    maker = [_base_python(), "-m", "venv", "--clear"]
    done = subprocess.run([*maker, place], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode == 0:
        return
    said = done.stdout.decode(errors="replace").strip()
    bare = subprocess.run([*maker, "--without-pip", place], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if bare.returncode == 0 and _pip_command(_python_of(place)):
        return
    shutil.rmtree(place, ignore_errors=True)
    if "ensurepip" in said:
        raise Impossible(
            f"This Python ({sys.executable}) comes without ensurepip, so no environment can be made with it,"
            " and neither pip nor uv is there to help.\nInstall it (Debian, Ubuntu: apt install"
            " python3-venv), then run this again."
        )
    raise Impossible("No environment could be made in " + place + ":\n" + said)


def _pip_install(python: str, requirements: "list[str]") -> None:
    pip = _pip_command(python)
    if not pip:
        raise Impossible(
            "The environment of " + python + " has no pip, and none was found. Delete it and try again."
        )
    done = subprocess.run([*pip, *requirements], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        said = done.stdout.decode(errors="replace").strip().splitlines()
        last = "\n    ".join(said[-15:])
        raise Impossible(
            f"Installing {' '.join(requirements)} failed. What pip said last:\n\n    {last}\n\n"
            "If the network is the reason, mend it (pip reads PIP_INDEX_URL and https_proxy)."
        )


def _pip_command(python: str) -> "list[str]":
    """How to install into the environment: with its own pip, or, if it has none, with a pip or uv from
    outside."""
    if _runs(python, "import pip"):
        return [python, "-m", "pip", "install", "--disable-pip-version-check"]
    outside = [_base_python(), "-m", "pip", "--python", python]
    if _succeeds([*outside, "--version"]):
        return [*outside, "install", "--disable-pip-version-check"]
    uv = shutil.which("uv")
    return [uv, "pip", "install", "--python", python] if uv else []


def _continue_in(place: str) -> None:
    if _is_current(place):
        return
    os.environ["VIRTUAL_ENV"] = place
    os.environ["PATH"] = os.path.join(place, "bin") + os.pathsep + os.environ.get("PATH", os.defpath)
    python = _python_of(place)
    sys.stdout.flush()
    os.execv(python, [python, *sys.argv])


def _suits(python: str) -> bool:
    """Whether the environment works, is new enough, and finds its packages."""
    check = (
        "import os, sys, sysconfig; "
        "sys.exit(sys.version_info[:2] < {!r} or not os.path.isdir(sysconfig.get_path('purelib')))"
    )
    return os.access(python, os.X_OK) and _runs(python, check.format(OLDEST))


def _runs(python: str, program: str) -> bool:
    return _succeeds([python, "-c", program])


def _succeeds(command: "list[str]") -> bool:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except OSError:
        return False
    return done.returncode == 0


def _python_of(place: str) -> str:
    return os.path.join(place, "bin", "python")


def _base_python() -> str:
    """The Python beneath the environment that this program may be running in."""
    return getattr(sys, "_base_executable", None) or sys.executable


def _is_current(place: str) -> bool:
    return os.path.realpath(sys.prefix) == os.path.realpath(place)


def _version() -> str:
    return "{}.{}".format(*sys.version_info[:2])


def _digest() -> str:
    """What the environment depends on: what pyproject.toml asks for, and where the checkout is."""
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        content = file.read()
    return hashlib.sha256(content + os.fsencode(ROOT)).hexdigest()


if __name__ == "__main__":
    ensure(sys.argv[1] if len(sys.argv) > 1 else "dev")
    print(sys.executable)
