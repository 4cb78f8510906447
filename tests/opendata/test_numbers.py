"""The numbers of a small city, added up by hand, and in agreement with the proof."""

from collections.abc import AsyncIterator
from datetime import date
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.factories.bonuses import coupon, make_giving, pick
from tests.factories.city import City, make_city
from tests.factories.moments import NOW_US
from tests.factories.papers import redeem, sold_booklets
from tests.factories.payments import PAY, by_code
from tests.factories.people import make_wallet
from tests.factories.programmes import make_programme, voucher_draft
from tests.factories.refunds import refund
from tests.factories.vouchers import give
from tests.servers import Database
from wallet.core.database import write
from wallet.core.refusals import RefusedError
from wallet.opendata.numbers import COLUMNS, MEASURES, Numbers, count
from wallet.opendata.rules import Cell
from wallet.payments.pay import Paid
from wallet.people.persons import open_person
from wallet.people.rules import Tier
from wallet.proof import prove

pytestmark = pytest.mark.asyncio(loop_scope="module")

TODAY = date(2026, 11, 25)
PROFILE = text("""
INSERT INTO resident_profile (person_id, birth_year, area_code, updated_at)
VALUES (:id, :birth_year, :area, now())
""")
RESIDENT = text("UPDATE wallet SET holder = 'resident' WHERE id = :id")


async def holder_of(city: City, *, birth_year: int, area: str) -> UUID:
    """Return the wallet of somebody of a year and a district."""

    async def work(connection: AsyncConnection) -> UUID:
        opened = await open_person(connection, tier=Tier.DEVICE, now_us=NOW_US)
        values = {"id": opened.person_id, "birth_year": birth_year, "area": area}
        await connection.execute(PROFILE, values)
        await connection.execute(RESIDENT, {"id": opened.wallet_id})
        return opened.wallet_id

    return await write(city.engine, work)


async def pay(
    city: City, wallet_id: UUID, amount_yen: int, terminal_id: UUID | None = None
) -> None:
    """Pay a shop by a code, or fail the test."""
    (code,) = await city.codes(1, wallet_id=wallet_id)
    changes = {} if terminal_id is None else {"terminal_id": terminal_id}
    request = by_code(city, code, amount_yen=amount_yen, **changes)
    answer = await city.teller.submit(PAY, request)
    assert isinstance(answer, Paid)
    assert answer.payment.state == "succeeded", answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def city(module_database: Database) -> AsyncIterator[City]:
    """Yield a city in which a voucher was sold, spent in two shops, and used on paper."""
    async with make_city(module_database.application_url, yen=100) as city:
        await make_programme(city.teller, voucher_draft("voucher"))
        young = await holder_of(city, birth_year=2000, area="28201-01")
        old = await holder_of(city, birth_year=1930, area="28201-02")
        await give(city.teller, young, "voucher", sets=2)
        await give(city.teller, old, "voucher", sets=1)
        await pay(city, young, 3_000)
        await pay(city, old, 1_000)
        paper = await sold_booklets(city, "voucher")
        await paper.enter(city.merchant.shop_id, paper.code(1, 1))
        await redeem(city)
        yield city


def find(numbers: Numbers, dimension: str, cell: str, programme: str = "voucher") -> Cell:
    """Return one cell."""
    (found,) = [
        one
        for one in numbers.cells
        if (one.programme, one.dimension, one.cell) == (programme, dimension, cell)
    ]
    return found


async def test_a_programme_is_added_up_whole_and_by_who_holds_it(city: City) -> None:
    numbers = await count(city.engine, until=TODAY)
    assert find(numbers, "total", "all") == Cell(
        programme="voucher",
        dimension="total",
        cell="all",
        wallets=3,
        moved_wallets=3,
        sold_sets=4,
        sold_yen=20_000,
        issued_yen=25_000,
        redeemed_yen=4_625,
        expired_yen=0,
        refunded_yen=0,
        outstanding_yen=20_375,
    )
    cells = [one for one in numbers.cells if one.programme == "voucher"]
    ages = {one.cell: one for one in cells if one.dimension == "age"}
    assert list(ages) == ["20-29", "90+", "unknown"]
    assert (ages["20-29"].issued_yen, ages["20-29"].redeemed_yen) == (12_500, 3_000)
    assert (ages["90+"].issued_yen, ages["90+"].redeemed_yen) == (6_250, 1_000)
    assert (ages["unknown"].issued_yen, ages["unknown"].redeemed_yen) == (6_250, 625)
    area = find(numbers, "area", "28201-01")
    assert (area.wallets, area.sold_sets) == (1, 2)
    for dimension in ("age", "area"):
        parts = [one for one in cells if one.dimension == dimension]
        assert sum(one.outstanding_yen or 0 for one in parts) == 20_375
    small = find(numbers, "shop_size", "small")
    assert (small.wallets, small.shops, small.redeemed_yen) == (3, 1, 4_625)


async def test_the_numbers_agree_with_the_proof(city: City) -> None:
    await make_giving(city, "sale", coupons=[coupon()])
    payer = await make_wallet(city.engine)
    await give(city.teller, payer, amount_yen=10_000)
    await pick(city, payer, "sale:spring")
    await pay(city, payer, 1_000)
    (code,) = await city.codes(1, wallet_id=payer)
    returned = await city.teller.submit(PAY, by_code(city, code, amount_yen=2_000))
    await refund(city, returned.payment.id, amount_yen=500)
    numbers = await count(city.engine, until=TODAY)
    proof = await prove(city.engine, now_us=NOW_US)
    for totals in proof.programmes:
        cell = find(numbers, "total", "all", totals.code)
        assert (cell.issued_yen, cell.redeemed_yen) == (totals.issued_yen, totals.redeemed_yen)
        assert (cell.expired_yen, cell.refunded_yen) == (totals.expired_yen, totals.refunded_yen)
        assert cell.outstanding_yen == totals.circulating_yen
    sale = find(numbers, "total", "all", "sale")
    assert (sale.issued_yen, sale.redeemed_yen, sale.outstanding_yen) == (300, 300, 0)


async def test_before_the_first_day_there_was_nothing(city: City) -> None:
    numbers = await count(city.engine, since=date(2026, 1, 1), until=date(2026, 11, 24))
    cell = find(numbers, "total", "all")
    assert (cell.wallets, cell.issued_yen, cell.outstanding_yen) == (0, 0, 0)
    assert numbers.circulation[""].velocity is None


async def test_holders_of_whose_money_nothing_moved_are_told_apart(city: City) -> None:
    numbers = await count(city.engine, since=date(2026, 11, 26), until=date(2026, 12, 1))
    cell = find(numbers, "total", "all")
    assert (cell.wallets, cell.moved_wallets, cell.redeemed_yen) == (3, 0, 0)


async def test_the_circulation_counts_what_moved_against_what_was_there(city: City) -> None:
    numbers = await count(city.engine, until=TODAY)
    found = numbers.circulation["voucher"]
    # All of it since noon: half a day's worth of what is outstanding, on average of that one day.
    assert found.velocity is not None
    assert found.velocity == pytest.approx(4_625 * 365 / (20_375 / 2), rel=0.001)
    assert (found.small_shop_share, found.gini, found.shops) == (1.0, 0.0, 1)
    assert (found.recirculation, found.leakage) == (None, None)
    assert numbers.circulation[""].leakage == 0.0
    assert found.dormancy == 0.0


async def test_money_that_nothing_has_left_for_ninety_days_is_dormant(city: City) -> None:
    numbers = await count(city.engine, since=TODAY, until=date(2027, 2, 23))
    assert numbers.circulation["voucher"].dormancy == 1.0
    before = await count(city.engine, since=TODAY, until=date(2027, 2, 22))
    assert before.circulation["voucher"].dormancy == 0.0


async def test_the_public_form_says_nothing_of_three_people(city: City) -> None:
    numbers = await count(city.engine, until=TODAY, public=True)
    assert all(one.suppressed for one in numbers.cells if one.programme == "voucher")
    assert numbers.circulation == {}
    shown = numbers.as_dict()
    assert shown["public"] is True
    assert "4625" not in str(shown)


async def test_one_programme_can_be_asked_for(city: City) -> None:
    numbers = await count(city.engine, until=TODAY, programme="voucher")
    assert {one.programme for one in numbers.cells} == {"voucher"}
    assert list(numbers.circulation) == ["voucher"]
    (programme,) = numbers.as_dict()["programmes"]
    assert programme["total"]["sold_sets"] == 4
    assert programme["circulation"]["shops"] == 1
    with pytest.raises(RefusedError, match="programme_unknown"):
        await count(city.engine, until=TODAY, programme="nothing")


@pytest.mark.parametrize(
    ("since", "until"),
    [(TODAY, date(2026, 11, 24)), (date.min, TODAY), (TODAY, date.max)],
)
async def test_a_period_that_no_calendar_has_is_refused(
    city: City, since: date, until: date
) -> None:
    with pytest.raises(RefusedError, match="period_invalid"):
        await count(city.engine, since=since, until=until)


async def test_the_rows_fit_their_head(city: City) -> None:
    numbers = await count(city.engine, until=TODAY)
    rows = [list(row) for row in numbers.rows()]
    assert all(len(row) == len(COLUMNS) for row in rows)
    assert ["voucher", "total", "all"] in [row[:3] for row in rows]
    measures = [list(row) for row in numbers.measures()]
    assert all(len(row) == len(MEASURES) for row in measures)
    assert measures[0][0] == ""
