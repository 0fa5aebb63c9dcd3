"""How a peer's process is told what to do: a line of JSON in, a line of JSON out. Standard library only."""

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

OUTPUT = {"value": 7, "status": "ok"}
# A hundred bytes, for the runs with a large state.
HUNDRED = {"text": "x" * 89}


def serve(handlers: dict[str, Callable[..., Any]]) -> None:
    """Answers until the input ends. What the peer itself prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps({"value": "ready"}), file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = {"value": handlers[order.pop("do")](**order)}
        except BaseException:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)
    os._exit(0)


def repeat(seconds: float, threads: int, act: Callable[[int], object]) -> dict[str, float]:
    """Calls `act(number of the thread)` in threads, again and again: how often in how many seconds."""
    counts = [0] * threads
    problems: list[BaseException] = []
    began = time.perf_counter()

    def work(number: int) -> None:
        try:
            while time.perf_counter() - began < seconds and not problems:
                act(number)
                counts[number] += 1
        except BaseException as problem:
            problems.append(problem)

    running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if problems:
        raise problems[0]
    return {"count": sum(counts), "seconds": time.perf_counter() - began}


def milliseconds(samples: int, act: Callable[[], object]) -> list[float]:
    """How long each of some calls takes."""
    took = []
    for _ in range(samples):
        began = time.perf_counter()
        act()
        took.append((time.perf_counter() - began) * 1000)
    return took
