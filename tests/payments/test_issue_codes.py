"""One-time codes: each is fresh, bounded, and kept only as a hash."""

import pytest
from sqlalchemy import text

from tests.factories.city import City
from tests.factories.moments import NOW_US, PEPPER
from wallet.core.clock import to_datetime
from wallet.core.database import read
from wallet.core.ids import keyed_hash, new_id
from wallet.core.refusals import RefusedError
from wallet.payments import issue_codes as module
from wallet.payments.issue_codes import EXPIRES_S_MAX, issue_codes

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROWS = text("SELECT wallet_id, expires_at FROM one_time_code WHERE code_hash = :code_hash")
COUNT = text("SELECT count(*) FROM one_time_code")


async def count_codes(city: City) -> int:
    """Return how many codes there are."""
    async with read(city.engine) as connection:
        return int((await connection.execute(COUNT)).scalar_one())


async def test_each_wallet_gets_its_codes_in_order(city: City) -> None:
    wallet_ids = [city.wallet_id, city.wallet_id]
    codes = await issue_codes(
        city.engine, wallet_ids=wallet_ids, pepper=PEPPER, now_us=NOW_US, expires_s=60
    )
    assert len(set(codes)) == 2
    async with read(city.engine) as connection:
        for code, wallet_id in zip(codes, wallet_ids, strict=True):
            values = {"code_hash": keyed_hash(code, pepper=PEPPER)}
            row = (await connection.execute(ROWS, values)).one()
            assert row.wallet_id == wallet_id
            assert row.expires_at == to_datetime(NOW_US + 60_000_000)


@pytest.mark.attack(18)
@pytest.mark.asvs("v5.0.0-11.5.1")
async def test_a_code_has_160_random_bits(city: City) -> None:
    (code,) = await city.codes()
    prefix, _, secret = code.partition("_")
    assert prefix == "code"
    assert len(secret) == 32  # Base 32: five bits each.


async def test_a_wallet_that_does_not_exist_gets_no_code(city: City) -> None:
    before = await count_codes(city)
    with pytest.raises(RefusedError, match="wallet_unknown"):
        await issue_codes(
            city.engine,
            wallet_ids=[city.wallet_id, new_id(now_us=NOW_US)],
            pepper=PEPPER,
            now_us=NOW_US,
        )
    assert await count_codes(city) == before


@pytest.mark.parametrize("expires_s", [0, -1, EXPIRES_S_MAX + 1])
async def test_a_code_can_neither_be_stale_nor_last_for_hours(city: City, expires_s: int) -> None:
    with pytest.raises(ValueError, match="a code lives"):
        await issue_codes(
            city.engine,
            wallet_ids=[city.wallet_id],
            pepper=PEPPER,
            now_us=NOW_US,
            expires_s=expires_s,
        )


async def test_many_codes_are_issued_in_several_transactions(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CODES_PER_TRANSACTION", 2)
    before = await count_codes(city)
    assert len(set(await city.codes(5))) == 5
    assert await count_codes(city) - before == 5
