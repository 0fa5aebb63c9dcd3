"""The tools of the persistence and approval graph: how heavy are penguins, and how sure is that?"""

import os
import random
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import psycopg

from demos.data_quality import rules
from pgorch import Context, tool
from pgorch.config import resolve_dsn

HERE = Path(__file__).parent
RAW = HERE.parent / "data_quality" / "penguins_raw.csv"
_SETUP_LOCK = 0x657374696D617465  # "estimate"


@tool(retry={"max_attempts": 5}, timeout="1 minute")
def estimate_mass(species: str, ctx: Context, seconds: float = 1.5) -> dict[str, Any]:
    """Estimate the mean body mass of a species, with a 95 % interval, by resampling for some seconds.

    Args:
        species: Adelie, Chinstrap or Gentoo.
        seconds: How long to resample: the longer, the steadier the interval.
    """
    masses = masses_of(species)
    _leave_trace(ctx)
    means: list[float] = []
    enough = time.monotonic() + seconds
    while len(means) < 200 or time.monotonic() < enough:
        if ctx.cancelled.is_set():
            raise RuntimeError("The step was cancelled.")
        means.append(fmean(random.choices(masses, k=len(masses))))
    means.sort()
    return {
        "birds": len(masses),
        "mean_g": round(fmean(masses)),
        "low_g": round(means[int(len(means) * 0.025)]),
        "high_g": round(means[int(len(means) * 0.975)]),
        "resamples": len(means),
    }


@tool(transactional=True)
def publish_estimate(species: str, estimate: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Publish an estimate, in the transaction that records this step."""
    ctx.connection.execute(
        """
        insert into estimates.published (run_id, species, mean_g, low_g, high_g)
        values (%s, %s, %s, %s, %s)
        """,
        [ctx.run_id, species, estimate["mean_g"], estimate["low_g"], estimate["high_g"]],
    )
    return {"published": True}


def masses_of(species: str) -> list[float]:
    """The body masses of a species, in grams; ValueError if the table has no such species."""
    birds, _ = rules.mend_spelling(rules.read(RAW))
    masses = [
        float(mass) for bird in birds if bird[rules.SPECIES] == species and (mass := bird["Body Mass (g)"])
    ]
    if not masses:
        known = ", ".join(sorted({str(bird[rules.SPECIES]) for bird in birds}))
        raise ValueError(f"There are no {species} penguins in the table, only {known}.")
    return masses


def _leave_trace(ctx: Context) -> None:
    """Say at once which process began this attempt, so that one that dies leaves a trace."""
    dsn = resolve_dsn(None)
    if dsn is None:
        return  # the worker got its database by --dsn
    with psycopg.connect(dsn) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", [_SETUP_LOCK])
        connection.execute((HERE / "tables.sql").read_bytes())
        connection.execute(
            """
            insert into estimates.attempts (run_id, attempt, process)
            values (%s, %s, %s) on conflict do nothing
            """,
            [ctx.run_id, ctx.attempt, os.getpid()],
        )
