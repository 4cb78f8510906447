"""Devices: enrolling, the quiet hours after a change, and what a revoked one takes with it."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import NOW, NOW_US
from tests.factories.phones import caller_of, enrol, events_of, make_phone
from tests.soft_device import SoftDevice, SoftKey
from wallet.auth.enrol_device import (
    COOLING_S,
    DEVICES_MAX,
    NewDevice,
    VerifiedKey,
    change_verified_key,
    start_cooling_off,
)
from wallet.auth.proofs import thumbprint_of
from wallet.auth.queries import Device, list_devices, list_sessions
from wallet.auth.revoke_device import revoke_device
from wallet.core.clock import MICROSECONDS
from wallet.core.database import read, write
from wallet.core.refusals import RefusedError

COOL = NOW + timedelta(seconds=COOLING_S)


async def devices_of(engine: AsyncEngine, principal_id: UUID) -> list[Device]:
    """Return somebody's devices."""
    async with read(engine) as connection:
        return await list_devices(connection, principal_id=principal_id)


async def revoke(engine: AsyncEngine, principal_id: UUID, device_id: UUID) -> bool:
    """Revoke a device."""
    return await write(
        engine,
        lambda connection: revoke_device(
            connection,
            principal_id=principal_id,
            device_id=device_id,
            because="lost",
            now_us=NOW_US,
        ),
    )


async def code_of(asking: Awaitable[object]) -> str:
    """Return the code that something is refused with."""
    with pytest.raises(RefusedError) as refused:
        await asking
    return refused.value.refusal.code


async def test_the_first_device_may_do_everything_at_once_and_nobody_is_told(
    engine: AsyncEngine,
) -> None:
    principal_id = uuid4()
    enrolled = await enrol(engine, SoftDevice(), principal_id)
    assert not enrolled.cools_off
    (device,) = await devices_of(engine, principal_id)
    assert device == Device(
        id=enrolled.device_id,
        name="太郎のスマホ",
        app_version="1.0.0",
        enrolled_at=NOW,
        cooling_until=None,
        revoked_at=None,
        has_verified_key=True,
    )
    assert await events_of(engine, principal_id) == []


@pytest.mark.asvs("v5.0.0-6.3.7")
async def test_a_further_device_cools_off_and_the_older_ones_are_told(
    engine: AsyncEngine,
) -> None:
    principal_id = uuid4()
    first = await enrol(engine, SoftDevice(), principal_id)
    second = await enrol(engine, SoftDevice(), principal_id)
    assert second.cools_off
    cooling = {one.id: one.cooling_until for one in await devices_of(engine, principal_id)}
    assert cooling == {first.device_id: None, second.device_id: COOL}
    assert await events_of(engine, principal_id) == [
        (
            "security.device_added",
            {
                "principal_id": str(principal_id),
                "device_id": str(second.device_id),
                "told_device_ids": [str(first.device_id)],
            },
        )
    ]


async def test_a_new_phone_after_a_lost_one_cools_off_too(engine: AsyncEngine) -> None:
    principal_id = uuid4()
    lost = await enrol(engine, SoftDevice(), principal_id)
    await revoke(engine, principal_id, lost.device_id)
    assert (await enrol(engine, SoftDevice(), principal_id)).cools_off


async def test_an_enrolment_that_is_asked_for_again_finds_the_device(
    engine: AsyncEngine,
) -> None:
    principal_id, soft = uuid4(), SoftDevice()
    first = await enrol(engine, soft, principal_id)
    await enrol(engine, SoftDevice(), principal_id)
    assert await enrol(engine, soft, principal_id) == first
    assert len(await devices_of(engine, principal_id)) == 2


@pytest.mark.attack(5)
@pytest.mark.asvs("v5.0.0-10.3.3")
async def test_a_key_belongs_to_one_person_for_ever(engine: AsyncEngine) -> None:
    principal_id, soft = uuid4(), SoftDevice()
    enrolled = await enrol(engine, soft, principal_id)
    assert await code_of(enrol(engine, soft, uuid4())) == "device_key_taken"
    await revoke(engine, principal_id, enrolled.device_id)
    assert await code_of(enrol(engine, soft, principal_id)) == "device_key_taken"
    assert await code_of(enrol(engine, soft, uuid4())) == "device_key_taken"


def spoilt_devices() -> dict[str, NewDevice]:
    """Return devices whose keys are not what they are said to be."""
    soft = SoftDevice()
    thumbprint, foreign = thumbprint_of(soft.key.public_key), SoftKey()
    one_key = VerifiedKey(soft.key.public_key, soft.key.sign(thumbprint))
    signed_elsewhere = VerifiedKey(soft.verified_key.public_key, soft.verified_key.sign(b"other"))
    not_in_hand = VerifiedKey(foreign.public_key, soft.verified_key.sign(thumbprint))
    off_curve = b"\x04" + bytes(64)
    return {
        "no point": soft.new_device(public_key=off_curve),
        "short": soft.new_device(public_key=soft.key.public_key[:-1]),
        "compressed": soft.new_device(public_key=b"\x02" + soft.key.public_key[1:33]),
        "one key": soft.new_device(verified_key=one_key),
        "signed elsewhere": soft.new_device(verified_key=signed_elsewhere),
        "not in hand": soft.new_device(verified_key=not_in_hand),
        "no second point": soft.new_device(verified_key=VerifiedKey(off_curve, bytes(64))),
    }


@pytest.mark.asvs("v5.0.0-11.6.1")
@pytest.mark.parametrize("case", spoilt_devices())
async def test_keys_that_are_not_what_they_are_said_to_be_are_refused(
    engine: AsyncEngine, case: str
) -> None:
    new, principal_id = spoilt_devices()[case], uuid4()
    asking = enrol(
        engine, SoftDevice(), principal_id, public_key=new.public_key,
        verified_key=new.verified_key,
    )  # fmt: skip
    assert await code_of(asking) == "device_key_invalid"
    assert await devices_of(engine, principal_id) == []


async def test_nobody_has_a_sixth_device_until_one_is_revoked(engine: AsyncEngine) -> None:
    principal_id = uuid4()
    devices = [await enrol(engine, SoftDevice(), principal_id) for _ in range(DEVICES_MAX)]
    assert await code_of(enrol(engine, SoftDevice(), principal_id)) == "devices_too_many"
    await revoke(engine, principal_id, devices[0].device_id)
    await enrol(engine, SoftDevice(), principal_id)


async def test_the_sixth_is_refused_among_many_at_once_too(engine: AsyncEngine) -> None:
    principal_id = uuid4()
    await enrol(engine, SoftDevice(), principal_id)
    asked = [enrol(engine, SoftDevice(), principal_id) for _ in range(DEVICES_MAX + 3)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(answer, RefusedError) for answer in answers) == 4
    assert len(await devices_of(engine, principal_id)) == DEVICES_MAX


@pytest.mark.asvs("v5.0.0-6.5.6")
async def test_a_device_that_is_revoked_stays_in_the_list_and_is_told_of(
    engine: AsyncEngine,
) -> None:
    phone = await make_phone(engine)
    assert await revoke(engine, phone.principal_id, phone.device_id)
    assert not await revoke(engine, phone.principal_id, phone.device_id)
    (device,) = await devices_of(engine, phone.principal_id)
    assert device.revoked_at == NOW
    async with read(engine) as connection:
        left = await list_sessions(connection, principal_id=phone.principal_id, now_us=NOW_US)
    assert left == []
    body = {
        "principal_id": str(phone.principal_id),
        "device_id": str(phone.device_id),
        "because": "lost",
    }
    assert await events_of(engine, phone.principal_id) == [("security.device_revoked", body)]


@pytest.mark.attack(25)
@pytest.mark.asvs("v5.0.0-8.2.2")
async def test_somebody_elses_device_cannot_be_revoked(engine: AsyncEngine) -> None:
    phone = await make_phone(engine)
    assert await code_of(revoke(engine, uuid4(), phone.device_id)) == "device_unknown"
    assert await code_of(revoke(engine, phone.principal_id, uuid4())) == "device_unknown"
    await caller_of(engine, phone)


@pytest.mark.asvs("v5.0.0-7.5.2")
async def test_open_sessions_are_listed_and_those_that_are_over_are_not(
    engine: AsyncEngine,
) -> None:
    first = await make_phone(engine)
    second = await make_phone(engine, principal_id=first.principal_id)
    async with read(engine) as connection:
        now = await list_sessions(connection, principal_id=first.principal_id, now_us=NOW_US)
        in_a_month = NOW_US + 30 * 86_400 * MICROSECONDS
        then = await list_sessions(connection, principal_id=first.principal_id, now_us=in_a_month)
    assert {one.device_id for one in now} == {first.device_id, second.device_id}
    assert then == []


async def change_key(
    engine: AsyncEngine, principal_id: UUID, device_id: UUID, key: VerifiedKey
) -> None:
    """Give a device another second key."""
    await write(
        engine,
        lambda connection: change_verified_key(
            connection,
            principal_id=principal_id,
            device_id=device_id,
            verified_key=key,
            now_us=NOW_US,
        ),
    )


@pytest.mark.asvs("v5.0.0-6.3.7")
async def test_another_second_key_cools_all_devices_off_and_is_told_of(
    engine: AsyncEngine,
) -> None:
    phone = await make_phone(engine)
    other = await make_phone(engine, principal_id=phone.principal_id)
    key = SoftKey()
    signature = key.sign(thumbprint_of(phone.soft.key.public_key))
    new = VerifiedKey(key.public_key, signature)
    await change_key(engine, phone.principal_id, phone.device_id, new)
    devices = await devices_of(engine, phone.principal_id)
    assert [device.cooling_until for device in devices] == [COOL, COOL]
    assert (await events_of(engine, phone.principal_id))[-1] == (
        "security.sign_in_changed",
        {"principal_id": str(phone.principal_id), "because": "verified_key"},
    )
    # The signature is over the first key of that very phone, and of one's own.
    for owner_id, device_id, code in (
        (phone.principal_id, other.device_id, "device_key_invalid"),
        (uuid4(), phone.device_id, "device_unknown"),
    ):
        assert await code_of(change_key(engine, owner_id, device_id, new)) == code


@pytest.mark.attack(6)
async def test_cooling_off_is_never_shortened_and_ends_by_itself(engine: AsyncEngine) -> None:
    phone = await make_phone(engine)
    for hours in (2, 1):
        await write(
            engine,
            partial(
                start_cooling_off,
                principal_id=phone.principal_id,
                because="phone_number",
                now_us=NOW_US + hours * 3_600 * MICROSECONDS,
            ),
        )
    (device,) = await devices_of(engine, phone.principal_id)
    assert device.cooling_until == COOL + timedelta(hours=2)
    caller = await caller_of(engine, phone)
    assert caller.cooling_until_us == NOW_US + (COOLING_S + 7_200) * MICROSECONDS
