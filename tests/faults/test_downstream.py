"""Fault 39: what tools call is down for a while. A limit bounds how often it is asked, and each attempt that
counts was a call."""

import asyncio
import time
import urllib.request
from typing import Any

import pytest

from tests.faults.proof import injected
from tests.support.receiver import Receiver, receiving
from tests.worker.conftest import Place, place

__all__ = ["place"]

pytestmark = pytest.mark.long
RUNS = 40
DOWN_SECONDS = 8.0
PER_SECOND, BURST = 10, 5
RETRY = {
    "max_attempts": 30,
    "initial_interval": "0.2s",
    "backoff_factor": 2,
    "max_interval": "2s",
    "jitter": 0.5,
}


def call(url: str, key: str) -> None:
    body = b'{"type": "call"}'
    request = urllib.request.Request(url, data=body, headers={"webhook-id": key})
    with urllib.request.urlopen(request, timeout=1):
        pass


@pytest.mark.parametrize("how", ["it answers 503", "it hangs"])
async def test_what_is_down_is_asked_no_more_often_than_its_limit_says(place: Place, how: str) -> None:
    with receiving() as sink:

        @place.tool(retry=RETRY)
        def ask(n: int) -> dict[str, Any]:
            call(sink.url, str(n))
            return {"asked": n}

        @place.tool
        def other() -> None: ...

        graph, unrelated = place.graph("ask"), place.graph("other")
        place.value(
            "select (pgorch.set_limit('tool', 'ask', p_rate => %s, p_per => '1 second', p_burst => %s)).kind",
            PER_SECOND,
            BURST,
        )
        go_down(sink, how)
        began_at = time.monotonic()
        await place.work(slots=10)
        runs = place.start_many(graph, [{"n": n} for n in range(RUNS)])
        await asyncio.sleep(DOWN_SECONDS)
        # Whoever does not need it is not held up by those that wait for it.
        assert (await place.ended(place.start(unrelated)))["status"] == "completed"
        down_for = time.monotonic() - began_at
        asked = len(sink.messages)
        injected(how, asked, f"{asked} calls in {down_for:.1f} s, none answered with success")
        assert asked <= BURST + PER_SECOND * down_for * 1.1
        assert {place.run(run)["finished_at"] for run in runs} == {None}
        sink.status = 204
        sink.hold.set()
        await place.all_ended()
        assert {place.run(run)["status"] for run in runs} == {"completed"}
        attempts = place.value(
            "select count(*) from pgorch.history where node = 'ask' and attempt is not null"
        )
        print(f"{attempts} attempts were counted, {len(sink.messages)} calls arrived")
        assert attempts == len(sink.messages)


def go_down(sink: Receiver, how: str) -> None:
    if how == "it hangs":
        sink.hold.clear()
    else:
        sink.status = 503
