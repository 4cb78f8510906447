"""API keys: told once, kept as a hash, good until they are revoked."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from sqlalchemy import text

from tests.factories.city import City, make_city
from tests.factories.moments import NOW_US, PEPPER
from tests.servers import Database
from wallet.core.database import read
from wallet.core.ids import keyed_hash
from wallet.core.refusals import RefusedError
from wallet.merchants.issue_api_key import issue_api_key
from wallet.merchants.revoke_api_key import revoke_api_key

KEY = text("SELECT key_hash, livemode, revoked_at, api_key::text FROM api_key WHERE id = :id")


@pytest.fixture
async def city(module_database: Database) -> AsyncIterator[City]:
    """Yield the module's city."""
    async with make_city(module_database.application_url, yen=0) as city:
        yield city


@pytest.mark.asvs("v5.0.0-14.2.4")
@pytest.mark.parametrize(("livemode", "prefix"), [(True, "sk_live_"), (False, "sk_test_")])
async def test_a_key_says_its_mode_and_only_its_hash_is_kept(
    city: City,
    livemode: bool,  # noqa: FBT001 - given by name by the parameters above
    prefix: str,
) -> None:
    issued = await issue_api_key(
        city.engine,
        merchant_id=city.merchant.id,
        livemode=livemode,
        pepper=PEPPER,
        now_us=NOW_US,
    )
    async with read(city.engine) as connection:
        row = (await connection.execute(KEY, {"id": issued.id})).one()
    assert issued.key.startswith(prefix)
    assert (row[0], row[1]) == (keyed_hash(issued.key, pepper=PEPPER), livemode)
    assert issued.key.removeprefix(prefix) not in row[3]


@pytest.mark.asvs("v5.0.0-11.5.1")
async def test_keys_are_random_and_long_enough(city: City) -> None:
    keys = {
        (
            await issue_api_key(
                city.engine,
                merchant_id=city.merchant.id,
                livemode=False,
                pepper=PEPPER,
                now_us=NOW_US,
            )
        ).key
        for _ in range(20)
    }
    assert len(keys) == 20
    secrets = [key.removeprefix("sk_test_") for key in keys]
    base32 = set("abcdefghijklmnopqrstuvwxyz234567")
    assert all(base32.issuperset(secret) for secret in secrets)
    assert all(len(secret) * 5 >= 128 for secret in secrets)
    # No place is the same in all of them: every character is drawn.
    assert all(len(set(place)) > 1 for place in zip(*secrets, strict=True))


async def test_nobody_who_is_no_merchant_gets_a_key(city: City) -> None:
    stranger = uuid4()
    with pytest.raises(RefusedError) as refused:
        await issue_api_key(
            city.engine, merchant_id=stranger, livemode=False, pepper=PEPPER, now_us=NOW_US
        )
    assert refused.value.refusal.code == "merchant_unknown"
    assert refused.value.refusal.facts == {"merchant_id": stranger}


async def test_a_key_is_revoked_once_and_its_moment_stays(city: City) -> None:
    key_id = city.merchant.key_id
    assert await revoke_api_key(city.engine, key_id=key_id, now_us=NOW_US)
    assert not await revoke_api_key(city.engine, key_id=key_id, now_us=NOW_US + 1_000_000)
    async with read(city.engine) as connection:
        row = (await connection.execute(KEY, {"id": key_id})).one()
    assert row.revoked_at.timestamp() == NOW_US / 1_000_000


async def test_a_key_that_does_not_exist_cannot_be_revoked(city: City) -> None:
    with pytest.raises(RefusedError) as refused:
        await revoke_api_key(city.engine, key_id=uuid4(), now_us=NOW_US)
    assert refused.value.refusal.code == "api_key_unknown"
