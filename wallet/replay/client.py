"""A lean HTTP/1.1 client: one keep-alive connection, one request at a time.

A replay measures the server, so the client must not be what it measures: this one costs about a
tenth of a general one. It never retries by itself, because only the caller knows what a second
attempt means.
"""

import asyncio
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, cast
from urllib.parse import urlsplit

import httptools

RESPONSE_BYTES_MAX: Final = 1_048_576
TIMEOUT_S: Final = 30.0

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Response(NamedTuple):
    """An answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class HttpClient:
    """One connection to ``base_url``, opened by the first request and again after a loss."""

    def __init__(self, base_url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Take ``http://host:port`` or ``https://host:port``; ValueError for anything else."""
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            message = f"{base_url!r} is not a server: write it like http://127.0.0.1:8000"
            raise ValueError(message)
        self._ssl = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname
        self._port = parts.port or (443 if self._ssl else 80)
        self._authority = parts.netloc.rpartition("@")[2]
        self._timeout_s = timeout_s
        self._exchange: _Exchange | None = None

    async def request(
        self, method: str, path: str, headers: Mapping[str, str] = _NO_HEADERS, body: bytes = b""
    ) -> Response:
        """Send one request and return its answer.

        Raises OSError when the server cannot be reached or hangs up, and TimeoutError after
        ``timeout_s``; in both cases the server may or may not have acted.
        """
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: {self._authority}\r\n"
            f"content-length: {len(body)}\r\n{lines}\r\n"
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                exchange = await self._connected()
                return await exchange.send(head.encode("latin-1") + body)
        except BaseException:
            # Whatever arrives late on this connection would be taken for the next answer.
            self.close()
            raise

    def close(self) -> None:
        """Hang up; the next request connects again."""
        if self._exchange is not None:
            self._exchange.hang_up()
            self._exchange = None

    async def _connected(self) -> "_Exchange":
        if self._exchange is None or not self._exchange.open:
            loop = asyncio.get_running_loop()
            _, self._exchange = await loop.create_connection(
                _Exchange, self._host, self._port, ssl=self._ssl
            )
        return self._exchange


class _Exchange(asyncio.Protocol):
    """A connection: bytes of one request out, one parsed response in."""

    def __init__(self) -> None:
        self.open = False
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Response] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body = b""

    async def send(self, data: bytes) -> Response:
        """Write the request and wait for its answer."""
        if self._transport is None or self._waiting is not None:
            message = "one request at a time on one connection"
            raise RuntimeError(message)
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return await self._waiting

    def hang_up(self) -> None:
        """Close at once; bytes not yet sent are dropped."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, not a check: uvloop's transports do not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self.open = True

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(ConnectionError(f"the answer was not HTTP/1.1: {error}"))
            self.hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self._fail(ConnectionResetError("the server hung up") if exc is None else exc)

    def _fail(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._headers = {}
        self._body = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > RESPONSE_BYTES_MAX:
            self._fail(ConnectionError(f"the answer exceeds {RESPONSE_BYTES_MAX} bytes"))
            self.hang_up()

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # noqa: PLR2004 - 1xx only announces the answer
            return
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(Response(status, self._headers, self._body))
        if not self._parser.should_keep_alive():
            self.hang_up()
