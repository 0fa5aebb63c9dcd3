"""Workers deliver what happened to real receivers, who verify it with the library of the specification."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from standardwebhooks import WebhookVerificationError

from pgorch.worker.identity import Timing
from tests.support.engine import definition
from tests.support.proxy import sessions
from tests.support.receiver import OTHER_SECRET, SECRET, Receiver, receiving
from tests.worker.conftest import Place

QUICK = Timing(beat=0.1, hook_poll=0.05, hook_answer=2.0, stall_exit=None)
ASK = definition([{"id": "ask", "type": "approval", "title": "Go on?"}, "end"], ["ask>end"])
KINDS = ["approval_requested", "approval_decided", "run_completed"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def hook(place: Place, receiver: Receiver, name: str = "all", allow_private: bool = True) -> None:
    place.value(
        "select pgorch.create_hook(%s, %s, %s, %s, p_allow_private => %s)",
        name, receiver.url, KINDS, SECRET, allow_private,
    )  # fmt: skip


def asking(place: Place) -> str:
    @place.tool
    def end() -> dict[str, int]:
        return {"n": 1}

    return place.create(ASK)


def statuses(place: Place) -> list[str]:
    rows = place.connection.execute("select d.status from pgorch.hook_delivery_list d order by d.delivery_id")
    return [row["status"] for row in rows]


def jump(place: Place, by: str) -> None:
    place.connection.execute("update pgorch._clock set offset_by = offset_by + %s::interval", [by])


async def test_a_receiver_hears_of_a_run_and_verifies_what_it_hears(place: Place, receiver: Receiver) -> None:
    hook(place, receiver)
    run_id = place.start(asking(place))
    await place.work(timing=QUICK)
    place.value("select pgorch.decide(%s, 'approved')", run_id)
    await place.until(lambda: statuses(place) == ["delivered"] * 3)
    contents: dict[str, Any] = {m.type: m.verified() for m in receiver.messages}
    assert sorted(contents) == sorted(KINDS)
    assert all(content["data"]["run_id"] == str(run_id) for content in contents.values())
    assert contents["run_completed"]["data"]["output"] == {"n": 1}
    assert len({m.id for m in receiver.messages}) == 3
    for message in receiver.messages:
        assert message.headers["content-type"] == "application/json"
        with pytest.raises(WebhookVerificationError):
            message.verified(OTHER_SECRET)


async def test_a_receiver_that_was_down_hears_it_when_it_is_up(place: Place, receiver: Receiver) -> None:
    hook(place, receiver)
    await place.work(timing=QUICK)
    receiver.stop()
    place.start(asking(place))
    last = "select d.log -> -1 ->> 'problem' from pgorch.hook_delivery_list d"
    await place.until(lambda: statuses(place) and "no connection" in (place.value(last) or ""))
    receiver.start()
    receiver.status = 503
    jump(place, "1 minute")
    await place.until(lambda: len(receiver.messages) == 1)
    receiver.status = 200
    await place.until(
        lambda: place.value("select d.log -> -1 ->> 'http_status' from pgorch.hook_delivery_list d") == "503"
    )
    jump(place, "1 minute")
    await place.until(lambda: statuses(place) == ["delivered"])
    first, second = receiver.messages
    assert first.id == second.id
    assert first.body == second.body
    assert second.verified()["type"] == "approval_requested"


async def test_one_that_does_not_answer_holds_up_no_other(place: Place, receiver: Receiver) -> None:
    hook(place, receiver, "slow")
    receiver.hold.clear()
    with receiving() as other:
        hook(place, other, "other")
        graph = asking(place)
        await place.work(timing=Timing(beat=0.1, hook_poll=0.05, hook_answer=20, stall_exit=None))
        for _ in range(30):
            place.start(graph)
        await place.until(lambda: len(other.messages) == 30)
        # So many at once, and no more until they are through.
        assert 1 <= len(receiver.messages) <= 10
        receiver.hold.set()
        await place.until(lambda: statuses(place) == ["delivered"] * 60)
        assert len({m.id for m in receiver.messages}) == len(receiver.messages) == 30


async def test_a_private_address_is_refused_unless_it_is_allowed(place: Place, receiver: Receiver) -> None:
    hook(place, receiver)
    place.connection.execute("update pgorch.hooks set allow_private = false")
    place.start(asking(place))
    await place.work(timing=QUICK)
    problem = "select d.log -> 0 ->> 'problem' from pgorch.hook_delivery_list d"
    await place.until(lambda: place.value(problem))
    assert "no public address" in place.value(problem)
    assert receiver.messages == []


async def test_gone_pauses_the_hook(place: Place, receiver: Receiver) -> None:
    hook(place, receiver)
    receiver.status = 410
    graph = asking(place)
    place.start(graph)
    await place.work(timing=QUICK)
    await place.until(lambda: place.value("select status from pgorch.hook_list") == "paused")
    place.start(graph)
    receiver.status = 200
    place.value("select pgorch.resume_hook('all')")
    await place.until(lambda: statuses(place)[1:] == ["delivered"])


async def test_a_worker_that_ends_waits_for_the_answer_and_records_it(
    place: Place, receiver: Receiver
) -> None:
    hook(place, receiver)
    place.start(asking(place))
    receiver.hold.clear()
    worker = await place.work(timing=QUICK)
    await place.until(lambda: receiver.messages)
    worker.drain()
    receiver.hold.set()
    await place.stop()
    assert statuses(place) == ["delivered"]


@pytest.mark.sessions
async def test_the_connection_can_be_lost(place: Place, receiver: Receiver) -> None:
    hook(place, receiver)
    graph = asking(place)
    await place.work(timing=QUICK)
    kill = (
        "select count(pg_terminate_backend(a.pid)) from pg_stat_activity a"
        " where a.datname = current_database() and a.application_name = 'pgorch worker hooks'"
    )
    for count in range(1, 4):
        place.start(graph)
        await place.until(lambda: place.value(kill))
        await place.until(lambda count=count: statuses(place) == ["delivered"] * count)  # type: ignore[misc]


@pytest.mark.sessions
async def test_without_hooks_no_connection_is_held_and_the_first_hook_is_seen_at_once(
    place: Place, receiver: Receiver
) -> None:
    await place.work(timing=QUICK)
    await place.until(lambda: sessions(place.connection, "listener"))
    await place.until(lambda: not sessions(place.connection, "hooks"))
    hook(place, receiver)
    place.start(asking(place))
    await place.until(lambda: statuses(place) == ["delivered"], seconds=10)


async def test_no_log_has_a_secret_or_what_was_sent(
    place: Place, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hook(place, receiver)
    receiver.status = 500
    run_id = place.start(asking(place))
    await place.work(timing=QUICK)
    await place.until(lambda: receiver.messages)
    place.value("select pgorch.cancel(%s)", run_id)
    await place.stop()
    assert SECRET not in caplog.text
    assert "v1," not in caplog.text
    assert "Go on?" not in caplog.text
