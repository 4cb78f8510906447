"""A server that answers what a test has written down."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

HANG_UP = None


class Script:
    """What a server answers in turn, and what it was asked.

    An answer is the bytes to send, or :data:`HANG_UP`. When they have run out, the last one is
    given again. ``pause_s`` is how long the server thinks before each.
    """

    def __init__(self, *answers: bytes | None, pause_s: Sequence[float] = ()) -> None:
        self.answers = list(answers)
        self.pauses_s = list(pause_s)
        self.requests: list[bytes] = []
        self.connections = 0
        self.asked = asyncio.Event()
        self.url = ""
        self._serving: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer on one connection until somebody hangs up."""
        self.connections += 1
        self._serving[asyncio.current_task()] = writer
        try:
            while request := await _read_request(reader):
                self.requests.append(request)
                self.asked.set()
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if self.pauses_s:
                    await asyncio.sleep(self.pauses_s.pop(0))
                if answer is HANG_UP:
                    break
                writer.write(answer)
                if b"connection: close" in answer:
                    break
        finally:
            writer.close()

    async def end(self) -> None:
        """Hang up on everybody and wait until nobody is served any more."""
        for writer in self._serving.values():
            writer.close()
        await asyncio.gather(*[task for task in self._serving if task is not None])


@asynccontextmanager
async def scripted(*answers: bytes | None, pause_s: Sequence[float] = ()) -> AsyncIterator[Script]:
    """Yield a script that is being played on a free port of loopback."""
    script = Script(*answers, pause_s=pause_s)
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    script.url = "http://{}:{}".format(*server.sockets[0].getsockname())
    try:
        yield script
    finally:
        server.close()
        await server.wait_closed()
        await script.end()


def answer(status: int, body: bytes = b"", *headers: str) -> bytes:
    """Return an HTTP answer."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    """Return a whole request, or nothing when the client has hung up."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
        return head + await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
