"""Sends prepared HTTP requests over keep-alive connections, and costs as little as it can.

It shares the cores with the server it loads, so it renders nothing and parses only the status
line and the length of an answer. Without arrival times it is a closed loop: each connection sends
its next request when its last one is answered. With them it is an open one: requests are due at
their moments whatever the server does, and latency counts from the moment a request was due, not
from when a connection was free to send it (no coordinated omission).
"""

import argparse
import gc
import json
import math
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

HOST: Final = "127.0.0.1"
CREATED: Final = 201
LATE_S: Final = 0.010
"""A request sent this much after it was due is a late start."""

SILENCE_S_MAX: Final = 15.0
"""Without any answer for so long, what is missing is given up and counted."""

SAMPLES_MAX: Final = 3
"""Unexpected answers kept for people to read."""

_RECEIVED_BYTES: Final = 65_536
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length: "


class Job(msgspec.Struct, frozen=True):
    """Requests to send, complete with their heads; ``due_s`` is empty for a closed loop.

    With ``from_everywhere`` each connection comes from a network of its own, all of them loopback.
    """

    port: int
    connections: int
    requests: list[bytes]
    due_s: list[float] = []
    from_everywhere: bool = False


class Result(msgspec.Struct, frozen=True):
    """What came of a job. ``unfulfilled`` are the numbers of requests not answered with 201."""

    answered: int
    seconds: float
    statuses: dict[int, int]
    unfulfilled: list[int]
    samples: list[str]
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p99_ms_by_status: dict[int, float]
    p999_ms: float
    max_ms: float
    late_starts: int
    cpu_s: float

    @property
    def dropped(self) -> int:
        """Requests that never got an answer."""
        return len(self.unfulfilled) - self.answered + self.statuses.get(CREATED, 0)


class _Line:
    """One keep-alive connection with at most one request under way."""

    __slots__ = ("due_at", "number", "received", "socket")

    def __init__(self, port: int, source: str) -> None:
        self.socket = socket.create_connection(
            (HOST, port), timeout=SILENCE_S_MAX, source_address=(source, 0)
        )
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # One small request at a time never fills the buffer, so sending does not block; and
        # receiving is only done when there is something.
        self.socket.settimeout(None)
        self.received = b""
        self.number = 0
        self.due_at = 0.0


class Generator:
    """Runs one job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._lines = [
            _Line(job.port, f"127.0.{n % 250 + 1}.1" if job.from_everywhere else HOST)
            for n in range(job.connections)
        ]
        self._idle = deque(self._lines)
        self._selector = selectors.DefaultSelector()
        self._next = 0
        self._late_starts = self._lost = 0
        self._latencies_s: list[float] = []
        self._latencies_by_status_s: dict[int, list[float]] = {}
        self._fulfilled = bytearray(len(job.requests))
        self._samples: list[str] = []
        for line in self._lines:
            self._selector.register(line.socket, selectors.EVENT_READ, line)

    def run(self) -> Result:
        """Send everything, wait for the answers, hang up."""
        cpu_started_s, started_at = time.process_time(), time.perf_counter()
        finished_at = self._loop(started_at)
        cpu_s = time.process_time() - cpu_started_s
        for line in self._lines:
            line.socket.close()
        self._selector.close()
        by_status_s = self._latencies_by_status_s
        latencies_s = sorted(self._latencies_s)
        return Result(
            answered=len(latencies_s),
            seconds=finished_at - started_at,
            statuses={status: len(all_s) for status, all_s in by_status_s.items()},
            unfulfilled=[n for n, done in enumerate(self._fulfilled) if not done],
            samples=self._samples,
            p50_ms=percentile(latencies_s, 50) * 1000,
            p95_ms=percentile(latencies_s, 95) * 1000,
            p99_ms=percentile(latencies_s, 99) * 1000,
            p99_ms_by_status={
                status: percentile(sorted(all_s), 99) * 1000
                for status, all_s in by_status_s.items()
            },
            p999_ms=percentile(latencies_s, 99.9) * 1000,
            max_ms=percentile(latencies_s, 100) * 1000,
            late_starts=self._late_starts,
            cpu_s=cpu_s,
        )

    def _loop(self, started_at: float) -> float:
        """Return when the last answer came."""
        total, latencies_s = len(self._job.requests), self._latencies_s
        last_answer_at = started_at
        while len(latencies_s) + self._lost < total and self._lines:
            wait_s = self._send_what_is_due(started_at)
            ready = self._selector.select(min(wait_s, SILENCE_S_MAX))
            now = time.perf_counter()
            for key, _ in ready:
                self._receive(key.data, now)
            if ready:
                last_answer_at = now
            elif now - last_answer_at > SILENCE_S_MAX + wait_s:
                break
        return last_answer_at

    def _send_what_is_due(self, started_at: float) -> float:
        """Use idle connections for requests that are due; return how long to wait, in seconds."""
        job, idle = self._job, self._idle
        while idle and self._next < len(job.requests):
            now = time.perf_counter()
            due_at = started_at + job.due_s[self._next] if job.due_s else now
            if due_at > now:
                return due_at - now
            self._late_starts += now - due_at > LATE_S
            line = idle.popleft()
            line.number, line.due_at = self._next, due_at
            self._next += 1
            line.socket.sendall(job.requests[line.number])
        return SILENCE_S_MAX

    def _receive(self, line: _Line, now: float) -> None:
        try:
            data = line.socket.recv(_RECEIVED_BYTES)
        except OSError:
            data = b""
        if not data:
            self._drop(line)
            return
        if line.received:
            data = line.received + data
        if not is_whole(data):
            line.received = data
            return
        line.received = b""
        status = int(data[9:12])
        self._latencies_s.append(now - line.due_at)
        self._latencies_by_status_s.setdefault(status, []).append(now - line.due_at)
        if status == CREATED:
            self._fulfilled[line.number] = 1
        elif len(self._samples) < SAMPLES_MAX:
            self._samples.append(data.decode("utf-8", "replace"))
        self._idle.append(line)

    def _drop(self, line: _Line) -> None:
        """The server hung up: its request stays without an answer and the rest go on."""
        self._selector.unregister(line.socket)
        line.socket.close()
        self._lines.remove(line)
        if line in self._idle:
            self._idle.remove(line)
        else:
            self._lost += 1


def is_whole(data: bytes) -> bool:
    """Whether ``data`` is an HTTP/1.1 answer with its whole body.

    Every answer of the till names its length in lower case, so nothing else is understood.
    """
    head_end = data.find(_HEAD_END)
    if head_end < 0:
        return False
    length_at = data.find(_LENGTH, 0, head_end) + len(_LENGTH)
    length = int(data[length_at : data.find(b"\r\n", length_at)])
    return len(data) >= head_end + len(_HEAD_END) + length


def percentile(ascending: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile: the least value not below ``percent`` of all; 0 of none.

    Source: the nearest-rank method; no value is made up between two measured ones.
    """
    if not ascending:
        return 0.0
    rank = math.ceil(len(ascending) * percent / 100)
    return ascending[max(rank, 1) - 1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job in a file and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", type=Path, help="a Job in MessagePack")
    path: Path = parser.parse_args(arguments).job
    job = msgspec.msgpack.decode(path.read_bytes(), type=Job)
    # A collection in the middle would look like latency of the server.
    gc.disable()
    result: dict[str, Any] = msgspec.to_builtins(Generator(job).run(), str_keys=True)
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
