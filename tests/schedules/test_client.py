"""Schedules from Python."""

from datetime import timedelta

import pytest

from pgorch.client import AsyncClient, Client
from pgorch.errors import InvalidValue, NotFound, WrongState
from tests.schedules.conftest import Place, at


def test_the_client_does_all_that_can_be_done(place: Place, database: str) -> None:
    place.it_is("2025-01-01 00:00")
    with Client(database) as client:
        assert client.create_schedule(
            "nightly", "report", "0 2 * * *", time_zone="Europe/Berlin", input={"a": 1}, labels={"b": "c"},
            catch_up="all", catch_up_window=timedelta(hours=3), actor="ada",
        )  # fmt: skip
        place.look()
        schedule = client.get_schedule("nightly")
        assert (schedule.input, schedule.labels, schedule.catch_up_window) == (
            {"a": 1},
            {"b": "c"},
            "03:00:00",
        )
        assert schedule.next_due == schedule.next_times[0] == at("2025-01-01 01:00")
        assert (schedule.last_due, schedule.last_run_id, schedule.last_status) == (None, None, None)

        run_id = client.trigger_schedule("nightly")
        assert client.get_run(run_id).state == {"a": 1}
        with pytest.raises(WrongState, match=str(run_id)):
            client.trigger_schedule("nightly")
        second = client.trigger_schedule("nightly", overlap="cancel_other", idempotency_key="k")
        assert client.get_run(run_id).status == "cancelled"
        schedule = client.get_schedule("nightly")
        assert (schedule.last_run_id, schedule.last_status) == (second, "awaiting_approval")

        assert client.pause_schedule("nightly") is True
        assert client.get_schedule("nightly").next_due is None
        assert client.resume_schedule("nightly") is True
        client.delete_schedule("nightly")
        with pytest.raises(NotFound):
            client.get_schedule("nightly")
        with pytest.raises(InvalidValue, match="is no minute") as caught:
            client.create_schedule("nightly", "report", "99 2 * * *")
        assert caught.value.hint


async def test_the_async_client_does_the_same(place: Place, database: str) -> None:
    async with AsyncClient(database) as client:
        assert await client.create_schedule("nightly", "report", "0 2 * * *")
        assert await client.pause_schedule("nightly")
        assert (await client.get_schedule("nightly")).paused
        assert await client.resume_schedule("nightly")
        await client.trigger_schedule("nightly")
        await client.delete_schedule("nightly")
        with pytest.raises(NotFound):
            await client.pause_schedule("nightly")
