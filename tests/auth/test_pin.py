"""The PIN: six digits, one phone, few tries."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.factors import make_devices, new_principal
from tests.factories.moments import NOW_US, PEPPER
from tests.servers import Database
from wallet.auth.pin import WRONG, check_pin, is_weak, set_pin
from wallet.core.clock import MICROSECONDS
from wallet.core.database import make_engine, read, write
from wallet.core.refusals import Refusal, RefusedError

PIN = "592817"
DAY_US = 86_400 * MICROSECONDS

MACS = text("SELECT mac FROM pin WHERE device_id = ANY(CAST(:ids AS uuid[]))")
NEW_KEY = text("UPDATE device SET public_key = :key, thumbprint = sha256(:key) WHERE id = :id")
REVOKE = text("UPDATE device SET revoked_at = enrolled_at WHERE id = :id")
EVENTS = text("""
SELECT body ->> 'change' FROM outbox
WHERE kind = 'security.factor_changed' AND body ->> 'principal_id' = :id
""")


@pytest.fixture
async def engine(module_database: Database) -> AsyncIterator[AsyncEngine]:
    """Yield an engine on the module's city."""
    engine = make_engine(module_database.application_url, pool_size=8, application_name="tests")
    yield engine
    await engine.dispose()


@pytest.fixture
async def owner(module_database: Database) -> AsyncIterator[AsyncEngine]:
    """Yield an engine that may change what the application may not."""
    engine = make_engine(module_database.owner_url, pool_size=1, application_name="tests")
    yield engine
    await engine.dispose()


@pytest.fixture
async def device_id(engine: AsyncEngine) -> UUID:
    """Return a device with a PIN."""
    (device_id,) = await make_devices(engine, principal_ids=[new_principal()])
    await give_pin(engine, device_id)
    return device_id


async def give_pin(engine: AsyncEngine, device_id: UUID, pin: str = PIN) -> None:
    """Set a device's PIN."""
    work = partial(
        set_pin, device_id=device_id, pin=pin, known=["1980-05-03"], pepper=PEPPER, now_us=NOW_US
    )
    await write(engine, work)


async def enter(
    engine: AsyncEngine, device_id: UUID, pin: str = PIN, *, at_us: int = NOW_US
) -> Refusal | None:
    """Enter a PIN."""
    work = partial(check_pin, device_id=device_id, pin=pin, pepper=PEPPER, now_us=at_us)
    return await write(engine, work)


async def test_the_right_pin_is_right_and_any_other_is_wrong(
    engine: AsyncEngine, device_id: UUID
) -> None:
    assert await enter(engine, device_id) is None
    for other in ("592818", "92817", "5928170", "59281７", "", "59281a"):
        assert await enter(engine, device_id, other) == WRONG


async def test_one_pin_on_two_devices_looks_different_and_fits_its_own_only(
    engine: AsyncEngine,
) -> None:
    principal_id = new_principal()
    first, second = await make_devices(engine, principal_ids=[principal_id, principal_id])
    await give_pin(engine, first)
    assert await enter(engine, second) == WRONG
    await give_pin(engine, second)
    async with read(engine) as connection:
        macs = (await connection.execute(MACS, {"ids": [first, second]})).scalars().all()
    assert len(set(macs)) == 2


async def test_a_pin_is_void_when_the_device_has_another_key(
    engine: AsyncEngine, owner: AsyncEngine, device_id: UUID
) -> None:
    values = {"id": device_id, "key": b"\x04" + bytes(range(64))}
    await write(owner, lambda connection: connection.execute(NEW_KEY, values))
    assert await enter(engine, device_id) == WRONG


async def test_a_revoked_device_has_no_pin(
    engine: AsyncEngine, owner: AsyncEngine, device_id: UUID
) -> None:
    await write(owner, lambda connection: connection.execute(REVOKE, {"id": device_id}))
    assert await enter(engine, device_id) == WRONG
    with pytest.raises(RefusedError, match="device_unknown"):
        await give_pin(engine, device_id)


async def test_a_device_that_nobody_enrolled_has_no_pin(engine: AsyncEngine) -> None:
    assert await enter(engine, new_principal()) == WRONG


async def test_setting_a_pin_is_told_to_its_owner(engine: AsyncEngine) -> None:
    principal_id = new_principal()
    (device_id,) = await make_devices(engine, principal_ids=[principal_id])
    await give_pin(engine, device_id)
    async with read(engine) as connection:
        told = (await connection.execute(EVENTS, {"id": str(principal_id)})).scalars().all()
    assert told == ["set"]


@pytest.mark.parametrize(
    ("pin", "code"),
    [("12345", "pin_malformed"), ("12345a", "pin_malformed"), ("123456", "pin_weak")],
)
async def test_a_pin_that_will_not_do_is_not_set(
    engine: AsyncEngine, device_id: UUID, pin: str, code: str
) -> None:
    with pytest.raises(RefusedError, match=code):
        await give_pin(engine, device_id, pin)
    assert await enter(engine, device_id) is None


@pytest.mark.parametrize(
    "pin",
    [
        "000000", "777777", "123456", "654321", "890123", "210987", "121212", "123123", "454545",
        "123321", "112233", "147258", "800503", "198005", "050312",
    ],
)  # fmt: skip
def test_what_a_thief_tries_first_is_weak(pin: str) -> None:
    assert is_weak(pin, known=["1980-05-03"])


def test_almost_every_pin_is_allowed() -> None:
    weak = sum(is_weak(f"{pin:06}", known=["1980-05-03", "090-1234-5678"]) for pin in range(10**5))
    assert weak < 2_000


@pytest.mark.asvs("v5.0.0-6.3.1")
async def test_five_wrong_pins_make_the_device_wait_and_the_right_one_waits_too(
    engine: AsyncEngine, device_id: UUID
) -> None:
    answers = [await enter(engine, device_id, f"60417{n}") for n in range(6)]
    assert answers == [WRONG] * 5 + [Refusal("too_many_tries", {"retry_after_s": 900})]
    assert await enter(engine, device_id) == answers[-1]
    assert await enter(engine, device_id, at_us=NOW_US + 900 * MICROSECONDS) is None


@pytest.mark.attack(8)
async def test_fifty_pins_at_once_are_five_tries(engine: AsyncEngine, device_id: UUID) -> None:
    answers = await asyncio.gather(*(enter(engine, device_id, f"6041{n}") for n in range(10, 60)))
    assert answers.count(WRONG) == 5
    assert await enter(engine, device_id) is not None


async def test_thirty_wrong_pins_end_it_until_a_new_pin_is_set(
    engine: AsyncEngine, device_id: UUID
) -> None:
    tried = 0
    for day in range(60):
        for n in range(12):
            pin = f"6{day:02}{n:03}"
            tried += await enter(engine, device_id, pin, at_us=NOW_US + day * DAY_US) == WRONG
    assert tried == 30
    assert await enter(engine, device_id, at_us=NOW_US + 365 * DAY_US) is not None
    await give_pin(engine, device_id, "381946")
    assert await enter(engine, device_id, "381946", at_us=NOW_US + 365 * DAY_US) is None


@pytest.mark.attack(2)
async def test_one_pin_sprayed_over_many_phones_is_stopped_after_fifty(
    engine: AsyncEngine,
) -> None:
    devices = await make_devices(engine, principal_ids=[new_principal() for _ in range(80)])
    answers = [await enter(engine, device_id, "731946") for device_id in devices]
    assert answers[:50] == [WRONG] * 50
    assert {answer.code for answer in answers[50:] if answer} == {"too_many_tries"}
    assert answers.count(None) == 0


@pytest.mark.attack(2)
async def test_spraying_at_once_is_overshot_by_what_was_under_way_and_no_more(
    engine: AsyncEngine,
) -> None:
    devices = await make_devices(engine, principal_ids=[new_principal() for _ in range(80)])
    answers = await asyncio.gather(*(enter(engine, device_id, "842057") for device_id in devices))
    assert 50 <= answers.count(WRONG) <= 58  # A connection each, and there are eight.


@pytest.mark.attack(3)
async def test_a_pin_blocked_by_spraying_blocks_no_other_pin(
    engine: AsyncEngine, device_id: UUID
) -> None:
    devices = await make_devices(engine, principal_ids=[new_principal() for _ in range(60)])
    for sprayed in devices:
        await enter(engine, sprayed, "953168")
    assert await enter(engine, device_id) is None
