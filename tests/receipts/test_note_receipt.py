"""Money that a provider reports is booked once, to whatever it is for, and to the yen."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.city import open_rooms
from tests.factories.moments import NOW_US
from tests.factories.planting import failed
from tests.factories.programmes import make_programme, voucher_draft
from tests.factories.receipts import DAY_S, make_slip, note, report
from tests.factories.residents import row_of
from tests.factories.stops import release
from tests.servers import Database
from wallet.core.clock import MICROSECONDS
from wallet.core.database import read, write
from wallet.core.refusals import RefusedError
from wallet.ledger.teller import Teller
from wallet.ops import stop
from wallet.proof import prove
from wallet.receipts.note_receipt import NOTE, ReceiptNoted, Refused
from wallet.receipts.request_payment import cancel_payment, find_slips
from wallet.receipts.rules import (
    RECEIPTS_ACCOUNT_IDS,
    SUSPENSE_ACCOUNT_ID,
    Method,
    Purpose,
    Share,
)
from wallet.receipts.run_due import close_orders
from wallet.receipts.take_paid import mark_settled, take_paid

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLEARING = "SELECT clearing_account_id AS id FROM programme WHERE id = :id"
BALANCE = text("SELECT credits_posted - debits_posted FROM balance WHERE account_id = :id")


class Office:
    """Two processes that note receipts, an engine, and the programme that is paid for."""

    def __init__(self, engine: AsyncEngine, tellers: tuple[Teller, Teller], own_id: UUID) -> None:
        self.engine = engine
        self.tellers = tellers
        self.programme_id = own_id

    async def balance_yen(self, account_id: UUID) -> int:
        """Return an account's balance, 0 when it was never opened."""
        async with read(self.engine) as connection:
            found = await connection.execute(BALANCE, {"id": account_id})
            return int(found.scalar_one_or_none() or 0)

    async def cleared_yen(self, programme_id: UUID | None = None) -> int:
        """Return what was received for a programme, and not sold yet."""
        row = await row_of(self.engine, CLEARING, id=programme_id or self.programme_id)
        return await self.balance_yen(row["id"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(module_database: Database) -> AsyncIterator[Office]:
    """Yield two tellers and a programme; a proof must hold at the end."""
    url = module_database.application_url
    async with open_rooms(url) as (engine, one), open_rooms(url) as (_, other):
        created = await make_programme(one, voucher_draft())
        yield Office(engine, (one, other), created.programme_id)
        proof = await prove(engine, now_us=NOW_US)
        assert proof.ok, failed(proof.checks)


async def test_the_exact_amount_is_the_programmes(office: Office) -> None:
    slip = await make_slip(office.engine, office.programme_id)
    before_yen = await office.cleared_yen()
    noted = await note(office.tellers[0], report(slip))
    assert (noted.order_id, noted.matched_yen) == (slip.order_id, 5_000)
    assert await office.cleared_yen() == before_yen + 5_000
    async with read(office.engine) as connection:
        found = await find_slips(connection, order_ids=[slip.order_id])
    assert found[slip.order_id].state == "paid"
    event = await row_of(
        office.engine,
        "SELECT body FROM outbox WHERE kind = 'receipt.matched' AND body->>'order_id' = :id",
        id=str(slip.order_id),
    )
    assert event["body"]["amount_yen"] == 5_000


async def test_an_event_that_is_reported_often_is_noted_once(office: Office) -> None:
    slip = await make_slip(office.engine, office.programme_id)
    before_yen = await office.cleared_yen()
    request = report(slip)
    answers: list[ReceiptNoted] = await asyncio.gather(
        *(
            teller.submit(NOTE, report(slip, provider_event=request.provider_event))
            for teller in office.tellers * 5
        )
    )
    assert sum(not one.replayed for one in answers) == 1
    assert len({one.receipt_id for one in answers}) == 1
    assert await office.cleared_yen() == before_yen + 5_000


async def test_an_unknown_event_that_is_reported_at_once_is_suspended_once(office: Office) -> None:
    slip = await make_slip(office.engine, office.programme_id)
    before_yen = await office.balance_yen(SUSPENSE_ACCOUNT_ID)
    answers: list[ReceiptNoted] = await asyncio.gather(
        *(
            teller.submit(NOTE, report(slip, reference="nobody's", provider_event="lost"))
            for teller in office.tellers * 5
        )
    )
    assert sum(not one.replayed for one in answers) == 1
    assert await office.balance_yen(SUSPENSE_ACCOUNT_ID) == before_yen + 5_000


async def test_an_event_that_comes_back_different_is_refused(office: Office) -> None:
    slip = await make_slip(office.engine, office.programme_id)
    request = report(slip)
    await note(office.tellers[0], request)
    other = report(slip, provider_event=request.provider_event, amount_yen=6_000)
    answer = await office.tellers[0].submit(NOTE, other)
    assert isinstance(answer, Refused)
    assert answer.refusal.code == "receipt_differs"


async def test_of_two_payments_for_one_order_the_second_is_suspended(office: Office) -> None:
    slip = await make_slip(office.engine, office.programme_id)
    answers = await asyncio.gather(*(note(one, report(slip)) for one in office.tellers * 3))
    assert sorted(str(one.because) for one in answers) == ["None", *["paid_before"] * 5]
    assert {one.order_id for one in answers} == {slip.order_id}


@pytest.mark.parametrize(
    ("amount_yen", "matched_yen", "because"), [(4_999, 0, "under"), (7_000, 5_000, "over")]
)
async def test_another_amount_is_suspended_or_its_surplus(
    office: Office, amount_yen: int, matched_yen: int, because: str
) -> None:
    slip = await make_slip(office.engine, office.programme_id)
    before_yen = await office.balance_yen(SUSPENSE_ACCOUNT_ID)
    noted = await note(office.tellers[0], report(slip, amount_yen=amount_yen))
    assert (noted.matched_yen, noted.because) == (matched_yen, because)
    suspended_yen = await office.balance_yen(SUSPENSE_ACCOUNT_ID) - before_yen
    assert suspended_yen == amount_yen - matched_yen


async def test_a_card_without_3d_secure_pays_nothing(office: Office) -> None:
    slip = await make_slip(office.engine, office.programme_id, method=Method.CARD)
    noted = await note(office.tellers[0], report(slip, authenticated=False))
    assert (noted.matched_yen, noted.because) == (0, "unauthenticated")


async def test_what_is_for_several_programmes_goes_to_each(office: Office) -> None:
    other = await make_programme(office.tellers[0], voucher_draft("companion"))
    shares = (Share(office.programme_id, 2_000), Share(other.programme_id, 3_000))
    slip = await make_slip(office.engine, office.programme_id, shares=shares)
    before_yen = await office.cleared_yen()
    await note(office.tellers[0], report(slip))
    assert await office.cleared_yen() - before_yen == 2_000
    assert await office.cleared_yen(other.programme_id) == 3_000


async def test_money_for_an_order_that_was_taken_back_is_suspended(office: Office) -> None:
    slip = await make_slip(office.engine, office.programme_id)

    async def take_back(connection: AsyncConnection) -> bool:
        return await cancel_payment(connection, order_id=slip.order_id)

    assert await write(office.engine, take_back)
    assert not await write(office.engine, take_back)
    noted = await note(office.tellers[0], report(slip))
    assert (noted.order_id, noted.because) == (slip.order_id, "order_over")


async def test_an_order_is_closed_after_its_grace_and_not_before(office: Office) -> None:
    slip = await make_slip(office.engine, office.programme_id)
    end_us = NOW_US + 7 * DAY_S * MICROSECONDS
    await close_orders(office.engine, now_us=end_us + 7_199 * MICROSECONDS)
    async with read(office.engine) as connection:
        found = await find_slips(connection, order_ids=[slip.order_id])
    assert found[slip.order_id].state == "waiting"
    assert await close_orders(office.engine, now_us=end_us + 7_200 * MICROSECONDS) >= 1
    noted = await note(office.tellers[0], report(slip))
    assert noted.because == "order_over"


async def test_an_order_that_begins_after_its_deadline_is_refused(office: Office) -> None:
    with pytest.raises(RefusedError) as refused:
        await make_slip(office.engine, office.programme_id, deadline_us=NOW_US)
    assert refused.value.refusal.code == "payment_too_late"


async def test_shares_that_do_not_make_the_amount_are_an_error(office: Office) -> None:
    shares = (Share(office.programme_id, 4_999),)
    with pytest.raises(ValueError, match="do not make its amount"):
        await make_slip(office.engine, office.programme_id, shares=shares)


async def test_while_everything_is_stopped_nothing_is_noted(office: Office) -> None:
    slip = await make_slip(office.engine, office.programme_id)

    async def engage(connection: AsyncConnection) -> None:
        await stop.engage(connection, scope="all", reason="drill", actor="cli:one", now_us=NOW_US)

    await write(office.engine, engage)
    answer = await office.tellers[0].submit(NOTE, report(slip))
    await _release(office.engine)
    assert isinstance(answer, Refused)
    assert answer.refusal.code == "service_stopped"
    assert (await note(office.tellers[0], report(slip))).matched_yen == 5_000


async def _release(engine: AsyncEngine) -> None:
    async def work(connection: AsyncConnection) -> None:
        await release(connection, scope="all", reason="over", actor="cli:two", now_us=NOW_US)

    await write(engine, work)


async def test_what_was_paid_is_given_until_it_is_marked(office: Office) -> None:
    reference_id = uuid4()
    slip = await make_slip(office.engine, office.programme_id, reference_id=reference_id)
    await note(office.tellers[0], report(slip, card_key=bytes(32)))

    async def taken() -> list[UUID]:
        async with read(office.engine) as connection:
            found = await take_paid(connection, purpose=Purpose.CHARGE, limit=100)
            return [one.reference_id for one in found]

    assert reference_id in await taken()
    for first in (1, 0):
        marked = await write(
            office.engine, lambda c: mark_settled(c, order_ids=[slip.order_id], now_us=NOW_US)
        )
        assert marked == first
    assert reference_id not in await taken()
    async with read(office.engine) as connection:
        assert await take_paid(connection, purpose=Purpose.VOUCHER, limit=100) == []


async def test_every_provider_has_taken_in_what_it_reported(office: Office) -> None:
    before_yen = await office.balance_yen(RECEIPTS_ACCOUNT_IDS[Method.BANK])
    slip = await make_slip(office.engine, office.programme_id, method=Method.BANK)
    await note(office.tellers[0], report(slip))
    assert await office.balance_yen(RECEIPTS_ACCOUNT_IDS[Method.BANK]) == before_yen - 5_000
