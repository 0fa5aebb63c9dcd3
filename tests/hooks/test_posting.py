"""A message is posted once, to the address that was checked, and the status of the answer is what counts."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pgorch.hooks import post as posting
from pgorch.hooks.post import Answer, post
from tests.support.receiver import Receiver, receiving

HEADERS = {"webhook-id": "msg_1"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


async def sent(url: str, seconds: float = 10, allow_private: bool = True) -> Answer:
    return await post(url, HEADERS, b'{"a": 1}', seconds=seconds, allow_private=allow_private)


@asynccontextmanager
async def answering(*pieces: bytes, then_hold: bool = False) -> AsyncIterator[str]:
    """A server that sends these bytes, whatever it is asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if then_hold:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_it_arrives_whole_with_its_path_and_headers(receiver: Receiver) -> None:
    assert await sent(receiver.url) == Answer(204)
    [message] = receiver.messages
    assert (message.path, message.body, message.id) == ("/hook?a=1", b'{"a": 1}', "msg_1")
    assert message.headers["host"] == f"127.0.0.1:{receiver.port}"


@pytest.mark.parametrize("status", [200, 302, 410, 500])
async def test_the_status_is_the_answer_and_no_redirect_is_followed(receiver: Receiver, status: int) -> None:
    receiver.status, receiver.location = status, f"http://127.0.0.1:{receiver.port}/elsewhere"
    assert await sent(receiver.url) == Answer(status)
    assert [message.path for message in receiver.messages] == ["/hook?a=1"]


async def test_no_proxy_of_the_environment_is_asked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert await sent(receiver.url) == Answer(204)


async def test_a_private_address_is_not_even_connected_to(receiver: Receiver) -> None:
    answer = await sent(receiver.url, allow_private=False)
    assert answer.status is None
    assert "no public address" in str(answer.problem)
    assert receiver.messages == []


async def test_the_connection_goes_to_the_address_that_was_checked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def checked(host: str, port: int, *, allow_private: bool) -> list[str]:
        assert host == "hooks.example"
        return ["127.0.0.1"]

    monkeypatch.setattr(posting, "checked_addresses", checked)
    assert await sent(f"http://hooks.example:{receiver.port}/") == Answer(204)
    assert receiver.messages[0].headers["host"] == f"hooks.example:{receiver.port}"


async def test_the_next_address_is_tried_if_one_does_not_take_the_connection(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def checked(host: str, port: int, *, allow_private: bool) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    monkeypatch.setattr(posting, "checked_addresses", checked)
    assert await sent(receiver.url) == Answer(204)


async def test_who_does_not_answer_is_given_up(receiver: Receiver) -> None:
    receiver.hold.clear()
    answer = await sent(receiver.url, seconds=0.3)
    assert answer == Answer(None, "no answer within 0.3 s")


async def test_nobody_there() -> None:
    with receiving() as gone:
        url = gone.url
    answer = await sent(url)
    assert answer.status is None
    assert "no connection" in str(answer.problem)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"SSH-2.0-OpenSSH_9.6\r\n"], "what came back is no HTTP"),
        (
            [b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"],
            "what came back is no HTTP",
        ),
        ([b"HTTP/1.1 200 O"], "the connection was closed without an answer"),
        ([], "the connection was closed without an answer"),
    ],
)
async def test_what_is_no_answer(pieces: list[bytes], expected: str) -> None:
    async with answering(*pieces) as url:
        assert await sent(url) == Answer(None, expected)


async def test_an_answer_in_pieces_after_a_provisional_one_and_with_an_endless_body() -> None:
    endless = [b"x" * 30000] * 5
    head = [b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 20", b"1 Created\r\ncontent-length: 99999999\r\n\r\n"]
    async with answering(*head, *endless, then_hold=True) as url:
        assert await sent(url) == Answer(201)


async def test_a_status_counts_although_the_rest_never_comes() -> None:
    async with answering(b"HTTP/1.1 500 No\r\ncontent-length: 10\r\n\r\n", then_hold=True) as url:
        assert await sent(url, seconds=0.5) == Answer(500)


async def test_whoever_is_cancelled_ends_at_once(receiver: Receiver) -> None:
    receiver.hold.clear()
    task = asyncio.create_task(sent(receiver.url, seconds=30))
    while not receiver.messages:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)


CERTIFICATE = Path(__file__).with_name("hooks.example.pem")


@asynccontextmanager
async def answering_over_tls(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """A server that shows the certificate of hooks.example; every name leads to it. Yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def checked(host: str, port: int, *, allow_private: bool) -> list[str]:
        return ["127.0.0.1"]

    monkeypatch.setattr(posting, "checked_addresses", checked)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_certificate_that_nobody_vouches_for_is_not_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering_over_tls(monkeypatch) as port:
        answer = await sent(f"https://hooks.example:{port}/")
    assert answer.status is None
    assert "TLS: self" in str(answer.problem)


async def test_the_certificate_is_to_be_that_of_the_name_and_not_of_the_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(posting, "_tls", lambda: ssl.create_default_context(cafile=CERTIFICATE))
    async with answering_over_tls(monkeypatch) as port:
        assert await sent(f"https://hooks.example:{port}/") == Answer(200)
        other = await sent(f"https://other.example:{port}/")
    assert other.status is None
    assert "other.example" in str(other.problem)
