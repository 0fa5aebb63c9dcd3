"""A worker that dies between the answer of a receiver and its record."""

from tests.crash.conftest import Crew
from tests.support.receiver import SECRET, receiving


def test_what_was_sent_by_a_worker_that_died_is_sent_again_under_the_same_id(crew: Crew) -> None:
    with receiving() as receiver:
        crew.value(
            "select pgorch.create_hook('all', %s, '{run_completed}', %s, p_allow_private => true)",
            receiver.url, SECRET,
        )  # fmt: skip
        [victim] = crew.hire(die_at="before a delivery is recorded", hook_poll=0.05)
        [run_id] = crew.start(crew.graph("step"))
        receiver.wait_for(1)
        victim.join(20)
        assert victim.exitcode == -9
        log = "select d.log from pgorch.hook_delivery_list d"
        assert [entry["ended_at"] for entry in crew.value(log)] == [None]

        crew.hire(hook_poll=0.05)
        crew.connection.execute("update pgorch._clock set offset_by = '2 minutes'")
        crew.until(lambda: crew.value("select d.status from pgorch.hook_delivery_list d") == "delivered")
        first, second = receiver.messages
        assert first.id == second.id
        assert first.verified() == second.verified()
        assert second.verified()["data"]["run_id"] == str(run_id)
        assert [entry["http_status"] for entry in crew.value(log)] == [None, 204]
