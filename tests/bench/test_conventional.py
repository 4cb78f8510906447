"""The till's counterpart does the same work: the rows it leaves are those that the till leaves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx2 as httpx
import pytest
from sqlalchemy import text

from bench import conventional
from tests.factories.city import City, make_city
from tests.factories.people import make_card, make_wallet
from tests.factories.programmes import make_programme, voucher_draft
from tests.factories.tills import Till, open_till
from tests.factories.vouchers import give
from tests.servers import Database
from wallet.core.database import read
from wallet.core.ids import parse_public_id, public_id
from wallet.ledger.verify import verify

# Everything that a payment leaves behind, but for what makes it this one and no other.
_ROWS = text("""
SELECT
    (SELECT to_jsonb(p) - ARRAY['id', 'merchant_payment_id', 'instrument_hash', 'wallet_id']
     FROM payment AS p WHERE p.id = :payment_id) AS payment,
    (SELECT jsonb_agg(to_jsonb(k) - ARRAY['key', 'payment_id'])
     FROM idempotency_key AS k WHERE k.payment_id = :payment_id) AS keys,
    (SELECT jsonb_agg(to_jsonb(o) - ARRAY['seq', 'event_id'] #- '{body,payment_id}'
                      #- '{body,merchant_payment_id}')
     FROM outbox AS o WHERE o.event_id = :payment_id) AS events,
    (SELECT jsonb_agg(to_jsonb(t) - ARRAY['id', 'debit_account_id', 'user_data_128', 'timestamp']
                      ORDER BY t.id)
     FROM transfer AS t WHERE t.user_data_128 = :payment_id) AS transfers,
    (SELECT array_agg(CAST(right(CAST(t.id AS text), 1) AS text) ORDER BY t.id)
     FROM transfer AS t WHERE t.user_data_128 = :payment_id) AS legs,
    (SELECT count(*) FROM one_time_code WHERE burnt_by = :payment_id) AS codes,
    (SELECT jsonb_agg(to_jsonb(b) - ARRAY['account_id', 'last_timestamp']
                      ORDER BY b.debits_posted, b.credits_posted)
     FROM purse JOIN balance AS b USING (account_id) WHERE wallet_id = :wallet_id) AS purses,
    (SELECT jsonb_agg(to_jsonb(s) - 'holder_id' ORDER BY s.spent_yen)
     FROM spending AS s WHERE s.holder_id = ANY(CAST(:holder_ids AS uuid[]))) AS spending
""")


@asynccontextmanager
async def open_conventional(till: Till, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Till]:
    """Yield the conventional endpoint of the same city, to be called as the till is."""
    city = till.city
    monkeypatch.setenv("DATABASE_URL", city.database_url)
    monkeypatch.setenv("WALLET_PEPPER", city.pepper.decode())
    monkeypatch.setattr(conventional, "system_clock", city.clock)
    application = conventional.application
    transport = httpx.ASGITransport(application)
    client = httpx.AsyncClient(transport=transport, base_url="http://conventional")
    async with application.router.lifespan_context(application), client:
        yield Till(city=city, plane=till.plane, client=client)


@pytest.fixture
async def doors(
    module_database: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Till, Till]]:
    """Yield the till and the conventional endpoint, in a city with a voucher."""
    async with make_city(module_database.application_url, yen=0) as city:
        await make_programme(city.teller, voucher_draft(f"voucher-{city.wallet_id.hex[-8:]}"))
        async with open_till(city) as till, open_conventional(till, monkeypatch) as other:
            yield till, other


async def pay_twice(door: Till, city: City) -> list[dict[str, Any]]:
    """Pay by code out of two purses, and by card out of one, and return the rows of both."""
    wallet_id = await make_wallet(city.engine)
    await give(city.teller, wallet_id, f"voucher-{city.wallet_id.hex[-8:]}", sets=2)
    card = await make_card(city.engine, wallet_id)
    (code,) = await city.codes(wallet_id=wallet_id)
    bodies = [
        door.body(code, amount={"amount": 11_000, "currency": "JPY"}),
        door.body("", instrument={"type": "card", "value": card.qr_value}),
    ]
    rows = []
    for body in bodies:
        answer = await door.pay(body)
        assert answer.status_code == 201, answer.text
        payment_id = parse_public_id("pay", answer.json()["id"])
        assert payment_id is not None
        rows.append(await rows_of(city, payment_id, wallet_id, [wallet_id, card.id]))
    return rows


async def rows_of(
    city: City, payment_id: UUID, wallet_id: UUID, holder_ids: list[UUID]
) -> dict[str, Any]:
    """Return everything that a payment has left behind."""
    values = {"payment_id": payment_id, "wallet_id": wallet_id, "holder_ids": holder_ids}
    async with read(city.engine) as connection:
        return dict((await connection.execute(_ROWS, values)).mappings().one())


async def test_both_leave_the_same_rows(doors: tuple[Till, Till]) -> None:
    till, other = doors
    city = till.city
    payable = text(
        "SELECT b.credits_posted, b.transfer_count FROM shop JOIN balance AS b"
        " ON b.account_id = payable_account_id WHERE shop.id = :shop_id"
    )
    taken = []
    rows = []
    for door in (till, other):
        rows.append(await pay_twice(door, city))
        async with read(city.engine) as connection:
            found = await connection.execute(payable, {"shop_id": city.merchant.shop_id})
            taken.append(tuple(found.one()))
    assert rows[0] == rows[1]
    # Two purses and a code, then one purse and a card: nothing was compared with nothing.
    assert [len(row["transfers"]) for row in rows[0]] == [2, 1]
    assert [row["codes"] for row in rows[0]] == [1, 0]
    assert [row["legs"] for row in rows[0]] == [["1", "2"], ["1"]]
    assert taken == [(12_000, 3), (24_000, 6)]
    assert (await verify(city.engine, now_us=city.clock())).ok


async def test_both_answer_a_repeat_with_the_first_payment(doors: tuple[Till, Till]) -> None:
    till, other = doors
    await give(
        till.city.teller, till.city.wallet_id, f"voucher-{till.city.wallet_id.hex[-8:]}", sets=1
    )
    for door in (till, other):
        (code,) = await door.city.codes()
        body = door.body(code)
        headers = {"Idempotency_Key": f"key-{code[-8:]}"}
        answers = [await door.pay(body, **headers) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 201]
        assert answers[0].json()["id"] == answers[1].json()["id"]


@pytest.mark.parametrize(
    ("changes", "headers", "status"),
    [
        ({"instrument": {"type": "cpm_code", "value": "code_unknown"}}, {}, 409),
        ({"instrument": {"type": "card", "value": "card_unknown"}}, {}, 409),
        ({"terminal_id": public_id("ter", UUID(int=1))}, {}, 404),
        ({"amount": {"amount": 999_999, "currency": "JPY"}}, {}, 409),
        ({}, {"Authorization": "Bearer sk_test_nobody"}, 401),
    ],
)
async def test_the_conventional_endpoint_obeys_the_same_rules(
    doors: tuple[Till, Till], changes: dict[str, Any], headers: dict[str, str], status: int
) -> None:
    till, other = doors
    codes = []
    for door in (till, other):
        (code,) = await door.city.codes()
        codes.append(await door.pay(door.body(code, **changes), **headers))
    assert codes[1].status_code == status
    assert codes[0].json()["code"] == codes[1].json()["detail"]
    async with read(till.city.engine) as connection:
        succeeded = await connection.execute(
            text("SELECT count(*) FROM payment WHERE merchant_id = :id AND state = 'succeeded'"),
            {"id": till.city.merchant.id},
        )
        assert succeeded.scalar_one() == 0
