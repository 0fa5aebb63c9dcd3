"""A STAND-IN for a language model: no model at all, but a script that speaks its JSON, chat-completions.

It answers a customer's complaint: first it asks for the tool look_up_order for each order that is named, then
for a refund that is too generous, then it says in words what came of it. The same messages get the same
answer. It counts how often each turn was asked for, and can keep one waiting, so that who asks can be killed.

    python3 demos/agent/stand_in_model.py [PORT]

serves it by itself, at http://127.0.0.1:PORT/v1/chat/completions.
"""

import json
import re
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAME = "stand-in"
_PATH = "/v1/chat/completions"
_PATIENCE = 60.0
Message = dict[str, Any]


def answer(messages: list[Message]) -> Message:
    """The next message of the assistant."""
    results = [json.loads(message["content"]) for message in messages if message["role"] == "tool"]
    if not results:
        asked = " ".join(message["content"] for message in messages if message["role"] == "user")
        return _calls(
            0, [("look_up_order", {"number": int(found)}) for found in re.findall(r"\b\d{4}\b", asked)]
        )
    last = results[-1]
    if "refunded" in last:
        return _says(
            f"I am sorry. {last['refunded']:.2f} for order {last['number']} are on their way to you."
        )
    if "refused" in last:
        return _says(f"I am sorry, I may not refund this. {last['refused']}".strip())
    broken = next((result for result in results if result.get("status") == "delivered"), None)
    if broken is None:
        return _says("I find no order of yours that has been delivered.")
    generous = {"number": broken["number"], "amount": broken["price"] * 2}
    return _calls(len(results), [("refund", generous)])


def _says(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _calls(before: int, calls: list[tuple[str, dict[str, Any]]]) -> Message:
    if not calls:
        return _says("Which order is it? Please tell me its number.")
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": f"call_{at}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for at, (name, arguments) in enumerate(calls, before + 1)
        ],
    }


class StandInModel:
    """The script behind a port of this machine, in a thread between `start` and `stop`."""

    def __init__(self, port: int = 0) -> None:
        self.turns: Counter[int] = Counter()
        self._holds: dict[int, _Hold] = {}
        stand_in = self

        class Handler(_Handler):
            model = stand_in

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True

    @property
    def address(self) -> str:
        """The base URL, as clients of such endpoints want it."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self) -> None:
        self._server.serve_forever()

    def forget(self) -> None:
        """Count anew."""
        self.turns.clear()

    def hold(self, turn: int) -> "_Hold":
        """Keep the next answer of this turn, 1 being the first, until it is released."""
        self._holds[turn] = _Hold()
        return self._holds[turn]

    def reply(self, request: dict[str, Any]) -> dict[str, Any]:
        """The body of the answer to a request."""
        messages = request["messages"]
        turn = 1 + sum(message["role"] == "assistant" for message in messages)
        self.turns[turn] += 1
        hold = self._holds.pop(turn, None)
        if hold:
            hold.reached.set()
            hold.released.wait(_PATIENCE)
        message = answer(messages)
        reason = "tool_calls" if "tool_calls" in message else "stop"
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return {"id": f"stand-in-{turn}", "object": "chat.completion", "model": NAME, "choices": [choice]}


class _Hold:
    """An answer that is kept back."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.released = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    model: StandInModel

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path != _PATH:
            return self._send(404, {"error": {"message": f"There is only {_PATH}."}})
        try:
            said = self.model.reply(json.loads(body))
        except (KeyError, TypeError, ValueError) as problem:
            return self._send(400, {"error": {"message": f"This is no request for a chat: {problem!r}"}})
        self._send(200, said)

    def _send(self, code: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        try:
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            pass  # who asked has been killed

    def log_message(self, *_: object) -> None:
        """Says nothing: it serves a demo that tells what happens itself."""


if __name__ == "__main__":
    served = StandInModel(int(sys.argv[1]) if sys.argv[1:] else 8010)
    print(f"A stand-in for a model, no model: {served.address}", flush=True)
    served.serve()
