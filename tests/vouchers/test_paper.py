"""Paper on the real ledger: sold, used, taken in once, and as good as a payment by QR code."""

from collections.abc import AsyncIterator
from datetime import date
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from msgspec.structs import replace
from sqlalchemy import TextClause, text

from tests.factories import stops
from tests.factories.city import City, make_city
from tests.factories.merchants import make_merchant
from tests.factories.moments import NOW_US, japanese
from tests.factories.papers import TODAY, make_booklets, redeem, sold_booklets
from tests.factories.payments import engage, release
from tests.factories.programmes import frame, free_draft, make_programme, voucher_draft
from tests.factories.sales import put_on_sale, stock_of
from tests.factories.vouchers import purses_of
from tests.servers import Database
from wallet.core.database import read, write
from wallet.core.refusals import RefusedError
from wallet.ops import stop
from wallet.payments import redeem_paper
from wallet.proof import prove
from wallet.vouchers.paper_entries import UsedSheet
from wallet.vouchers.paper_issue import run_paper_issues
from wallet.vouchers.paper_rules import SerialState
from wallet.vouchers.paper_sales import RowError

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAYMENTS = text("""
SELECT p.amount_yen, p.instrument, p.state, p.refusal ->> 'code' AS because, p.shop_id, o.kind
FROM payment AS p JOIN paper_use AS u ON u.payment_id = p.id
JOIN paper_serial AS s ON s.id = u.serial_id
LEFT JOIN outbox AS o ON o.event_id = p.id
WHERE s.batch_id = :batch_id ORDER BY s.number, u.sheet
""")
EXPIRES_ON = text("""
SELECT DISTINCT q.expires_on FROM purse AS q JOIN paper_serial AS s ON s.id = q.wallet_id
WHERE s.batch_id = :batch_id
""")
WAITING = text("""
SELECT count(*) FROM paper_use AS u JOIN paper_serial AS s ON s.id = u.serial_id
WHERE s.batch_id = :batch_id AND u.settled_at IS NULL
""")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def city(module_database: Database) -> AsyncIterator[City]:
    """Yield a city."""
    async with make_city(module_database.application_url) as city:
        yield city


async def rows_of(
    city: City,
    statement: TextClause,
    **values: Any,  # noqa: ANN401 - of many types
) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    async with read(city.engine) as connection:
        rows = await connection.execute(statement, values)
        return [tuple(row) for row in rows]


async def test_a_sold_booklet_holds_one_set_until_the_last_day_of_clearing(city: City) -> None:
    await make_programme(city.teller, voucher_draft("sold"))
    paper = await make_booklets(city.engine, "sold", booklets=2)
    sale = await paper.sell(paper.code(1))
    (serial_id,) = sale.serial_ids
    assert await purses_of(city.engine, serial_id) == {}
    await run_paper_issues(city.engine, city.teller)
    await run_paper_issues(city.engine, city.teller)
    assert await purses_of(city.engine, serial_id) == {"sold paid": 5_000, "sold premium": 1_250}
    assert await paper.states() == {1: "sold", 2: "shipped"}
    expires_on = await rows_of(city, EXPIRES_ON, batch_id=paper.batch_id)
    assert expires_on == [(date(2027, 4, 30),)]


async def test_a_used_sheet_pays_its_shop_as_a_payment_by_code_does(city: City) -> None:
    await make_programme(city.teller, voucher_draft("used"))
    paper = await sold_booklets(city, "used")
    entered = await paper.enter(city.merchant.shop_id, paper.code(1, 1), paper.code(1, 2))
    assert (entered.accepted, entered.errors) == (2, [])
    assert await redeem(city) == 2
    assert await redeem(city) == 0
    paid = await rows_of(city, PAYMENTS, batch_id=paper.batch_id)
    assert (
        paid == [(625, "paper", "succeeded", None, city.merchant.shop_id, "payment.succeeded")] * 2
    )
    proof = await prove(city.engine, now_us=NOW_US)
    assert proof.ok, proof.as_dict()
    (totals,) = [one for one in proof.programmes if one.code == "used"]
    assert (totals.issued_yen, totals.redeemed_yen, totals.circulating_yen) == (6_250, 1_250, 5_000)


async def test_a_booklet_is_used_up_by_its_last_sheet(city: City) -> None:
    await make_programme(city.teller, voucher_draft("last"))
    paper = await sold_booklets(city, "last")
    codes = [paper.code(1, sheet) for sheet in range(1, 11)]
    await paper.enter(city.merchant.shop_id, *codes[:9])
    await redeem(city)
    assert await paper.states() == {1: "sold"}
    await paper.enter(city.merchant.shop_id, codes[9])
    await redeem(city)
    assert await paper.states() == {1: "used"}
    again = await paper.enter(city.merchant.shop_id, codes[9])
    assert again.errors == [RowError(1, "paper_repeated")]


async def test_each_bad_row_is_told_and_the_good_ones_are_taken(city: City) -> None:
    await make_programme(city.teller, voucher_draft("rows"))
    paper = await make_booklets(city.engine, "rows", booklets=3)
    await paper.sell(paper.code(1), paper.code(2))
    await run_paper_issues(city.engine, city.teller)
    await paper.move(SerialState.LOST, 2)
    forged = paper.code(1, 4)[:-1] + ("2" if paper.code(1, 4)[-1] != "2" else "3")
    entered = await paper.enter(
        city.merchant.shop_id,
        paper.code(1, 1),
        UsedSheet(paper.code(1, 2), torn=True),
        paper.code(1, 1).lower(),
        forged,
        "スタンプ",
        paper.code(1),
        paper.code(2, 1),
        paper.code(3, 1),
        paper.code(1, 3),
    )
    assert entered.accepted == 2
    assert entered.errors == [
        RowError(2, "paper_torn"),
        RowError(3, "paper_repeated"),
        RowError(4, "paper_unreadable"),
        RowError(5, "paper_unreadable"),
        RowError(6, "paper_unreadable"),
        RowError(7, "paper_lost"),
        RowError(8, "paper_not_sold"),
    ]


@pytest.mark.parametrize("used_on", [date(2025, 12, 31), date(2026, 11, 26)])
async def test_a_sheet_counts_by_the_day_it_was_used(city: City, used_on: date) -> None:
    code = f"day-{used_on}"
    await make_programme(city.teller, voucher_draft(code))
    paper = await sold_booklets(city, code)
    entered = await paper.enter(city.merchant.shop_id, paper.code(1, 1), used_on=used_on)
    assert entered.errors == [RowError(1, "paper_outside_period")]


async def test_sheets_come_in_after_the_last_day_of_use_and_not_after_that_of_clearing(
    city: City,
) -> None:
    await make_programme(city.teller, voucher_draft("late"))
    paper = await sold_booklets(city, "late")
    shop_id, last_day = city.merchant.shop_id, date(2027, 3, 31)
    in_time, too_late = japanese("2027-04-30T23:59:59"), japanese("2027-05-01T00:00")
    good = await paper.enter(shop_id, paper.code(1, 1), used_on=last_day, now_us=in_time)
    late = await paper.enter(shop_id, paper.code(1, 2), used_on=last_day, now_us=too_late)
    assert (good.accepted, good.errors) == (1, [])
    assert late.errors == [RowError(1, "paper_late")]
    await redeem(city)
    ((amount_yen, *_),) = await rows_of(city, PAYMENTS, batch_id=paper.batch_id)
    assert amount_yen == 625


async def test_a_shop_that_may_not_take_it_is_declined_and_the_money_stays(city: City) -> None:
    draft = voucher_draft("small-only", shops="small")
    await make_programme(city.teller, draft)
    large = await make_merchant(city.engine, city.teller, small=False)
    paper = await sold_booklets(city, "small-only")
    entered = await paper.enter(large.shop_id, paper.code(1, 1))
    assert entered.accepted == 1
    await redeem(city)
    (payment,) = await rows_of(city, PAYMENTS, batch_id=paper.batch_id)
    assert payment[1:4] == ("paper", "declined", "merchant_not_eligible")
    assert payment[5] == "payment.declined"
    assert (await prove(city.engine, now_us=NOW_US)).ok


async def test_while_money_is_stopped_paper_waits(city: City) -> None:
    await make_programme(city.teller, voucher_draft("stopped"))
    paper = await sold_booklets(city, "stopped")
    await paper.enter(city.merchant.shop_id, paper.code(1, 1))
    story: dict[str, Any] = {
        "scope": "pay",
        "reason": "drill of the clearing",
        "actor": "cli:tests",
    }
    await write(city.engine, partial(stop.engage, **story, now_us=NOW_US))
    await redeem(city)
    assert await rows_of(city, WAITING, batch_id=paper.batch_id) == [(1,)]
    await write(city.engine, partial(stops.release, **story, now_us=NOW_US))
    await redeem(city)
    assert await rows_of(city, WAITING, batch_id=paper.batch_id) == [(0,)]


async def test_the_sheets_of_a_stopped_shop_do_not_keep_back_those_of_others(city: City) -> None:
    await redeem(city)
    await make_programme(city.teller, voucher_draft("behind"))
    paper = await sold_booklets(city, "behind")
    other = await make_merchant(city.engine, city.teller)
    for sheet in (1, 2):
        await paper.enter(city.merchant.shop_id, paper.code(1, sheet), now_us=NOW_US + sheet * 1000)
    await paper.enter(other.shop_id, paper.code(1, 3), now_us=NOW_US + 9_000)
    scope = f"merchant:{city.merchant.id.hex}"
    await engage(city, scope)
    assert await redeem_paper.run_redemptions(city.engine, city.teller, limit=1) == 3
    assert [row[4] for row in await rows_of(city, PAYMENTS, batch_id=paper.batch_id)] == [
        other.shop_id
    ]
    await release(city, scope)
    assert await redeem_paper.run_redemptions(city.engine, city.teller, limit=1) == 1
    assert await redeem(city) == 1


async def test_an_envelope_of_no_shop_is_refused(city: City) -> None:
    await make_programme(city.teller, voucher_draft("nowhere"))
    paper = await make_booklets(city.engine, "nowhere")
    with pytest.raises(RefusedError, match="paper_shop_unknown"):
        await paper.enter(uuid4(), paper.code(1, 1), used_on=TODAY)


async def test_sets_that_are_gone_are_not_printed(city: City) -> None:
    await make_programme(city.teller, voucher_draft("few", frame_=frame(sets_total=10)))
    await make_booklets(city.engine, "few", booklets=9)
    with pytest.raises(RefusedError, match="paper_sold_out"):
        await make_booklets(city.engine, "few", booklets=2)


async def test_what_the_app_sells_is_not_printed(city: City) -> None:
    await make_programme(city.teller, voucher_draft("app-first", frame_=frame(sets_total=10)))
    await put_on_sale(city.engine, "app-first", units_total=6)
    with pytest.raises(RefusedError) as refused:
        await make_booklets(city.engine, "app-first", booklets=5)
    assert (refused.value.refusal.code, refused.value.refusal.facts) == (
        "paper_sold_out",
        {"left_sets": 4},
    )
    await make_booklets(city.engine, "app-first", booklets=4)


async def test_what_is_printed_is_not_sold_in_the_app_unless_it_is_cancelled(city: City) -> None:
    await make_programme(city.teller, voucher_draft("paper-first", frame_=frame(sets_total=10)))
    paper = await make_booklets(city.engine, "paper-first", booklets=4)
    with pytest.raises(RefusedError, match="sale_beyond_frame"):
        await put_on_sale(city.engine, "paper-first", units_total=7)
    await paper.move(SerialState.RETURNED, 4)
    await paper.move(SerialState.CANCELLED, 4)
    await put_on_sale(city.engine, "paper-first", units_total=7)
    assert await stock_of(city.engine, "paper-first") == (7, 0, 0)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sheets": 12}, "paper_sheets_uneven"),
        ({"clearing_until": date(2027, 3, 30)}, "paper_clearing_too_short"),
    ],
)
async def test_booklets_that_would_not_work_are_not_printed(
    city: City, changes: dict[str, object], code: str
) -> None:
    programme = code.replace("_", "-")
    await make_programme(city.teller, voucher_draft(programme))
    with pytest.raises(RefusedError, match=code):
        await make_booklets(city.engine, programme, **changes)


async def test_free_money_has_no_booklets(city: City) -> None:
    await make_programme(city.teller, free_draft("free-paper"))
    with pytest.raises(RefusedError, match="paper_without_frame"):
        await make_booklets(city.engine, "free-paper")


async def test_booklets_move_together_or_not_at_all(city: City) -> None:
    await make_programme(city.teller, voucher_draft("range"))
    paper = await make_booklets(city.engine, "range", booklets=4)
    await paper.sell(paper.code(2))
    with pytest.raises(RefusedError) as refused:
        await paper.move(SerialState.RETURNED, 1, 4)
    assert refused.value.refusal.facts == {"numbers": [2]}
    assert await paper.states() == {1: "shipped", 2: "sold", 3: "shipped", 4: "shipped"}
    await paper.move(SerialState.RETURNED, 3, 4)
    await paper.move(SerialState.CANCELLED, 4)
    await paper.move(SerialState.SHIPPED, 3)
    assert await paper.states() == {1: "shipped", 2: "sold", 3: "shipped", 4: "cancelled"}
    with pytest.raises(RefusedError, match="paper_unknown"):
        await paper.move(SerialState.LOST, 4, 5)


async def test_a_booklet_is_sold_once(city: City) -> None:
    await make_programme(city.teller, voucher_draft("once"))
    paper = await make_booklets(city.engine, "once", booklets=2)
    sale = await paper.sell(paper.code(1), paper.code(1), paper.code(1, 1), "0000")
    assert len(sale.serial_ids) == 1
    assert sale.errors == [
        RowError(2, "paper_repeated"),
        RowError(3, "paper_unreadable"),
        RowError(4, "paper_unreadable"),
    ]
    again = await paper.sell(paper.code(1), paper.code(2))
    assert (len(again.serial_ids), again.errors) == (1, [RowError(1, "paper_state")])


async def test_a_booklet_without_budget_is_told_apart_and_nothing_is_issued(city: City) -> None:
    draft = replace(voucher_draft("no-budget"), budget_yen=1_250)
    await make_programme(city.teller, draft)
    paper = await make_booklets(city.engine, "no-budget", booklets=2)
    sale = await paper.sell(paper.code(1), paper.code(2))
    await run_paper_issues(city.engine, city.teller)
    held = [sum((await purses_of(city.engine, one)).values()) for one in sale.serial_ids]
    assert sorted(held) == [0, 6_250]
    refused = await rows_of(
        city,
        text("SELECT refusal ->> 'code' FROM paper_serial WHERE batch_id = :id ORDER BY 1"),
        id=paper.batch_id,
    )
    assert refused == [("budget_exhausted",), (None,)]
    assert await run_paper_issues(city.engine, city.teller) == 0
