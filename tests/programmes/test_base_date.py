"""The base dates: which days they are, what was unused on them, what that asks for."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.city import open_rooms
from tests.factories.drafts import clean_points, clean_voucher
from tests.factories.ledger import codes, transfer
from tests.factories.merchants import make_merchant
from tests.factories.moments import japanese
from tests.factories.people import make_wallet
from tests.factories.vouchers import give
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.database import read
from wallet.core.money import LEDGER_JPY
from wallet.core.refusals import RefusedError
from wallet.ledger.chart import TRANSFER_BUYER_REFUND, TRANSFER_PAYMENT
from wallet.ledger.rules import PENDING
from wallet.ledger.teller import Teller
from wallet.programmes.base_date import (
    Row,
    base_date_before,
    deposit_yen,
    is_base_date,
    is_near,
    refunds_allowed_yen,
    report,
    report_of,
)
from wallet.programmes.create_programme import create_programme
from wallet.programmes.legal import Regime
from wallet.programmes.legal_settings import legal_settings

LAW = legal_settings()


def row(**figures: Any) -> Row:  # noqa: ANN401 - fields of many types
    """Return a regulated programme with nothing issued, but for ``figures``."""
    nothing = dict.fromkeys((n for n in Row.__struct_fields__ if n.endswith("_yen")), 0)
    fields = {"programme": "voucher", "name": "商品券", "regime": Regime.REGULATED, **nothing}
    return Row(**{**fields, **figures})


@pytest.mark.parametrize(
    ("day", "before"),
    [
        (date(2026, 3, 31), date(2025, 9, 30)),
        (date(2026, 4, 1), date(2026, 3, 31)),
        (date(2026, 9, 30), date(2026, 3, 31)),
        (date(2026, 10, 1), date(2026, 9, 30)),
        (date(2026, 12, 31), date(2026, 9, 30)),
        (date(2026, 1, 1), date(2025, 9, 30)),
    ],
)
def test_the_base_date_before_a_day(day: date, before: date) -> None:
    assert base_date_before(day) == before


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)))
def test_between_a_base_date_and_the_day_there_is_no_other(day: date) -> None:
    before = base_date_before(day)
    assert is_base_date(before)
    days = (day - before).days
    assert 1 <= days <= 184
    assert not any(is_base_date(before + timedelta(days=n)) for n in range(1, days))


@pytest.mark.parametrize(
    ("unused_yen", "secured_yen"),
    [(0, 0), (10_000_000, 0), (10_000_001, 5_000_001), (10_000_002, 5_000_001)],
)
def test_half_is_secured_upwards_once_it_is_too_much(unused_yen: int, secured_yen: int) -> None:
    assert deposit_yen(unused_yen, settings=LAW) == secured_yen


@pytest.mark.parametrize(("unused_yen", "near"), [(7_999_999, False), (8_000_000, True)])
def test_the_alarm_comes_at_eighty_percent(unused_yen: int, *, near: bool) -> None:
    assert is_near(unused_yen, settings=LAW) is near


def test_refunds_are_limited_by_whichever_share_is_more() -> None:
    def allowed_yen(issued: int, unused: int) -> int:
        return refunds_allowed_yen(issued_before_yen=issued, unused_before_yen=unused, settings=LAW)

    assert allowed_yen(1_000, 0) == 200
    assert allowed_yen(0, 1_000) == 50
    assert allowed_yen(1_000, 8_000) == 400
    assert allowed_yen(4, 19) == 0


def test_only_what_is_regulated_counts() -> None:
    rows = [
        row(unused_yen=6_000_000, issued_before_yen=500, refunded_yen=90),
        row(unused_yen=6_000_000, unused_before_yen=100),
        row(regime=Regime.PUBLIC, unused_yen=9_000_000, refunded_yen=9_000),
        row(regime=Regime.SHORT, unused_yen=9_000_000),
    ]
    made = report_of(rows, base_date=date(2027, 3, 31), settings=LAW)
    assert (made.unused_yen, made.deposit_yen, made.alarm) == (12_000_000, 6_000_000, True)
    assert (made.refunded_yen, made.refund_room_yen, made.refunds_exceeded) == (90, 10, False)
    assert len(made.rows) == 4


def test_too_many_refunds_are_told() -> None:
    made = report_of(
        [row(refunded_yen=101, issued_before_yen=500)], base_date=date(2027, 3, 31), settings=LAW
    )
    assert (made.refund_room_yen, made.refunds_exceeded) == (0, True)


PURSES = text("SELECT account_id FROM purse WHERE wallet_id = :id AND funding = 'paid'")
PAYABLE = text("SELECT payable_account_id FROM shop WHERE id = :id")
CLEARING = text("SELECT clearing_account_id FROM programme WHERE code = 'company'")


@pytest.fixture
async def rooms(database: Database) -> AsyncIterator[tuple[AsyncEngine, Teller, TestClock]]:
    """Yield an engine, a teller and their clock, in the March before."""
    clock = TestClock(japanese("2026-03-01T12:00:00"))
    async with open_rooms(database.application_url, clock=clock) as (engine, teller):
        yield engine, teller, clock


async def test_what_was_unused_is_counted_to_the_last_second_in_japan(
    rooms: tuple[AsyncEngine, Teller, TestClock],
) -> None:
    engine, teller, clock = rooms
    shop = await make_merchant(engine, teller)
    wallet_id = await make_wallet(engine)
    for draft in (clean_voucher("company", issuer_kind="company"), clean_points("free")):
        await create_programme(teller, draft=draft, now_us=clock())
    await give(teller, wallet_id, "company", sets=4)
    await give(teller, wallet_id, "free", amount_yen=9_999)
    async with read(engine) as connection:
        purse_id = (await connection.execute(PURSES, {"id": wallet_id})).scalar_one()
        payable_id = (await connection.execute(PAYABLE, {"id": shop.shop_id})).scalar_one()
        clearing_id = (await connection.execute(CLEARING)).scalar_one()

    async def move(to_id: UUID, amount_yen: int, **fields: Any) -> None:  # noqa: ANN401 - of many
        marks = {"code": TRANSFER_PAYMENT, "user_data_32": 1, "user_data_128": wallet_id, **fields}
        moved = transfer(purse_id, to_id, amount_yen, ledger=LEDGER_JPY, **marks)
        assert await codes(teller, moved) == ["created"]

    clock.now_us = japanese("2026-06-01T12:00:00")
    await move(payable_id, 1_000)
    await move(payable_id, 500, flags=PENDING)
    await move(clearing_id, 2_000, code=TRANSFER_BUYER_REFUND)
    clock.now_us = japanese("2026-10-01T00:00:00") - 1
    await give(teller, wallet_id, "company", sets=2)
    clock.now_us += 1
    await give(teller, wallet_id, "company", sets=1)
    async with read(engine) as connection:
        made = await report(
            connection, base_date=date(2026, 9, 30), settings=LAW, today=date(2026, 11, 25)
        )
    company, free = made.rows
    assert msgspec.to_builtins(company) == {
        "programme": "company",
        "name": "商品券",
        "regime": "regulated",
        "unused_yen": 27_000,
        "issued_yen": 10_000,
        "refunded_yen": 2_000,
        "unused_before_yen": 20_000,
        "issued_before_yen": 20_000,
    }
    assert (free.regime, free.unused_yen, free.issued_yen) == (Regime.FREE, 0, 0)
    assert (made.unused_yen, made.deposit_yen, made.refund_room_yen) == (27_000, 0, 2_000)


@pytest.mark.parametrize(
    ("day", "code"),
    [(date(2026, 9, 29), "base_date_invalid"), (date(2026, 9, 30), "day_to_come")],
)
async def test_a_day_that_is_no_base_date_or_not_over_is_refused(
    rooms: tuple[AsyncEngine, Teller, TestClock], day: date, code: str
) -> None:
    engine, _, _ = rooms
    async with read(engine) as connection:
        with pytest.raises(RefusedError) as refused:
            await report(connection, base_date=day, settings=LAW, today=date(2026, 9, 30))
    assert refused.value.refusal.code == code
