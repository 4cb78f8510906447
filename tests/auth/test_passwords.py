"""Passwords: one answer for everybody who is wrong, and a gate before any query."""

import asyncio
import threading
from collections.abc import AsyncIterator
from functools import partial
from uuid import UUID

import pytest
from nacl.pwhash import argon2id
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.factors import cheap_gate, make_devices, new_principal
from tests.factories.moments import NOW_US, PEPPER
from tests.servers import Database
from wallet.auth.hash_gate import GateFullError, HashCost, HashGate
from wallet.auth.password_quality import Owner
from wallet.auth.passwords import WRONG, Claimant, check_password, set_password
from wallet.core.database import make_engine, read, write
from wallet.core.refusals import Refusal, RefusedError

GOOD = "nine brown herons wading"
HASH = text("SELECT hash FROM password WHERE principal_id = :id")
EVENTS = text("SELECT body FROM outbox WHERE kind = 'security.factor_changed' ORDER BY seq")
FAILURES = text("SELECT failures FROM attempt")
ACCOUNTS = text("SELECT CAST(:id AS uuid) WHERE :known")


@pytest.fixture
async def engine(module_database: Database) -> AsyncIterator[AsyncEngine]:
    """Yield an engine on the module's city, whose counters are empty."""
    engine = make_engine(module_database.application_url, pool_size=8, application_name="tests")
    await write(engine, lambda connection: connection.execute(text("DELETE FROM attempt")))
    yield engine
    await engine.dispose()


@pytest.fixture
async def gate() -> AsyncIterator[HashGate]:
    """Yield a gate whose hashes cost nothing."""
    async with cheap_gate() as gate:
        yield gate


async def give_password(
    engine: AsyncEngine, gate: HashGate, *, password: str = GOOD, principal_id: UUID | None = None
) -> UUID:
    """Set a password and return whose it is."""
    principal_id = principal_id or new_principal()
    await set_password(
        engine,
        gate=gate,
        principal_id=principal_id,
        password=password,
        owner=Owner(known=("Hanako",), second_factor=False),
        breached=None,
        pepper=PEPPER,
        now_us=NOW_US,
    )
    return principal_id


async def sign_in(
    engine: AsyncEngine,
    gate: HashGate,
    principal_id: UUID | None,
    password: str,
    *,
    device_id: UUID | None = None,
) -> UUID | Refusal:
    """Sign in to an account; None is one that does not exist."""

    async def find(connection: AsyncConnection) -> UUID | None:
        values = {"id": principal_id or new_principal(), "known": principal_id is not None}
        found: UUID | None = (await connection.execute(ACCOUNTS, values)).scalar_one_or_none()
        return found

    return await check_password(
        engine,
        gate=gate,
        claimant=Claimant(account="hanako@example.jp", device_id=device_id, address="203.0.113.7"),
        find_principal=find,
        password=password,
        pepper=PEPPER,
        now_us=NOW_US,
    )


async def hash_of(engine: AsyncEngine, principal_id: UUID) -> str:
    """Return what is kept of a password."""
    async with read(engine) as connection:
        kept: str = (await connection.execute(HASH, {"id": principal_id})).scalar_one()
    return kept


async def test_the_right_password_says_whose_it_is(engine: AsyncEngine, gate: HashGate) -> None:
    principal_id = await give_password(engine, gate)
    assert await sign_in(engine, gate, principal_id, GOOD) == principal_id
    assert await sign_in(engine, gate, principal_id, GOOD.title()) == WRONG
    assert await sign_in(engine, gate, principal_id, GOOD[:-1]) == WRONG


async def test_a_password_in_another_unicode_form_is_the_same_password(
    engine: AsyncEngine, gate: HashGate
) -> None:
    principal_id = await give_password(engine, gate, password="がぎぐげごの歌をうたう夜明けまえ")
    typed = "か\u3099き\u3099く\u3099け\u3099こ\u3099の歌をうたう夜明けまえ"
    assert await sign_in(engine, gate, principal_id, typed) == principal_id


@pytest.mark.asvs("v5.0.0-6.2.2")
@pytest.mark.asvs("v5.0.0-6.3.7")
async def test_a_new_password_takes_the_place_of_the_old_and_its_owner_hears_of_it(
    engine: AsyncEngine, gate: HashGate
) -> None:
    principal_id = await give_password(engine, gate)
    await give_password(engine, gate, password="a dozen grey cranes", principal_id=principal_id)
    assert await sign_in(engine, gate, principal_id, GOOD) == WRONG
    async with read(engine) as connection:
        bodies = (await connection.execute(EVENTS)).scalars().all()
    expected = {"principal_id": str(principal_id), "factor": "password", "change": "set"}
    assert bodies[-2:] == [expected, expected]


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("長" * 129, "password_unusable"),
        ("short", "password_too_short"),
        ("passwordpassword", "password_guessable"),
        ("Hanako Hanako Hanako", "password_guessable"),
    ],
)
async def test_a_password_that_will_not_do_is_refused_and_never_hashed(
    engine: AsyncEngine,
    gate: HashGate,
    monkeypatch: pytest.MonkeyPatch,
    password: str,
    code: str,
) -> None:
    monkeypatch.delattr(argon2id, "str")
    with pytest.raises(RefusedError) as caught:
        await give_password(engine, gate, password=password)
    assert caught.value.refusal.code == code


async def test_a_password_too_long_to_be_one_is_wrong_without_a_hash_or_a_query(
    engine: AsyncEngine, gate: HashGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    principal_id = await give_password(engine, gate)
    monkeypatch.delattr(argon2id, "verify")
    await engine.dispose()
    assert await sign_in(engine, gate, principal_id, "x" * 129) == WRONG


@pytest.mark.attack(4)
@pytest.mark.asvs("v5.0.0-6.3.8")
async def test_an_unknown_account_costs_and_answers_the_same_as_a_wrong_password(
    engine: AsyncEngine, gate: HashGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_password, without = await give_password(engine, gate), new_principal()
    statements: list[str] = []
    hashes: list[str] = []
    verify = argon2id.verify

    def spy(encoded: bytes, password: bytes) -> bool:
        hashes.append("$".join(encoded.decode().split("$")[:4]))
        return verify(encoded, password)

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    monkeypatch.setattr(argon2id, "verify", spy)
    event.listen(engine.sync_engine, "before_cursor_execute", note)
    traces = []
    for principal_id in (with_password, without, None):
        statements.clear()
        hashes.clear()
        answer = await sign_in(engine, gate, principal_id, "not the right password")
        traces.append((answer, [*statements], [*hashes]))
    event.remove(engine.sync_engine, "before_cursor_execute", note)
    assert traces[0] == traces[1] == traces[2]
    assert traces[0][0] == WRONG
    assert len(traces[0][2]) == 1


@pytest.mark.attack(8)
async def test_fifty_guesses_at_once_get_ten_hashes(engine: AsyncEngine) -> None:
    async with cheap_gate(queue_max=50) as gate:
        principal_id = await give_password(engine, gate)
        answers = await asyncio.gather(
            *(sign_in(engine, gate, principal_id, f"guess {n} of fifty") for n in range(50))
        )
    assert answers.count(WRONG) == 10
    others = [answer for answer in answers if isinstance(answer, Refusal) and answer != WRONG]
    assert {answer.code for answer in others} == {"too_many_tries"}


@pytest.mark.attack(4)
async def test_an_unknown_account_is_closed_after_as_many_tries_as_a_known_one(
    engine: AsyncEngine, gate: HashGate
) -> None:
    known = await give_password(engine, gate)
    for principal_id in (known, None):
        answers = [await sign_in(engine, gate, principal_id, f"guess no. {n}") for n in range(12)]
        assert [answer == WRONG for answer in answers] == [True] * 10 + [False] * 2
        assert answers[-1] == Refusal("too_many_tries", {"retry_after_s": 900})


@pytest.mark.attack(3)
@pytest.mark.asvs("v5.0.0-6.1.1")
async def test_strangers_close_an_account_to_strangers_and_not_to_its_owners_device(
    engine: AsyncEngine, gate: HashGate
) -> None:
    principal_id = await give_password(engine, gate)
    (device_id,) = await make_devices(engine, principal_ids=[principal_id])
    for n in range(30):
        await sign_in(engine, gate, principal_id, f"guess number {n}")
    assert await sign_in(engine, gate, principal_id, GOOD) != principal_id
    answer = await sign_in(engine, gate, principal_id, GOOD, device_id=device_id)
    assert answer == principal_id


@pytest.mark.attack(3)
async def test_a_strangers_own_device_is_a_stranger_to_somebody_elses_account(
    engine: AsyncEngine, gate: HashGate
) -> None:
    principal_id = await give_password(engine, gate)
    devices = await make_devices(engine, principal_ids=[new_principal() for _ in range(12)])
    answers = [
        await sign_in(engine, gate, principal_id, "a guess from a phone", device_id=device_id)
        for device_id in devices
    ]
    assert answers.count(WRONG) == 10


async def test_a_new_password_opens_the_account_again(engine: AsyncEngine, gate: HashGate) -> None:
    principal_id = await give_password(engine, gate)
    for n in range(12):
        await sign_in(engine, gate, principal_id, f"guess number {n}")
    await give_password(engine, gate, password="a dozen grey cranes", principal_id=principal_id)
    assert await sign_in(engine, gate, principal_id, "a dozen grey cranes") == principal_id


@pytest.mark.asvs("v5.0.0-15.2.2")
async def test_a_full_gate_answers_before_the_database_is_asked(
    module_database: Database,
) -> None:
    engine = make_engine(module_database.application_url, pool_size=1, application_name="tests")
    asked: list[object] = []
    event.listen(engine.sync_engine, "connect", lambda *_: asked.append(_))
    async with cheap_gate(wait_s=0.02) as gate, gate.place(), gate.place():
        with pytest.raises(GateFullError):
            await sign_in(engine, gate, new_principal(), GOOD)
        with pytest.raises(GateFullError):
            await give_password(engine, gate)
    assert not asked
    await engine.dispose()


async def test_a_caller_who_hangs_up_has_used_a_try_and_gives_the_place_back(
    engine: AsyncEngine, gate: HashGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    principal_id = await give_password(engine, gate)
    hashing, finish = threading.Event(), threading.Event()

    def slow(_encoded: bytes, _password: bytes) -> bool:
        hashing.set()
        return finish.wait(10)

    monkeypatch.setattr(argon2id, "verify", slow)
    caller = asyncio.create_task(sign_in(engine, gate, principal_id, "not right at all"))
    await asyncio.to_thread(hashing.wait, 10)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    finish.set()
    async with gate.place(), gate.place():
        assert gate.waiting == 0
    async with read(engine) as connection:
        assert (await connection.execute(FAILURES)).scalars().all() == [1]


async def test_an_old_hash_is_made_anew_when_nobody_waits(engine: AsyncEngine) -> None:
    async with cheap_gate() as weak:
        principal_id = await give_password(engine, weak)
    old = await hash_of(engine, principal_id)
    gate = HashGate(cost=HashCost(memory_kib=16, passes=1), workers=1, below_the_floor=True)
    assert await sign_in(engine, gate, principal_id, "not right at all") == WRONG
    assert await hash_of(engine, principal_id) == old
    assert await sign_in(engine, gate, principal_id, GOOD) == principal_id
    new = await hash_of(engine, principal_id)
    assert "m=16,t=1" in new
    assert await sign_in(engine, gate, principal_id, GOOD) == principal_id
    assert await hash_of(engine, principal_id) == new
    gate.close()


async def test_an_old_hash_stays_while_others_wait(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cheap_gate() as weak:
        principal_id = await give_password(engine, weak)
    old = await hash_of(engine, principal_id)
    gate = HashGate(cost=HashCost(memory_kib=16, passes=1), workers=1, below_the_floor=True)
    monkeypatch.setattr(gate, "is_idle", partial(bool, 0))
    assert await sign_in(engine, gate, principal_id, GOOD) == principal_id
    assert await hash_of(engine, principal_id) == old
    gate.close()
