"""Faults under load, and whether everything still holds:

    python -m tests.chaos                            the standard plan, ten minutes
    python -m tests.chaos --minutes 1 --seed 7
    python -m tests.chaos --plan liveness            one fault stays for ever; the rest must end

Prints for each fault how often it was injected and what was seen of it, figures, and every violation. The
exit code is 1 if an invariant was violated, something did not end, or a fault did not really happen.
"""

import argparse
import asyncio
import random
import signal
import sys
import time

from tests.chaos.ground import FAKETIME, ground
from tests.chaos.liveness import liveness
from tests.chaos.plan import standard

DRIVERS = 32


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Faults under load.")
    parser.add_argument("--plan", choices=("standard", "liveness"), default="standard")
    parser.add_argument("--seed", type=int, help="of what is drawn; else one that is printed")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long faults are injected")
    parser.add_argument("--runs", type=int, help="so many at most")
    parser.add_argument(
        "--drivers", type=int, default=DRIVERS,
        help="runs at once (%(default)s: fewer wait, mostly; more take each other's time on two cores)",
    )  # fmt: skip
    parser.add_argument("--lease", type=float, default=10.0, help="of the workers, in seconds")
    parser.add_argument("--no-fsync", action="store_true", help="for trying things out")
    parser.add_argument("--keep", action="store_true", help="keep the logs of the processes")
    chosen = parser.parse_args()
    seed = random.randrange(10**6) if chosen.seed is None else chosen.seed
    print(f"{chosen.plan} plan, seed {seed}, lease {chosen.lease:g} s", flush=True)
    if FAKETIME is None:
        print("without jumps of the clock: libfaketime is not installed (apt install faketime)", flush=True)
    # So that told to end it takes everything that it started with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    began = time.monotonic()
    with ground(seed=seed, lease=chosen.lease, fsync=not chosen.no_fsync, keep=chosen.keep) as found:
        print(f"ready after {time.monotonic() - began:.1f} s", flush=True)
        if chosen.plan == "liveness":
            verdict = asyncio.run(liveness(found, seed=seed, drivers=chosen.drivers))
        else:
            verdict = asyncio.run(
                standard(
                    found, seed=seed, seconds=chosen.minutes * 60, runs=chosen.runs, drivers=chosen.drivers
                )
            )
        print(verdict)
        if chosen.keep:
            print(f"logs: {found.directory}")
    print(f"seed {seed}: {'well' if verdict.well else 'NOT WELL'} after {time.monotonic() - began:.0f} s")
    return 0 if verdict.well else 1


if __name__ == "__main__":
    sys.exit(main())
