"""Runs the demos on a real PostgreSQL: python3 demos/run.py [--yes] [NAME ...]

The first time it makes an environment with everything that is needed. Then it starts embedded PostgreSQL,
the API and two workers, tells what happens, and checks every claim (✓) in the database or through the API.
The exit code is 0 only if all of them are true. It asks you at the approvals; with --yes it decides itself.
"""

import argparse
import importlib
import io
import os
import signal
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[0] = ROOT

from demos.environment import ensure, stage  # noqa: E402  (the checkout must be on the path first)

TITLES = {
    "data_quality": "Data quality: clean in a loop until it is good enough, then ask",
    "persistence_approval": "Persistence and approval: kill it, switch it off, go on",
    "wire_transfer": "Wire transfer: two signatures, a way back, a deadline",
    "saga": "Saga: what a failed trip has taken is given back",
    "agent": "Agent: model and tools in a loop, killed in the middle, reviewed by a person",
}
NAMES = tuple(TITLES)


def main() -> int:
    parser = _parser()
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in NAMES:
            parser.error(f"there is no demo {name}, only {', '.join(NAMES)}")
    if arguments.list:
        print("\n".join(f"{name:22}{title}" for name, title in TITLES.items()))
        return 0
    if not arguments.here:
        ensure("embedded")
    began = time.monotonic()
    # A shell starts what runs in its background with SIGINT ignored; here it always means: clean up and end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ✓ gets a ?

    from demos.story import Disproved
    from pgorch.errors import PgorchError

    try:
        _play(arguments.names or list(NAMES), arguments.yes)
    except Disproved as disproved:
        print(f"\n  ✗ {disproved}\n\nThat did not happen as it should.", file=sys.stderr)
        return 1
    except PgorchError as error:
        print(f"\n{error}\n{error.hint or ''}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; everything that was started has been ended.", file=sys.stderr)
        return 130
    print(f"\nEverything above was checked. {time.monotonic() - began:.0f} seconds.")
    return 0


def _play(names: "list[str]", yes: bool) -> None:
    from demos.machinery import WORKERS, Machinery
    from demos.story import chapter, tell

    stories = {name: importlib.import_module(f"demos.{name}.story") for name in names}
    with Machinery() as machinery:
        stage("Starting embedded PostgreSQL, the API and two workers")
        machinery.start_postgres()
        machinery.migrate()
        machinery.start_api()
        machinery.start_workers(*WORKERS)
        machinery.await_api()
        machinery.await_workers(*WORKERS)
        tell(f"PostgreSQL {machinery.server.version} in {machinery.data}")
        tell(f"API {machinery.api.address}, workers {' and '.join(WORKERS)}")
        for name in names:
            chapter(TITLES[name])
            stories[name].play(machinery, yes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Runs the demos on a real PostgreSQL and checks every claim."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which to run: {', '.join(NAMES)}")
    parser.add_argument("--yes", action="store_true", help="decide the approvals without asking")
    parser.add_argument(
        "--here",
        action="store_true",
        help="use the Python that runs this, which must have pgorch[embedded], and make no environment",
    )
    parser.add_argument("--list", action="store_true", help="list the demos and end")
    return parser


if __name__ == "__main__":
    sys.exit(main())
