"""A set that is made of several classes of purses: paid for once, issued in one chain."""

from collections.abc import AsyncIterator
from datetime import date

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.city import open_rooms
from tests.factories.moments import NOW_US
from tests.factories.people import make_wallet
from tests.factories.planting import failed
from tests.factories.programmes import make_programme, programme, spending
from tests.factories.residents import row_of
from tests.factories.sales import pay_for, put_on_sale, reserve, wish
from tests.factories.vouchers import ask, give, make_request, purses_of
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.ledger.teller import Teller
from wallet.programmes.problems import problems_of
from wallet.programmes.rules import Frame, Part
from wallet.programmes.terms import Expiry, ProgrammeDraft
from wallet.proof import prove
from wallet.vouchers.issue import Issued, Refused
from wallet.vouchers.rules import parts_of
from wallet.vouchers.settle_purchases import settle_purchases

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRAME = Frame(
    price_yen=10_000,
    face_yen=12_000,
    sets_total=3,
    sets_per_person=2,
    parts=(
        Part(programme="small-only", paid_yen=4_000, premium_yen=2_000),
        Part(programme="common", paid_yen=6_000),
    ),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(module_database: Database) -> AsyncIterator[tuple[AsyncEngine, Teller, str]]:
    """Yield a city whose voucher is partly for small shops; a proof must hold at the end."""
    url = module_database.application_url
    async with open_rooms(url) as (engine, teller):
        await make_programme(
            teller,
            ProgrammeDraft(
                code="small-only",
                name="小規模店専用",
                spending=spending(shops="small", last_day=date(2027, 1, 31)),
                budget_yen=6_000,
            ),
        )
        draft = ProgrammeDraft(code="common", name="共通券", spending=spending(), frame=FRAME)
        await make_programme(teller, draft)
        yield engine, teller, url
        proof = await prove(engine, now_us=NOW_US)
        assert proof.ok, failed(proof.checks)


async def test_a_set_is_bought_and_issued_into_all_its_purses(
    town: tuple[AsyncEngine, Teller, str],
) -> None:
    engine, teller, url = town
    wallet_id = await make_wallet(engine)
    await put_on_sale(engine, "common", units_total=3)
    purchase = await reserve(teller, wish(wallet_id, "common", units=2))
    await pay_for(engine, teller, purchase)
    assert await settle_purchases(engine, database_url=url, clock=TestClock(NOW_US)) == 1
    assert await purses_of(engine, wallet_id) == {
        "common paid": 12_000,
        "small-only paid": 8_000,
        "small-only premium": 4_000,
    }
    answer = await ask(teller, make_request(wallet_id, "common", sets=1))
    assert isinstance(answer, Refused)
    assert answer.refusal.code == "sets_per_person_exceeded"


async def test_a_repeat_has_the_whole_price_and_face(
    town: tuple[AsyncEngine, Teller, str],
) -> None:
    engine, teller, _ = town
    request = make_request(await make_wallet(engine), "common", sets=1)
    for replayed in (False, True):
        answer = await ask(teller, request)
        assert isinstance(answer, Issued)
        assert (answer.price_yen, answer.face_yen) == (10_000, 12_000)
        assert answer.replayed is replayed


async def test_a_part_without_budget_refuses_the_whole_set(
    town: tuple[AsyncEngine, Teller, str],
) -> None:
    engine, teller, _ = town
    wallet_id = await make_wallet(engine)
    draft = ProgrammeDraft(
        code="dear",
        name="共通券2",
        spending=spending(),
        frame=Frame(
            price_yen=10_000,
            face_yen=12_000,
            sets_total=1,
            sets_per_person=1,
            parts=(
                Part(programme="dear", paid_yen=10_000),
                Part(programme="small-only", paid_yen=0, premium_yen=2_000),
            ),
        ),
    )
    await make_programme(teller, draft)
    answer = await ask(teller, make_request(wallet_id, "dear", sets=1))
    assert isinstance(answer, Refused)
    assert answer.refusal.code == "budget_exhausted"
    assert await purses_of(engine, wallet_id) == {}


async def test_money_that_is_good_for_some_months_has_a_purse_of_that_day(
    town: tuple[AsyncEngine, Teller, str],
) -> None:
    engine, teller, _ = town
    expiry = Expiry(rule="months_after_issue", months=2)
    draft = ProgrammeDraft(
        code="short", name="短期", spending=spending(), expiry=expiry, budget_yen=1_000
    )
    await make_programme(teller, draft)
    wallet_id = await make_wallet(engine)
    await give(teller, wallet_id, "short", amount_yen=500)
    row = await row_of(engine, "SELECT expires_on FROM purse WHERE wallet_id = :id", id=wallet_id)
    assert row == {"expires_on": date(2027, 1, 31)}


async def test_a_draft_whose_parts_are_all_other_programmes_is_told_so() -> None:
    draft = ProgrammeDraft(code="third", name="共通券3", spending=spending(), frame=FRAME)
    problem = "frame.parts: one is 'third' itself, with paid_yen above 0."
    assert problem in problems_of(draft)


async def test_a_frame_whose_parts_are_all_other_programmes_cannot_be_counted() -> None:
    other = Frame(
        price_yen=1,
        face_yen=1,
        sets_total=1,
        sets_per_person=1,
        parts=(Part(programme="x", paid_yen=1),),
    )
    with pytest.raises(ValueError, match="no paid part of its own"):
        parts_of(programme(frame=other))
