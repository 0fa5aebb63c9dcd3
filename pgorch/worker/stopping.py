"""How a worker process is told to stop: the first SIGTERM or SIGINT drains, the second ends it at once."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger("pgorch.worker")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def on_signals(drain: Callable[[], None]) -> Iterator[None]:
    """While inside, signals are answered; only in the main thread, since only that one gets them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    received: list[signal.Signals] = []

    def answer(number: signal.Signals) -> None:
        received.append(number)
        if len(received) == 1:
            log.info("%s: draining; a second signal ends the process at once", number.name)
            drain()
        else:
            log.warning("%s again: the process ends, its steps go to other workers", number.name)
            logging.shutdown()
            os._exit(128 + number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, answer, number)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
