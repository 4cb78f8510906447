"""The client: one answer for one request, whatever the server does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.replay.scripted import HANG_UP, Script, answer, scripted
from wallet.replay.client import RESPONSE_BYTES_MAX, HttpClient

TIMEOUT_S = 5.0


@asynccontextmanager
async def client_of(script: Script, *, timeout_s: float = TIMEOUT_S) -> AsyncIterator[HttpClient]:
    """Yield a client of the server that plays the script."""
    client = HttpClient(script.url, timeout_s=timeout_s)
    try:
        yield client
    finally:
        client.close()


async def test_requests_go_out_whole_and_share_a_connection() -> None:
    answers = answer(200, b"one"), answer(404, b"two")
    async with scripted(*answers) as script, client_of(script) as client:
        first = await client.request("POST", "/v1/a", {"authorization": "Bearer x"}, b"{}")
        second = await client.request("GET", "/v1/b")
    assert (first.status, first.body, second.status, second.body) == (200, b"one", 404, b"two")
    authority = script.url.removeprefix("http://").encode()
    assert script.requests == [
        b"POST /v1/a HTTP/1.1\r\nhost: " + authority + b"\r\ncontent-length: 2\r\n"
        b"authorization: Bearer x\r\n\r\n{}",
        b"GET /v1/b HTTP/1.1\r\nhost: " + authority + b"\r\ncontent-length: 0\r\n\r\n",
    ]
    assert script.connections == 1


async def test_header_names_are_told_in_lower_case() -> None:
    told = answer(200, b"", "Retry-After: 3", "X-ID: Ab")
    async with scripted(told) as script, client_of(script) as client:
        response = await client.request("GET", "/")
    assert response.headers == {"content-length": "0", "retry-after": "3", "x-id": "Ab"}


async def test_a_body_in_chunks_is_put_together() -> None:
    chunked = (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    async with scripted(chunked) as script, client_of(script) as client:
        assert (await client.request("GET", "/")).body == b"abcde"
        assert (await client.request("GET", "/")).body == b"abcde"


async def test_an_announcement_is_not_taken_for_the_answer() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    async with scripted(early + answer(201, b"made")) as script, client_of(script) as client:
        response = await client.request("POST", "/")
    assert (response.status, response.body) == (201, b"made")
    assert "link" not in response.headers


async def test_a_connection_that_the_server_closes_is_opened_again() -> None:
    last = answer(200, b"bye", "connection: close")
    async with scripted(last, answer(200, b"again")) as script, client_of(script) as client:
        assert (await client.request("GET", "/")).body == b"bye"
        assert (await client.request("GET", "/")).body == b"again"
    assert script.connections == 2


@pytest.mark.parametrize(
    "broken",
    [
        HANG_UP,
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\nhalf",
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n\0\1",
        answer(200, b"x" * (RESPONSE_BYTES_MAX + 1)),
    ],
    ids=["hang-up", "half", "mail", "length", "upgrade", "huge"],
)
async def test_a_broken_answer_is_an_error_and_the_next_request_begins_anew(
    broken: bytes | None,
) -> None:
    async with scripted(broken, answer(200, b"fine")) as script, client_of(script) as client:
        with pytest.raises(ConnectionError):
            await client.request("GET", "/")
        assert (await client.request("GET", "/")).body == b"fine"
    assert script.connections == 2


async def test_an_answer_that_comes_too_late_is_given_to_nobody() -> None:
    answers = answer(200, b"late"), answer(200, b"mine")
    async with (
        scripted(*answers, pause_s=[0.4, 0.15]) as script,
        client_of(script, timeout_s=0.3) as client,
    ):
        with pytest.raises(TimeoutError):
            await client.request("GET", "/")
        # The late answer is written while this one is waited for.
        assert (await client.request("GET", "/")).body == b"mine"
    assert script.connections == 2


async def test_a_client_that_was_interrupted_takes_no_old_answer_for_a_new_one() -> None:
    answers = answer(200, b"old"), answer(200, b"new")
    async with scripted(*answers, pause_s=[0.02, 0.05]) as script, client_of(script) as client:
        request = asyncio.ensure_future(client.request("GET", "/"))
        await script.asked.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert (await client.request("GET", "/")).body == b"new"
    assert script.connections == 2


async def test_a_server_that_is_not_there_is_an_error_of_the_system() -> None:
    async with scripted(b"") as script:
        pass
    async with client_of(script) as client:
        with pytest.raises(OSError, match="Connect call failed"):
            await client.request("GET", "/")


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://127.0.0.1", "http://"])
def test_what_is_no_server_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="is not a server: write it like"):
        HttpClient(url)
