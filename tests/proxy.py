"""A proxy between a teller and PostgreSQL that loses a connection exactly when a test wants it to.

It knows the message that is a COMMIT (PostgreSQL documentation, "Frontend/Backend Protocol"), so
that "applied, but the reply was lost", "arrived late" and "never arrived" are real.
"""

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

_COMMITS: Final = {
    b"Q" + (4 + len(text)).to_bytes(4, "big") + text
    for text in (b"COMMIT\0", b"COMMIT AND CHAIN\0")
}
"""The simple queries by which a teller commits, as they stand on the wire."""

_CHUNK_BYTES: Final = 65_536


class Fault(StrEnum):
    """What becomes of a COMMIT, and of the connection it is sent on."""

    NEVER_ARRIVES = "the connection is lost before the server has seen the COMMIT"
    ARRIVES_LATE = "the connection is lost, and the server sees the COMMIT once it is let go"
    REPLY_IS_LOST = "the COMMIT is applied, and the connection is lost before the reply"
    IS_HELD = "the COMMIT waits in the proxy until it is let go, and then goes its way"


class Proxy:
    """Forwards connections; ``faults`` are those that the next COMMITs meet, one each."""

    def __init__(self, *, host: str, port: int) -> None:
        self.faults: list[Fault] = []
        self.down_after_fault = False
        self.is_up = True
        self.connections = 0
        self.refused = asyncio.Event()
        self.held = asyncio.Event()
        self.let_go = asyncio.Event()
        self._host, self._port = host, port
        self._open: set[StreamWriter] = set()

    def go_down(self) -> None:
        """Lose every connection now, and every new one at once until ``is_up`` is set again."""
        self.is_up = False
        for writer in self._open:
            writer.transport.abort()

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Forward one connection until either side ends it."""
        self.connections += 1
        if not self.is_up:
            self.refused.set()
            writer.transport.abort()
            return
        server = await asyncio.open_connection(self._host, self._port)
        self._open |= {writer, server[1]}
        replies = asyncio.create_task(_forward_replies(server[0], writer))
        try:
            while data := await _read(reader):
                if data in _COMMITS and self.faults:
                    await self._meet(self.faults.pop(0), data, server, writer, replies)
                else:
                    server[1].write(data)
        finally:
            await _cancel(replies)
            for one in (writer, server[1]):
                one.transport.abort()
                self._open.discard(one)

    async def _meet(
        self,
        fault: Fault,
        commit: bytes,
        server: tuple[StreamReader, StreamWriter],
        client: StreamWriter,
        replies: "asyncio.Task[None]",
    ) -> None:
        if fault is not Fault.IS_HELD:
            await _cancel(replies)
        if fault in (Fault.NEVER_ARRIVES, Fault.ARRIVES_LATE):
            client.transport.abort()
        if fault in (Fault.IS_HELD, Fault.ARRIVES_LATE):
            self.held.set()
            await self.let_go.wait()
        if fault is not Fault.NEVER_ARRIVES:
            server[1].write(commit)
        if fault in (Fault.ARRIVES_LATE, Fault.REPLY_IS_LOST):
            assert await _read(server[0]), "the server did not answer the COMMIT"
            client.transport.abort()
        if self.down_after_fault:
            self.go_down()


async def _read(reader: StreamReader) -> bytes:
    """Return what has arrived; nothing when the other side has gone."""
    with contextlib.suppress(OSError):
        return await reader.read(_CHUNK_BYTES)
    return b""


async def _forward_replies(server: StreamReader, client: StreamWriter) -> None:
    while data := await _read(server):
        client.write(data)
    client.transport.abort()


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def open_proxy(database_url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """Yield a proxy in front of a database, and the database's URL through it."""
    parts = urlsplit(database_url)
    proxy = Proxy(host=parts.hostname or "127.0.0.1", port=parts.port or 5432)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    user = parts.netloc.rpartition("@")[0]
    try:
        yield proxy, parts._replace(netloc=f"{user}@127.0.0.1:{port}").geturl()
    finally:
        proxy.go_down()
        listener.close()
        await listener.wait_closed()
