"""Many desks at once: a sheet is taken in once, a booklet sold once, and every yen is somewhere."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.factories.card_batches import activate, make_cards
from tests.factories.city import City, make_city
from tests.factories.merchants import make_merchant
from tests.factories.moments import NOW_US
from tests.factories.papers import make_booklets, redeem, sold_booklets
from tests.factories.people import make_wallet
from tests.factories.programmes import frame, make_programme, voucher_draft
from tests.factories.sales import put_on_sale
from tests.servers import Database
from wallet.core.refusals import RefusedError
from wallet.people.activate_cards import Activated
from wallet.proof import prove
from wallet.vouchers.paper_issue import run_paper_issues
from wallet.vouchers.paper_rules import SerialState

pytestmark = pytest.mark.asyncio(loop_scope="module")

DESKS = 4


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def city(module_database: Database) -> AsyncIterator[City]:
    """Yield a city with a voucher on paper."""
    async with make_city(module_database.application_url, yen=0) as city:
        await make_programme(city.teller, voucher_draft("rush", frame_=frame(sets_total=5_000)))
        yield city


async def test_a_sheet_that_comes_in_at_every_desk_is_paid_once(city: City) -> None:
    paper = await sold_booklets(city, "rush")
    other = await make_merchant(city.engine, city.teller)
    shops = [city.merchant.shop_id, other.shop_id] * (DESKS // 2)
    codes = [paper.code(1, sheet) for sheet in range(1, 6)]
    entered = await asyncio.gather(*[paper.enter(shop, *codes) for shop in shops])
    assert sum(one.accepted for one in entered) == 5
    refused = Counter(error.code for one in entered for error in one.errors)
    assert refused == {"paper_repeated": 5 * (DESKS - 1)}
    await asyncio.gather(*[redeem(city) for _ in range(DESKS)])
    proof = await prove(city.engine, now_us=NOW_US)
    assert proof.ok, proof.as_dict()


async def test_a_set_that_is_printed_and_put_on_sale_at_once_is_one_of_them(city: City) -> None:
    for number in range(8):
        code = f"both-{number}"
        await make_programme(city.teller, voucher_draft(code, frame_=frame(sets_total=10)))
        done = await asyncio.gather(
            make_booklets(city.engine, code, booklets=6),
            put_on_sale(city.engine, code, units_total=6),
            make_booklets(city.engine, code, booklets=6),
            return_exceptions=True,
        )
        refused = [one for one in done if isinstance(one, RefusedError)]
        assert len(refused) == 2, done


async def test_a_booklet_that_every_desk_sells_is_sold_once(city: City) -> None:
    paper = await make_booklets(city.engine, "rush", booklets=1)
    sales = await asyncio.gather(*[paper.sell(paper.code(1)) for _ in range(DESKS)])
    assert sorted(len(one.serial_ids) for one in sales) == [0] * (DESKS - 1) + [1]
    await asyncio.gather(*[run_paper_issues(city.engine, city.teller) for _ in range(DESKS)])
    proof = await prove(city.engine, now_us=NOW_US)
    assert proof.ok, proof.as_dict()


async def test_a_card_that_two_phones_activate_is_one_s(city: City) -> None:
    (card,) = (await make_cards(city.engine)).cards
    wallet_ids = [await make_wallet(city.engine) for _ in range(DESKS)]
    answers = await asyncio.gather(
        *[
            activate(city.engine, card.printed_number, card.pin, wallet_id=wallet_id)
            for wallet_id in wallet_ids
        ]
    )
    assert sum(isinstance(answer, Activated) for answer in answers) == 1


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 10), st.sampled_from(["use", "use", "lose"])),
        max_size=12,
    )
)
async def test_whatever_becomes_of_booklets_every_yen_is_somewhere(
    city: City, history: list[tuple[int, int, str]]
) -> None:
    paper = await sold_booklets(city, "rush", 3)
    used: set[tuple[int, int]] = set()
    lost: set[int] = set()
    for booklet, sheet, what in history:
        state = (await paper.states())[booklet]
        if what == "lose":
            if state == SerialState.SOLD:
                await paper.move(SerialState.LOST, booklet)
                lost.add(booklet)
            continue
        entered = await paper.enter(city.merchant.shop_id, paper.code(booklet, sheet))
        fits = booklet not in lost and (booklet, sheet) not in used
        assert entered.accepted == int(fits)
        used |= {(booklet, sheet)} if fits else set()
        await redeem(city)
    proof = await prove(city.engine, now_us=NOW_US)
    assert proof.ok, proof.as_dict()
    (totals,) = [one for one in proof.programmes if one.code == "rush"]
    assert totals.difference_yen == 0
