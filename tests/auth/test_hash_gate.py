"""The hash gate: few hash, few wait, nobody waits long, and the event loop never hashes."""

import ast
import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from argon2 import PasswordHasher, extract_parameters
from nacl.pwhash import argon2id

from tests.architecture.sources import python_files, short
from tests.factories.factors import CHEAPEST, cheap_gate
from wallet.auth.hash_gate import GateFullError, HashCost, HashGate, Place, WeakHashError
from wallet.settings import Settings


@pytest.fixture
async def gate() -> AsyncIterator[HashGate]:
    """Yield a gate with one thread, two turns, and room for three to wait."""
    async with cheap_gate(queue_max=3) as gate:
        yield gate


async def occupy(gate: HashGate, stack: AsyncExitStack) -> list[Place]:
    """Take every turn there is."""
    return [await stack.enter_async_context(gate.place()) for _ in range(gate.workers + 1)]


async def wait_in(gate: HashGate) -> None:
    """Take a turn and give it back."""
    async with gate.place():
        pass


async def until_waiting(gate: HashGate, count: int) -> None:
    """Let the loop turn until so many wait."""
    async with asyncio.timeout(5):
        while gate.waiting != count:  # noqa: ASYNC110 - a count in memory sets no event
            await asyncio.sleep(0)


@pytest.mark.asvs("v5.0.0-11.4.2")
@pytest.mark.parametrize(
    ("memory_kib", "passes", "expected"),
    [
        (19_456, 2, True), (19_455, 2, False), (47_104, 1, True), (47_103, 1, False),
        (12_288, 3, True), (12_288, 5, True), (12_287, 3, False), (7_168, 5, False),
        (65_536, 0, False),
    ],
)  # fmt: skip
def test_the_floor_is_the_one_of_appendix_c(memory_kib: int, passes: int, expected: bool) -> None:  # noqa: FBT001 - a column of the table
    assert HashCost(memory_kib, passes).meets_the_floor() is expected


@pytest.mark.asvs("v5.0.0-11.4.2")
def test_a_gate_below_the_floor_does_not_open() -> None:
    with pytest.raises(WeakHashError, match="19456"):
        HashGate.of(Settings(argon2_memory_kib=19_000))


async def test_the_settings_make_the_gate_of_a_process() -> None:
    gate = HashGate.of(Settings())
    assert gate.cost == HashCost(memory_kib=19_456, passes=2)
    assert gate.workers >= 1
    gate.close()


@pytest.mark.asvs("v5.0.0-11.4.2")
async def test_a_hash_carries_its_parameters_and_is_of_one_password_only() -> None:
    gate = HashGate.of(Settings(hash_workers=1))
    async with gate.place() as place:
        encoded, again = await place.hash("正しい馬 battery"), await place.hash("正しい馬 battery")
        assert await place.verify(encoded, "正しい馬 battery")
        assert not await place.verify(encoded, "正しい馬 Battery")
    gate.close()
    assert encoded.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert encoded != again


async def test_another_implementation_computes_the_same() -> None:
    """Hashes of an earlier version stay good, and ours can be read elsewhere."""
    other = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
    gate = HashGate.of(Settings(hash_workers=1))
    async with gate.place() as place:
        assert other.verify(await place.hash("正しい馬 battery"), "正しい馬 battery")
        assert await place.verify(other.hash("正しい馬 battery"), "正しい馬 battery")
        assert not await place.verify(other.hash("正しい馬 battery"), "another one")
    gate.close()


@pytest.mark.attack(4)
async def test_nobodys_hash_costs_what_everybodys_does(
    gate: HashGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    verify = argon2id.verify

    def spy(encoded: bytes, password: bytes) -> bool:
        tried.append(encoded.decode())
        return verify(encoded, password)

    monkeypatch.setattr(argon2id, "verify", spy)
    async with gate.place() as place:
        encoded = await place.hash("hanako's")
        assert not await place.verify(encoded, "somebody's")
        assert not await place.verify(None, "somebody's")
    wrong, nobodys = (extract_parameters(each) for each in tried)
    assert wrong == nobodys


@pytest.mark.asvs("v5.0.0-15.2.2")
async def test_hashing_never_runs_on_the_event_loop(gate: HashGate) -> None:
    async with gate.place() as place:
        ran_on = await place.run(threading.get_ident)
        names = await place.run(lambda: threading.current_thread().name)
    assert ran_on != threading.get_ident()
    assert names.startswith("hash")


def test_argon2_is_behind_the_gate_and_the_gate_is_never_weakened() -> None:
    for path in python_files("wallet"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {
            name.split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
            )
        }
        weakened = any(
            isinstance(node, ast.keyword) and node.arg == "below_the_floor"
            for node in ast.walk(tree)
        )
        assert not imported & {"argon2", "nacl"} or short(path) == "wallet/auth/hash_gate.py"
        assert not weakened, short(path)


@pytest.mark.asvs("v5.0.0-15.2.2")
async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(gate: HashGate) -> None:
    async with AsyncExitStack() as stack:
        await occupy(gate, stack)
        queue = [asyncio.create_task(wait_in(gate)) for _ in range(3)]
        await until_waiting(gate, 3)
        began_s = asyncio.get_running_loop().time()
        refused = await asyncio.gather(*(wait_in(gate) for _ in range(40)), return_exceptions=True)
        took_s = asyncio.get_running_loop().time() - began_s
    await asyncio.gather(*queue)
    assert took_s < 0.05 * len(refused)
    pauses = []
    for error in refused:
        assert isinstance(error, GateFullError)
        assert error.refusal.code == "sign_in_busy"
        pauses.append(error.refusal.facts["retry_after_s"])
    assert min(pauses) >= 2
    assert max(pauses) <= 10
    assert len(set(pauses)) > 1
    assert gate.waiting == 0


async def test_nobody_waits_longer_than_told() -> None:
    async with cheap_gate(wait_s=0.02) as gate:
        async with AsyncExitStack() as stack:
            await occupy(gate, stack)
            with pytest.raises(GateFullError):
                await wait_in(gate)
            assert gate.waiting == 0
        await wait_in(gate)


async def test_who_would_wait_too_long_is_refused_at_once() -> None:
    async with cheap_gate(wait_s=10) as gate, AsyncExitStack() as stack:
        await occupy(gate, stack)
        gate._hasher.takes_s = 5.1  # noqa: SLF001 - as on a machine that is very busy
        with pytest.raises(GateFullError):
            await wait_in(gate)


async def test_who_hangs_up_while_waiting_leaves_the_queue(gate: HashGate) -> None:
    async with AsyncExitStack() as stack:
        await occupy(gate, stack)
        queue = [asyncio.create_task(wait_in(gate)) for _ in range(3)]
        await until_waiting(gate, 3)
        queue[0].cancel()
        await until_waiting(gate, 2)
        newcomer = asyncio.create_task(wait_in(gate))
        await until_waiting(gate, 3)
    await asyncio.gather(newcomer, *queue[1:])


async def test_who_hangs_up_while_hashing_keeps_the_place_until_the_thread_is_done(
    gate: HashGate,
) -> None:
    started, finish = threading.Event(), threading.Event()

    def slow() -> None:
        started.set()
        finish.wait(10)

    async def hash_slowly() -> None:
        async with gate.place() as place:
            await place.run(slow)

    async with gate.place():
        hanging_up = asyncio.create_task(hash_slowly())
        await asyncio.to_thread(started.wait, 10)
        hanging_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging_up
        waiting = asyncio.create_task(wait_in(gate))
        await until_waiting(gate, 1)
        finish.set()
        await waiting


async def test_who_hangs_up_before_the_thread_came_to_them_is_not_hashed_for(
    gate: HashGate,
) -> None:
    finish = threading.Event()
    hashed: list[str] = []

    async def run(work: str) -> None:
        async with gate.place() as place:
            await place.run(lambda: hashed.append(work) if finish.wait(10) else None)

    first, second = (asyncio.create_task(run(work)) for work in ("first", "second"))
    await asyncio.sleep(0.01)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    finish.set()
    await first
    await asyncio.gather(*(wait_in(gate) for _ in range(2)))
    assert hashed == ["first"]


async def test_a_place_comes_free_again_after_an_error(gate: HashGate) -> None:
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            async with gate.place() as place:
                await place.run(divmod, 1, 0)
    await wait_in(gate)


def test_a_hash_of_a_lower_cost_is_known_as_outdated() -> None:
    old = "$argon2id$v=19$m=4,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo"
    gate = HashGate(cost=CHEAPEST, workers=1, below_the_floor=True)
    assert gate.is_outdated(old)
    assert not gate.is_outdated(old.replace("m=4", "m=8"))
    gate.close()
