"""Telling what happens, and claiming nothing that was not looked up."""

import json
import os
import select
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

Found = TypeVar("Found")
PATIENCE = 30.0


class Disproved(Exception):
    """Something that the demo says happens did not happen."""


def chapter(title: str) -> None:
    print(f"\n== {title} ==\n", flush=True)


def tell(text: str) -> None:
    print(f"  {text}", flush=True)


def claim(text: str, truth: object) -> None:
    """Print a claim with its tick; Disproved if it is not true."""
    if not truth:
        raise Disproved(text)
    print(f"  ✓ {text}", flush=True)


def wait_for(what: str, look: Callable[[], Found | None], seconds: float = PATIENCE) -> Found:
    """The first thing that `look` finds; Disproved if there is none within `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise Disproved(f"{what} (waited {seconds:.0f} s for it)")
        time.sleep(0.05)
    return found


class Api:
    """The HTTP API as any client sees it; with a key, as its bearer does."""

    def __init__(self, address: str, key: str | None = None) -> None:
        self.address = address
        self.headers = {"content-type": "application/json"}
        if key:
            self.headers["authorization"] = f"Bearer {key}"

    def get(self, path: str) -> Any:
        return self._call("GET", path, None)

    def post(self, path: str, body: Any) -> Any:
        return self._call("POST", path, body)

    def state(self, run_id: str, wait: int = 0) -> Any:
        """The run as the API shows it; with `wait`, when it has ended or waits for a person, or then."""
        return self.get(f"/graph/state/{run_id}" + (f"?wait={wait}" if wait else ""))

    def _call(self, method: str, path: str, body: Any) -> Any:
        request = urllib.request.Request(
            self.address + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers=self.headers,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(f"{method} {path}", error.code, error.read().decode()) from None


class Refused(Disproved):
    """The API answered with an error."""

    def __init__(self, what: str, code: int, body: str) -> None:
        super().__init__(f"{what} was answered with {code}: {body}")
        self.code = code


def steps_of(document: Any) -> list[str]:
    """The nodes of the steps that were completed or decided, in their order."""
    ended = ("step_completed", "approval_decided")
    return [event["node"] for event in document["history"] if event["kind"] in ended]


def ask(question: str, document: Callable[[], Any], ways: list[str]) -> str | None:
    """What the person at the keyboard decides, or None if somebody decided elsewhere in the meantime.

    `ways` are commands that decide the same from another terminal.
    """
    tell(question)
    tell("Decide here with y or n and Enter, or from another terminal with one of:")
    for way in ways:
        tell(f"    {way}")
    print("  [y/n] ", end="", flush=True)
    while document()["status"] == "awaiting_approval":
        ready, _, _ = select.select([sys.stdin], [], [], 0.5)
        if ready:
            line = _line()
            if not line:
                raise Disproved("The approval was decided (there is no keyboard: use --yes)")
            answer = line.strip().lower()[:1]
            if answer in ("y", "n"):
                return "approved" if answer == "y" else "rejected"
            print("  [y/n] ", end="", flush=True)
    print("\n  Decided elsewhere.", flush=True)
    return None


def _line() -> str:
    """A line of the keyboard, read past Python's buffer, which `select` cannot look into."""
    line = b""
    while not line.endswith(b"\n") and (character := os.read(sys.stdin.fileno(), 1)):
        line += character
    return line.decode(errors="replace")
