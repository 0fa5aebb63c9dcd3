"""A bad line to the database: it loses requests and replies, goes dead without a word, or is slow."""

import contextlib
import random
import threading
import time

from tests.support.proxy import Proxy, Wire


class Line(Proxy):
    """What it does is chosen by its fields, at any time; `done` counts what was done to how many messages.

    `eat_request`, `eat_reply`: the probability that a message is lost and its connection cut. In the second
    case the server has carried it out. `delay`: seconds that each message takes in each direction. `rate`:
    bytes a second, 0 for no limit. `hold()` makes everything vanish, as a firewall that forgot us: nothing
    arrives, nothing is closed, and connecting succeeds and says nothing.
    """

    def __init__(self, dsn: str, seed: int = 1) -> None:
        self.eat_request = 0.0
        self.eat_reply = 0.0
        self.delay = 0.0
        self.rate = 0.0
        self.held: set[str] = set()
        """Ends of application names whose connections go dead from their next message on."""
        self.eat: tuple[bytes, str] | None = None
        """What messages with this text lose every second time: "request" or "reply"."""
        self.done = {"requests eaten": 0, "replies eaten": 0, "messages held": 0, "commits": 0}
        self._stranded: set[Wire] = set()
        self._random = random.Random(seed)
        super().__init__(dsn)

    def strand(self) -> int:
        """Every connection that is open now is dead for ever; new ones work. Returns how many there were."""
        with self._lock:
            self._stranded |= set(self._wires)
        return len(self._stranded)

    def _requests(self, wire: Wire, replies_lost: threading.Event) -> None:
        # The first message makes the session; what eats it eats only time.
        begun = 0
        with contextlib.suppress(OSError):
            while data := wire.client.recv(65536):
                self._pass_time(wire, len(data))
                wire.name = wire.name or _name(data)
                begun += 1
                chosen = self._chooses(data)
                if chosen == "request" or (begun > 2 and self._draws(self.eat_request)):
                    self.done["requests eaten"] += 1
                    break
                if chosen == "reply" or (begun > 2 and self._draws(self.eat_reply)):
                    self.done["replies eaten"] += 1
                    replies_lost.set()
                wire.server.sendall(data)
        if not replies_lost.is_set():
            wire.cut()

    def _replies(self, wire: Wire, replies_lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := wire.server.recv(65536):
                self._pass_time(wire, len(data))
                if replies_lost.is_set():
                    break
                wire.client.sendall(data)
        wire.cut()

    def _pass_time(self, wire: Wire, size: int) -> None:
        if self.delay or self.rate:
            time.sleep(self.delay + (size / self.rate if self.rate else 0.0))
        if not self._flowing.is_set():
            self.done["messages held"] += 1
            self._flowing.wait()
        while wire in self._stranded or any(wire.name.endswith(end) for end in self.held):
            self.done["messages held"] += 1
            time.sleep(0.05)
            if self._closed:
                return

    def _chooses(self, data: bytes) -> str:
        if self.eat is None or self.eat[0] not in data or self._random.random() < 0.5:
            return ""
        self.done["commits"] += 1
        return self.eat[1]

    def _draws(self, probability: float) -> bool:
        return probability > 0 and self._random.random() < probability


def _name(startup: bytes) -> str:
    parts = startup[8:].split(b"\0")
    values = dict(zip(parts[::2], parts[1::2], strict=False))
    return values.get(b"application_name", b"?").decode()
