"""DBOS: workflows called in the process, by four threads.

`python -m tests.bench.peers.dbos_process URL NUMBER`
"""

import sys
import threading
import time
from typing import Any

import sqlalchemy
from dbos import DBOS, DBOSClient, SetWorkflowID

from tests.bench.peers.speaking import HUNDRED, OUTPUT, milliseconds, repeat, serve

THREADS = 4
_QUEUE = "nobody_listens"


@DBOS.step()  # type: ignore[untyped-decorator]
def step() -> dict[str, Any]:
    return OUTPUT


@DBOS.step()  # type: ignore[untyped-decorator]
def large_step() -> dict[str, Any]:
    return HUNDRED


@DBOS.step()  # type: ignore[untyped-decorator]
def now() -> float:
    return time.time()


@DBOS.workflow()  # type: ignore[untyped-decorator]
def chain(steps: int) -> dict[str, Any]:
    output = {}
    for _ in range(steps):
        output = step()
    return output


@DBOS.workflow()  # type: ignore[untyped-decorator]
def large(steps: int, state: dict[str, Any]) -> int:
    return sum(len(large_step()["text"]) for _ in range(steps))


@DBOS.workflow()  # type: ignore[untyped-decorator]
def asks() -> float:
    DBOS.recv("go", timeout_seconds=60)
    return float(now())


def resumes(samples: int) -> list[float]:
    took = []
    for number in range(samples):
        name = f"ask-{number}"
        with SetWorkflowID(name):
            handle = DBOS.start_workflow(asks)
        time.sleep(0.1)
        sent = time.time()
        DBOS.send(name, "yes", topic="go")
        took.append((handle.get_result() - sent) * 1000)
    return took


def starts(seconds: float) -> float:
    done = repeat(seconds, 1, lambda _: DBOS.enqueue_workflow(_QUEUE, chain, 10))
    return done["count"] / done["seconds"]


def bulk_starts(url: str, seconds: float) -> float:
    """A hundred to a transaction."""
    client = DBOSClient(system_database_url=url)
    engine = sqlalchemy.create_engine(url)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        with engine.begin() as connection:
            for _ in range(100):
                client.enqueue_in_transaction(
                    connection, {"queue_name": _QUEUE, "workflow_name": "chain"}, 10
                )
        count += 100
    return count / (time.perf_counter() - began)


def main(url: str, number: str) -> None:
    DBOS(
        config={
            "name": "bench",
            "system_database_url": url,
            "log_level": "ERROR",
            "run_admin_server": False,
            "executor_id": number,
            "application_version": "1",
            "sys_db_pool_size": 20,
        }
    )
    DBOS.listen_queues([])
    DBOS.launch()
    DBOS.register_queue(_QUEUE)
    serve(
        {
            "chains": lambda seconds, steps: repeat(seconds, THREADS, lambda _: chain(steps)),
            "large": lambda seconds, steps, state: repeat(seconds, THREADS, lambda _: large(steps, state)),
            "latency": lambda samples, steps: milliseconds(samples, lambda: chain(steps)),
            "resumes": resumes,
            "starts": starts,
            "bulk_starts": lambda seconds: bulk_starts(url, seconds),
            "threads": threading.active_count,
        }
    )


main(*sys.argv[1:])
