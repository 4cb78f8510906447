"""The hash gate: the only door to argon2, so that hashing can never eat the machine.

Checking a password costs 200 times what checking a device key does, and an attacker can ask for it
without knowing anything. So few threads hash at once, few callers wait, none waits long, and
everybody else is told to come back (:class:`GateFullError`) before the database has been asked
anything. A place is held from before the first query until the hash is really done: a client that
hangs up gives it back, yet never while a thread still works for it.
"""

import asyncio
import os
import secrets
import sys
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from time import perf_counter
from typing import Any, Final, ParamSpec, TypeVar

import msgspec
from argon2 import extract_parameters
from nacl.exceptions import InvalidkeyError
from nacl.pwhash import argon2id

from wallet.core.refusals import RefusedError
from wallet.settings import Settings

QUEUE_MAX: Final = 50
WAIT_S_MAX: Final = 2.0

RETRY_AFTER_S: Final = 2
RETRY_JITTER_S: Final = 8
"""Refused callers come back spread over ten seconds, not all together."""

# OWASP ASVS 5.0 appendix C, argon2id with one lane: KiB of memory that so many passes must have.
_FLOOR_KIB: Final = {1: 47_104, 2: 19_456}
_FLOOR_KIB_FROM_THREE_PASSES: Final = 12_288

_BYTES_PER_KIB: Final = 1024
_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32
_WEIGHT_OF_LATEST: Final = 0.1
_SLOWER_MEANWHILE: Final = 2
"""Who is let into the queue is still served in time when hashes then take twice as long."""

P = ParamSpec("P")
T = TypeVar("T")


class WeakHashError(RuntimeError):
    """The configured cost of a password hash is below what OWASP ASVS 5.0 appendix C asks for."""


class GateFullError(RefusedError):
    """Too many passwords wait to be checked; nothing was looked at. Carries ``retry_after_s``."""

    def __init__(self) -> None:
        super().__init__(
            "sign_in_busy", retry_after_s=RETRY_AFTER_S + secrets.randbelow(RETRY_JITTER_S + 1)
        )


class HashCost(msgspec.Struct, frozen=True):
    """What one argon2id hash costs, with one lane: memory in KiB, and passes over it."""

    memory_kib: int = 19_456
    passes: int = 2

    def meets_the_floor(self) -> bool:
        """Whether it is one of the appendix's parameters or stronger."""
        floor_kib = _FLOOR_KIB.get(self.passes, _FLOOR_KIB_FROM_THREE_PASSES)
        return self.passes > 0 and self.memory_kib >= floor_kib


class HashGate:
    """The gate of one process; made at its start, closed at its end.

    ``workers`` threads hash (half the cores unless told), at most ``queue_max`` callers wait, and
    none longer than ``wait_s``. Raises :class:`WeakHashError` for a cost below the floor unless
    ``below_the_floor`` says that nobody's password is at stake.
    """

    def __init__(
        self,
        *,
        cost: HashCost,
        workers: int | None = None,
        queue_max: int = QUEUE_MAX,
        wait_s: float = WAIT_S_MAX,
        below_the_floor: bool = False,
    ) -> None:
        if not (below_the_floor or cost.meets_the_floor()):
            message = (
                f"argon2id with {cost.memory_kib} KiB and {cost.passes} passes is weaker than"
                " OWASP ASVS 5.0 appendix C allows; raise WALLET_ARGON2_MEMORY_KIB to 19456"
                " (2 passes) or more"
            )
            raise WeakHashError(message)
        self.cost = cost
        self.workers = workers or max(1, (os.cpu_count() or 1) // 2)
        self.waiting = 0
        self._queue_max = queue_max
        self._wait_s = wait_s
        self._hasher = _Hasher(cost)
        # One turn more than there are threads: its holder asks the database while they hash.
        self._turns = asyncio.Semaphore(self.workers + 1)
        self._threads = ThreadPoolExecutor(self.workers, "hash", initializer=_step_back)
        # Before anybody comes, so that even the first crowd is told how long it would wait.
        self._threads.submit(self._hasher.verify, None, "")

    @classmethod
    def of(cls, settings: Settings) -> "HashGate":
        """Return the gate that the settings ask for; raises :class:`WeakHashError`."""
        return cls(
            cost=HashCost(settings.argon2_memory_kib, settings.argon2_passes),
            workers=settings.hash_workers or None,
            queue_max=settings.hash_queue_max,
            wait_s=settings.hash_wait_s,
        )

    @asynccontextmanager
    async def place(self) -> AsyncIterator["Place"]:
        """Hold a place inside; raises :class:`GateFullError` at once, or after ``wait_s``."""
        await self._enter()
        place = Place(self._threads, self._hasher)
        try:
            yield place
        finally:
            place.leave(self._turns.release)

    def close(self) -> None:
        """End the threads, each after the hash it is at."""
        self._threads.shutdown(cancel_futures=True)

    def is_idle(self) -> bool:
        """Whether nobody waits, so that work which can be put off may be done now."""
        return self.waiting == 0

    def is_outdated(self, encoded: str) -> bool:
        """Whether a hash was made at a lower cost than passwords are hashed at today."""
        made = extract_parameters(encoded)
        return made.memory_cost * made.time_cost < self.cost.memory_kib * self.cost.passes

    async def _enter(self) -> None:
        must_wait = self._turns.locked()
        too_long = self._would_take_s() * _SLOWER_MEANWHILE > self._wait_s
        if must_wait and (self.waiting >= self._queue_max or too_long):
            raise GateFullError
        self.waiting += 1
        try:
            async with asyncio.timeout(self._wait_s):
                await self._turns.acquire()
        except TimeoutError:
            raise GateFullError from None
        finally:
            self.waiting -= 1

    def _would_take_s(self) -> float:
        """Return how long a newcomer would wait: better to say no now than after two seconds."""
        return (self.waiting + 1) * self._hasher.takes_s / self.workers


class Place:
    """A place inside the gate: what may be done there, one thing after another."""

    def __init__(self, threads: ThreadPoolExecutor, hasher: "_Hasher") -> None:
        self._threads = threads
        self._hasher = hasher
        self._job: Future[Any] | None = None

    async def hash(self, password: str) -> str:
        """Return the password's hash, with a salt of its own and the parameters in it."""
        return await self.run(self._hasher.hash, password)

    async def verify(self, encoded: str | None, password: str) -> bool:
        """Whether the hash is of this password; None costs the same and is of no password."""
        return await self.run(self._hasher.verify, encoded, password)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run slow work of a sign-in on the gate's threads, never on the event loop."""
        job = self._threads.submit(work, *args, **kwargs)
        self._job = job
        return await asyncio.wrap_future(job)

    def leave(self, release: Callable[[], None]) -> None:
        """Give the place back: now, or once the thread that still works for it is done."""
        job, loop = self._job, asyncio.get_running_loop()
        if job is None or job.done():
            release()
            return

        def release_later(_: Future[Any]) -> None:
            with suppress(RuntimeError):  # The loop has ended, and its places with it.
                loop.call_soon_threadsafe(release)

        job.add_done_callback(release_later)


class _Hasher:
    """argon2id at one cost; called on the gate's threads only.

    libsodium computes it, which takes the widest registers that the processor has.
    """

    def __init__(self, cost: HashCost) -> None:
        self.takes_s = 0.0
        self._cost = cost
        self._nobodys = _nobodys_hash(cost)

    def hash(self, password: str) -> str:
        cost = self._cost
        with self._timed():
            encoded = argon2id.str(
                password.encode(),
                opslimit=cost.passes,
                memlimit=cost.memory_kib * _BYTES_PER_KIB,
            )
        return encoded.decode()

    def verify(self, encoded: str | None, password: str) -> bool:
        with self._timed():
            try:
                argon2id.verify((encoded or self._nobodys).encode(), password.encode())
            except InvalidkeyError:
                return False
        return encoded is not None

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Keep a moving average of what a hash takes; a lost update does it no harm."""
        began_s = perf_counter()
        yield
        took_s = perf_counter() - began_s
        self.takes_s += (_WEIGHT_OF_LATEST if self.takes_s else 1) * (took_s - self.takes_s)


def _nobodys_hash(cost: HashCost) -> str:
    """Return a hash of nothing, at the same cost: random bytes, so that no password fits it."""
    salt, digest = (
        b64encode(secrets.token_bytes(size)).decode().rstrip("=")
        for size in (_SALT_BYTES, _HASH_BYTES)
    )
    return f"$argon2id$v=19$m={cost.memory_kib},t={cost.passes},p=1${salt}${digest}"


def _step_back() -> None:
    """Let payments on the same cores go first, at once and not at the end of a slice of time.

    On Linux a thread has a policy of its own: this one runs when nobody else wants the core.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # A container may forbid it; the gate is narrow all the same.
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))
