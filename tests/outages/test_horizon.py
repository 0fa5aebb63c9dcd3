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
        # The work goes on as fast, and what is claimed waits no three times as long (or 25 ms).
        assert report.last.steps_per_second > 0.9 * report.first.steps_per_second
        assert report.last.p99 <= max(3 * report.before.p99, 25)
        assert report.clean_after <= 130
        ground.all_ended()
        ground.check()
