"""LangGraph with its Postgres saver: `invoke` from two threads, each with a connection of its own.

`python -m tests.bench.peers.langgraph_process URL NUMBER`
"""

import itertools
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TypedDict

from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from psycopg import Connection
from psycopg.rows import dict_row

from tests.bench.peers.speaking import HUNDRED, OUTPUT, milliseconds, repeat, serve

THREADS = 2
_numbers = itertools.count()


class Chained(TypedDict, total=False):
    value: int
    status: str
    text: str
    blob: str


class Asked(TypedDict, total=False):
    at: float


def _chain(saver: Any, steps: int, output: dict[str, Any]) -> Any:
    graph = StateGraph(Chained)
    for number in range(steps):
        graph.add_node(f"n{number}", lambda state: output)
        graph.add_edge(f"n{number - 1}" if number else START, f"n{number}")
    graph.add_edge(f"n{steps - 1}", END)
    return graph.compile(checkpointer=saver)


def _approval(saver: Any) -> Any:
    def ask(state: Asked) -> dict[str, Any]:
        interrupt("go?")
        return {}

    graph = StateGraph(Asked)
    graph.add_node("ask", ask)
    graph.add_node("go", lambda state: {"at": time.time()})
    graph.add_edge(START, "ask")
    graph.add_edge("ask", "go")
    return graph.compile(checkpointer=saver)


def _thread() -> Any:
    return {"configurable": {"thread_id": f"{os.getpid()}-{next(_numbers)}"}, "recursion_limit": 1000}


class Peer:
    def __init__(self, url: str) -> None:
        self._savers = [
            PostgresSaver(Connection.connect(url, autocommit=True, prepare_threshold=0, row_factory=dict_row))
            for _ in range(THREADS)
        ]
        self._savers[0].setup()

    def _caller(self, steps: int, output: dict[str, Any], state: dict[str, Any]) -> Callable[[int], object]:
        graphs = [_chain(saver, steps, output) for saver in self._savers]
        return lambda number: graphs[number].invoke(state, _thread(), durability="sync")

    def chains(self, seconds: float, steps: int) -> Any:
        return repeat(seconds, THREADS, self._caller(steps, OUTPUT, {"value": 0}))

    def large(self, seconds: float, steps: int, state: dict[str, Any]) -> Any:
        return repeat(seconds, THREADS, self._caller(steps, HUNDRED, state))

    def latency(self, samples: int, steps: int) -> list[float]:
        call = self._caller(steps, OUTPUT, {"value": 0})
        return milliseconds(samples, lambda: call(0))

    def resumes(self, samples: int) -> list[float]:
        graph = _approval(self._savers[0])
        took = []
        for _ in range(samples):
            thread = _thread()
            graph.invoke({}, thread, durability="sync")
            sent = time.time()
            state = graph.invoke(Command(resume="yes"), thread, durability="sync")
            took.append((state["at"] - sent) * 1000)
        return took


peer = Peer(sys.argv[1])
serve({name: getattr(peer, name) for name in ("chains", "large", "latency", "resumes")})
