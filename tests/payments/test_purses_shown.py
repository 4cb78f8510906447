"""What holders see of their purses: what is good today, in the order it will be drawn on."""

from datetime import date, timedelta

from tests.factories.city import City, make_city
from tests.factories.days import go_to
from tests.factories.payments import fresh, make_payer, pay
from tests.factories.programmes import free_draft, make_programme, voucher_draft
from tests.factories.vouchers import give
from tests.servers import Database
from wallet.core.clock import japanese_day
from wallet.payments.history import list_purses

LAST_DAY = date(2027, 3, 31)
SOONER = date(2026, 12, 31)


async def make_holder(city: City) -> list[tuple[str, str]]:
    """Open a wallet with money of several kinds; return what of it is shown, and pay out of it."""
    holder = await make_payer(city, yen=700)
    await make_programme(city.teller, voucher_draft("voucher", premium_first=True))
    await make_programme(city.teller, free_draft("small", shops="small"))
    await make_programme(city.teller, free_draft("soon", last_day=SOONER))
    await give(city.teller, holder, "voucher", sets=1)
    await give(city.teller, holder, "small", amount_yen=300)
    await give(city.teller, holder, "soon", amount_yen=200)
    day = japanese_day(city.clock())
    shown = await list_purses(city.engine, wallet_ids=[holder], day=day)
    payment = await pay(city, await fresh(city, holder, amount_yen=7_450))
    seen = [(one.programme, one.funding) for one in shown]
    assert [(part.programme, part.funding) for part in payment.parts] == seen
    assert not await list_purses(city.engine, wallet_ids=[holder], day=day)
    return seen


async def test_purses_are_shown_in_the_order_in_which_they_then_pay(database: Database) -> None:
    async with make_city(database.application_url) as city:
        assert await make_holder(city) == [
            ("small", "free"),
            ("soon", "free"),
            ("coin", "free"),
            ("voucher", "premium"),
            ("voucher", "paid"),
        ]


async def test_money_that_is_over_is_not_shown_before_it_has_expired(database: Database) -> None:
    async with make_city(database.application_url) as city:
        for day, is_shown in ((LAST_DAY, True), (LAST_DAY + timedelta(days=1), False)):
            go_to(city, day, hour=0)
            shown = await list_purses(city.engine, wallet_ids=[city.wallet_id], day=day)
            assert bool(shown) is is_shown
