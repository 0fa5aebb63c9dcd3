"""Row 25 in short; the 20 minutes of figure G10: python -m tests.outages.horizon"""

import pytest

from tests.outages.feeding import steady_ground
from tests.outages.horizon import measure

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def test_a_pinned_horizon_slows_no_claim() -> None:
    with steady_ground(fsync=False) as (ground, graph):
        report = measure(ground, graph, seconds=60, rate=300, clean_seconds=150)
        print(f"injected: a transaction that kept a horizon of {report.horizon_age} transactions, and"
              f" {report.dead_before_release} dead rows with it.\n before {report.before}\n  first"
              f" {report.first}\n   last {report.last}\nclean {report.clean_after:.0f} s after")  # fmt: skip
        assert report.horizon_age > 2000
        assert report.dead_before_release > 5000
        # No more is looked at for a step, and what is claimed waits no three times as long (or 25 ms); but if
        # the machine itself became as much slower meanwhile, that says nothing.
        assert report.last.blocks_per_step <= 3 * report.before.blocks_per_step
        slower = max(1.0, report.last.idle_p99 / max(report.before.idle_p99, 0.1))
        assert report.last.p99 <= max(3 * report.before.p99, 25) * slower
        assert report.clean_after <= 130
        ground.all_ended()
        ground.check()
