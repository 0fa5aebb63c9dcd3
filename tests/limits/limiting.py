"""Words of the tests of limits: graphs with keys, many workers at once, and what is under way."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

from psycopg.types.json import Jsonb

from tests.support.engine import Engine, Step, Worker, definition
from tests.support.races import open_connection

CUSTOMER = "${$.customer}"


def keyed(engine: Engine, concurrency: int, key: str = CUSTOMER, node: str = "a", graph: Any = None) -> str:
    """A graph in which `node` has a concurrency key; its id."""
    graph = graph or definition("a")
    for each in graph["nodes"]:
        if each["id"] == node:
            each |= {"concurrency_key": key, "concurrency": concurrency}
    return engine.graph(graph)


def start(engine: Engine, graph: str, customers: Iterable[Any], **options: Any) -> list[Any]:
    return [engine.start(graph, {"customer": c}, bucket=0, **options) for c in customers]


def start_many(engine: Engine, graph: str, customer: Any, count: int) -> None:
    engine.value(
        "select pgorch.start_many(%s, array_fill(%s::jsonb, array[%s::int]), p_bucket => 0)",
        graph,
        Jsonb({"customer": customer}),
        count,
    )


def limit(engine: Engine, kind: str, name: str, **values: Any) -> None:
    arguments = {"p_kind": kind, "p_name": name} | {f"p_{key}": value for key, value in values.items()}
    text = ", ".join(f"{key} => %s" for key in arguments)
    engine.value(f"select (pgorch.set_limit({text})).kind", *arguments.values())


def claim(worker: Worker, want: int = 100) -> list[Step]:
    return [s for s in worker.advance([], want, bucket=0) if s.kind == "step"]


def hand_in(worker: Worker, steps: Iterable[Step], want: int = 0) -> list[Step]:
    return [s for s in worker.advance([(s, "success", {}) for s in steps], want) if s.kind == "step"]


def at_once(dsn: str, workers: list[Worker], act: Callable[[Worker], None]) -> None:
    """Each of the workers acts in a thread and on a connection of its own."""
    problems: list[BaseException] = []

    def work(worker: Worker) -> None:
        try:
            with open_connection(dsn) as connection:
                worker.connection = connection
                act(worker)
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=[w], daemon=True) for w in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(t.is_alive() for t in threads), "a worker still works"
    assert problems == []


def in_rounds(engine: Engine, dsn: str, workers: int = 8) -> list[list[str]]:
    """Many workers perform all there is, in rounds: all claim at once and again, and only then all hand in.
    The nodes that were under way in each round."""
    together = threading.Barrier(workers, timeout=60)
    lock = threading.Lock()
    rounds: list[list[str]] = [[]]

    def work(worker: Worker) -> None:
        while True:
            mine: list[Step] = []
            for _ in range(3):
                together.wait()
                mine += claim(worker, 2)
            with lock:
                rounds[-1] += [str(s.node) for s in mine]
            if together.wait() == 0:
                rounds.append([])
            together.wait()
            if not rounds[-2]:
                return
            hand_in(worker, mine)
            together.wait()

    at_once(dsn, [engine.new_worker(name=f"w{n}") for n in range(workers)], work)
    return rounds[:-2]
