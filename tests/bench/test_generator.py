"""The generator: what it counts, what it calls late, and how it reads an answer."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest

from bench.generator import HOST, Generator, Job, Result, is_whole, percentile
from bench.till import arrivals

CREATED = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}"
REFUSED = b"HTTP/1.1 409 Conflict\r\ncontent-length: 4\r\n\r\nused"
REQUEST = b"POST /v1/payments HTTP/1.1\r\ncontent-length: 0\r\n\r\n"

Answer = Callable[[int], bytes | None]


@contextmanager
def server(answer: Answer) -> Iterator[int]:
    """Answer the n-th request of all with ``answer(n)`` and hang up on None; yields the port."""
    numbers = iter(range(1_000_000))
    with socket.create_server((HOST, 0)) as listener:

        def serve(connection: socket.socket) -> None:
            with connection:
                while connection.recv(65_536):
                    content = answer(next(numbers))
                    if content is None:
                        return
                    connection.sendall(content)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()


def run(answer: Answer, *, requests: int, connections: int = 2, due_s: list[float]) -> Result:
    """Run a job against a server that answers as told."""
    with server(answer) as port:
        return Generator(Job(port, connections, [REQUEST] * requests, due_s)).run()


def test_every_answer_is_counted_by_its_status() -> None:
    result = run(lambda n: REFUSED if n % 5 == 4 else CREATED, requests=20, due_s=[])
    assert result.answered == 20
    assert result.statuses == {201: 16, 409: 4}
    assert len(result.unfulfilled) == 4
    assert result.dropped == 0
    assert result.late_starts == 0
    assert result.samples[0].startswith("HTTP/1.1 409 Conflict")
    assert len(result.samples) == 3


def test_a_request_whose_connection_is_cut_is_dropped_and_the_rest_go_on() -> None:
    result = run(lambda n: None if n == 3 else CREATED, requests=20, due_s=[])
    assert result.answered == 19
    assert result.statuses == {201: 19}
    assert result.dropped == 1
    assert len(result.unfulfilled) == 1


def test_latency_counts_from_when_a_request_was_due_and_not_from_when_it_was_sent() -> None:
    def slow(_: int) -> bytes:
        time.sleep(0.03)
        return CREATED

    # Three are due at once and there is one connection: they wait for each other.
    result = run(slow, requests=3, connections=1, due_s=[0.0, 0.0, 0.0])
    assert result.max_ms >= 90
    assert result.p50_ms >= 60
    assert result.late_starts == 2


def test_requests_wait_for_their_moment() -> None:
    result = run(lambda _: CREATED, requests=3, due_s=[0.0, 0.02, 0.05])
    assert result.seconds >= 0.05
    assert result.statuses == {201: 3}


@pytest.mark.parametrize("end", [1, len(CREATED) - 3, len(CREATED) - 1])
def test_an_answer_is_not_whole_before_its_last_byte(end: int) -> None:
    assert is_whole(CREATED)
    assert not is_whole(CREATED[:end])


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1.0), (25, 1.0), (26, 2.0), (50, 2.0), (99, 4.0), (100, 4.0)]
)
def test_a_percentile_is_a_value_that_was_measured(percent: float, expected: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], percent) == expected


def test_the_percentile_of_nothing_is_zero() -> None:
    assert percentile([], 99) == 0


def test_arrivals_come_at_random_at_their_rate() -> None:
    moments = arrivals(20_000, 500.0)
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(1 / 500, rel=0.05)
    # Of exponential gaps the standard deviation is the mean; of even ones it would be nothing.
    assert deviation == pytest.approx(mean, rel=0.05)
    assert moments == sorted(moments)
    assert moments == arrivals(20_000, 500.0)
