"""Tests of graphs: real database, fake tools, given decisions, a crash where you want it, a clock that jumps.

    import pgorch.testing
    from pgorch.testing import approved

    def test_a_large_payment_is_signed_off():
        with pgorch.testing.database() as db:
            run = db.run(
                graph,
                {"amount": 500},
                tools={"charge": lambda args: {"charged": args["amount"]}},
                decisions={"sign_off": approved({"note": "fine"}, by="ann", roles=["finance"])},
                crash_at="charge",
            )
            assert run.status == "completed"
            assert run.path == ["draft", "sign_off", "charge"]
            assert len(run.calls("charge")) == 2

The engine is the real one: conditions, joins, retries, leases and timers are those of production, in a
transaction that is rolled back at the end. Only workers and people are played. With
`pytest_plugins = ["pgorch.testing.plugin"]` in the root conftest.py, tests get such a database by naming the
fixture `pgorch_db`.
"""

from pgorch.testing.answers import Decision, approved, failure, in_turn, rejected
from pgorch.testing.place import Database, database
from pgorch.testing.run import Run

__all__ = ["Database", "Decision", "Run", "approved", "database", "failure", "in_turn", "rejected"]
