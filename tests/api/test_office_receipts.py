"""Money that came in as the office sees it: lists, suspense, and two people who settle it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx2 as httpx
import pytest
import pytest_asyncio
from sqlalchemy import text

from tests.api.answers import problem_of
from tests.factories.campaigns import OPENS, first_come, make_fair
from tests.factories.city import open_rooms
from tests.factories.moments import NOW_US
from tests.factories.offices import Counter, Desk
from tests.factories.people import make_wallet
from tests.factories.planting import failed
from tests.factories.programmes import free_draft, make_programme, voucher_draft
from tests.factories.receipts import make_slip, note, report
from tests.factories.residents import row_of
from tests.factories.sales import pay_for, reserve, wish
from tests.factories.staff import REASON
from tests.servers import Database
from wallet.api.office_receipts_executions import SettlePayload, settlement_of
from wallet.core.clock import TestClock
from wallet.core.database import write
from wallet.core.ids import public_id
from wallet.core.scrub import contains_personal
from wallet.ledger.teller import Teller
from wallet.proof import prove
from wallet.receipts.note_receipt import ReceiptNoted
from wallet.receipts.request_payment import PaymentSlip
from wallet.receipts.run_due import run_due
from wallet.vouchers.settle_purchases import settle_purchases

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECEIPTS = "/office/v1/receipts"
APPROVALS = "/office/v1/approvals"
SALES = "/office/v1/sales"
SALE = {
    "mode": "first_come",
    "units_total": 50,
    "opens_at": "2026-11-01T09:00:00+09:00",
    "closes_at": "2026-12-01T00:00:00+09:00",
    "reason": REASON,
}
NOBODY = "0" * 32


@dataclass(frozen=True)
class Till:
    """The office's doors, and the city's money behind them."""

    counter: Counter
    teller: Teller
    url: str
    programme_id: UUID

    async def slip(self) -> PaymentSlip:
        """Ask somebody for 5,000 yen."""
        return await make_slip(self.counter.engine, self.programme_id)

    async def arrives(self, slip: PaymentSlip, **changes: Any) -> ReceiptNoted:  # noqa: ANN401 - of many types
        """Have money arrive."""
        return await note(self.teller, report(slip, **changes))

    async def run_due(self) -> None:
        """Have the worker do its part."""
        await run_due(self.counter.engine, self.url, TestClock(NOW_US))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def till(counter: Counter, module_database: Database) -> AsyncIterator[Till]:
    """Yield the office of a city that sells vouchers; a proof must hold at the end."""
    async with open_rooms(module_database.application_url) as (engine, teller):
        created = await make_programme(teller, voucher_draft())
        await make_programme(teller, free_draft())
        yield Till(counter, teller, module_database.application_url, created.programme_id)
        proof = await prove(engine, now_us=NOW_US)
        assert proof.ok, failed(proof.checks)


async def settled(till: Till, *receipts: ReceiptNoted, order: PaymentSlip | None = None) -> str:
    """Have two people settle receipts and the worker book it; return the settlement's state."""
    clerk = await till.counter.seat("programme_clerk")
    lead = await till.counter.seat("programme_lead")
    asked = await ask(clerk, *receipts, order=order)
    assert asked.status_code == 202, asked.text
    told = asked.json()
    approval = f"{APPROVALS}/{told['id']}"
    approved = await lead.post(f"{approval}/approve", {"payload_hash": told["payload_hash"]})
    assert approved.status_code == 200, approved.text
    executed = await clerk.post(f"{approval}/execute", {})
    assert executed.status_code == 200, executed.text
    await till.run_due()
    row = await row_of(
        till.counter.engine,
        "SELECT s.state || coalesce(' ' || s.refused_because, '') AS state"
        " FROM suspense_settlement AS s WHERE decided_by = :approval",
        approval=told["id"],
    )
    return str(row["state"])


async def ask(
    clerk: Desk, *receipts: ReceiptNoted, order: PaymentSlip | None = None
) -> httpx.Response:
    """Ask for receipts to be settled."""
    body: dict[str, Any] = {"receipt_ids": [public_id("rec", one.receipt_id) for one in receipts]}
    if order is not None:
        body["order_id"] = public_id("rcp", order.order_id)
    return await clerk.post(f"{RECEIPTS}/settle", {"reason": REASON, **body})


async def test_what_came_in_is_listed_with_what_waits(till: Till) -> None:
    clerk = await till.counter.seat("programme_clerk")
    matched = await till.arrives(await till.slip())
    waits = await till.arrives(await till.slip(), amount_yen=1)
    listed = (await clerk.get(f"{RECEIPTS}?limit=2")).json()
    assert {one["id"]: one["state"] for one in listed["data"]} == {
        public_id("rec", waits.receipt_id): "suspense",
        public_id("rec", matched.receipt_id): "matched",
    }
    only = (await clerk.get(f"{RECEIPTS}?only_open=true&limit=1")).json()
    assert only["data"][0]["suspended_because"] == "under"
    work = (await clerk.get(f"{RECEIPTS}/work")).json()
    under = {one["because"]: one for one in work["suspense"]}["under"]
    assert (under["receipts"] >= 1, under["oldest_at"]) == (True, "2026-11-25T03:00:00.000Z")
    if listed["has_more"]:
        cursor = listed["next_cursor"]
        assert (await clerk.get(f"{RECEIPTS}?cursor={cursor}")).status_code == 200


async def test_two_that_make_the_amount_pay_the_order(till: Till) -> None:
    slip = await till.slip()
    parts = [await till.arrives(slip, amount_yen=yen) for yen in (3_000, 2_000)]
    assert await settled(till, *parts, order=slip) == "done"
    row = await row_of(
        till.counter.engine, "SELECT state FROM receipt_order WHERE id = :id", id=slip.order_id
    )
    assert row["state"] == "paid"
    clerk = await till.counter.seat("programme_clerk")
    problem_of(await ask(clerk, *parts), "receipt_not_suspended")


async def test_what_is_nobodys_goes_back(till: Till) -> None:
    lost = await till.arrives(await till.slip(), reference="lost")
    assert await settled(till, lost) == "done"
    state = await row_of(
        till.counter.engine,
        "SELECT sum(amount)::int AS yen FROM transfer WHERE user_data_128 = :id AND code = 33",
        id=lost.receipt_id,
    )
    assert state["yen"] == 5_000


async def test_what_came_too_late_for_its_settlement_is_refused_and_waits_again(
    till: Till,
) -> None:
    slip = await till.slip()
    lost = await till.arrives(slip, reference="for a friend")
    clerk = await till.counter.seat("programme_clerk")
    lead = await till.counter.seat("programme_lead")
    told = (await ask(clerk, lost, order=slip)).json()
    approval = f"{APPROVALS}/{told['id']}"
    await lead.post(f"{approval}/approve", {"payload_hash": told["payload_hash"]})
    assert (await clerk.post(f"{approval}/execute", {})).status_code == 200
    await till.arrives(slip)  # Paid by the buyer before the worker came to it.
    await till.run_due()
    row = await row_of(
        till.counter.engine,
        "SELECT state, refused_because FROM suspense_settlement WHERE decided_by = :approval",
        approval=told["id"],
    )
    assert row == {"state": "refused", "refused_because": "receipt_order_over"}
    assert await settled(till, lost) == "done"


async def test_what_cannot_be_settled_is_told_before_anybody_agrees(till: Till) -> None:
    clerk = await till.counter.seat("programme_clerk")
    slip = await till.slip()
    lost = await till.arrives(slip, reference="lost", amount_yen=4_000)
    problem_of(await ask(clerk, lost, order=slip), "suspense_amount_differs")
    matched = await till.arrives(slip)
    problem_of(await ask(clerk, matched), "receipt_not_suspended")
    problem_of(await ask(clerk, lost, order=slip), "receipt_order_over")
    path, ids = f"{RECEIPTS}/settle", [public_id("rec", lost.receipt_id)]
    unknown = {"reason": REASON, "receipt_ids": ids, "order_id": f"rcp_{NOBODY}"}
    problem_of(await clerk.post(path, unknown), "receipt_order_unknown")
    none = {"reason": REASON, "receipt_ids": [f"rec_{NOBODY}"]}
    problem_of(await clerk.post(path, none), "receipt_not_suspended")
    vain = {"reason": "x", "receipt_ids": ids}
    problem_of(await clerk.post(path, vain), "reason_missing")


async def test_a_receipt_that_is_named_twice_is_settled_once(till: Till) -> None:
    lost = await till.arrives(await till.slip(), reference="lost")
    assert await settled(till, lost, lost) == "done"
    lost = await till.arrives(await till.slip(), reference="lost")
    name = public_id("rec", lost.receipt_id)  # As one that was asked for long ago.
    settlement = settlement_of(SettlePayload((name, name), None), decided_by="apr_x")
    assert settlement.receipt_ids == (lost.receipt_id,)


async def test_nobody_settles_alone(till: Till) -> None:
    lead = await till.counter.seat("programme_clerk", "programme_lead")
    lost = await till.arrives(await till.slip(), reference="lost")
    told = (await ask(lead, lost)).json()
    approved = await lead.post(
        f"{APPROVALS}/{told['id']}/approve", {"payload_hash": told["payload_hash"]}
    )
    assert approved.status_code == 403


async def test_whoever_only_counts_may_not_settle(till: Till) -> None:
    clerk = await till.counter.seat("counter_clerk")
    problem_of(await clerk.get(RECEIPTS), "permission_missing")
    body = {"reason": REASON, "receipt_ids": [f"rec_{NOBODY}"]}
    problem_of(await clerk.post(f"{RECEIPTS}/settle", body), "permission_missing")


async def put(desk: Desk, programme: str, **changes: Any) -> httpx.Response:  # noqa: ANN401 - JSON
    """Open a sale."""
    return await desk.counter.client.put(
        f"{SALES}/{programme}", headers=desk.headers, json={**SALE, **changes}
    )


async def test_a_sale_is_opened_changed_and_listed(till: Till) -> None:
    clerk = await till.counter.seat("programme_clerk")
    opened = await put(clerk, "voucher")
    assert opened.status_code == 200, opened.text
    assert (opened.json()["units_total"], opened.json()["units_sold"]) == (50, 0)
    changed = await put(clerk, "voucher", units_total=60, mode="offered")
    assert (changed.json()["units_total"], changed.json()["mode"]) == (60, "offered")
    await put(clerk, "voucher")
    (one,) = (await clerk.get(SALES)).json()["data"]
    assert (one["programme"], one["price"], one["face"]) == ("voucher", 5_000, 6_250)
    entries = await till.counter.trail()
    first = next(entry["details"] for entry in entries if entry["action"] == "sale.open")
    assert first == {"programme": "voucher", "units_total": 50}


@pytest.mark.parametrize(
    "typed", ["090-1234-5678", "mail@example.jp", "123456789018", "%E3%81%82", "%00"]
)
async def test_what_looks_like_a_person_is_refused_and_stays_out_of_the_trail(
    till: Till, typed: str
) -> None:
    clerk = await till.counter.seat("programme_clerk")
    problem_of(await put(clerk, typed), "programme_unknown")
    entry = (await till.counter.trail())[-1]
    assert (entry["action"], entry["outcome"]) == ("sale.open", "refused")
    assert not contains_personal(str(entry["details"]))


async def test_a_sale_that_cannot_be_says_why(till: Till) -> None:
    clerk = await till.counter.seat("programme_clerk")
    await put(clerk, "voucher")
    await reserve(till.teller, wish(await make_wallet(till.counter.engine), units=3))
    problem_of(await put(clerk, "nothing"), "programme_unknown")
    problem_of(await put(clerk, "coin"), "sale_without_frame")
    problem_of(await put(clerk, "voucher", units_total=101), "sale_beyond_frame")
    problem_of(await put(clerk, "voucher", units_total=2), "sale_below_sold")
    problem_of(await put(clerk, "voucher", closes_at=SALE["opens_at"]), "parameter_invalid")


async def test_what_was_paid_for_and_is_held_is_on_the_work_list(till: Till) -> None:
    clerk = await till.counter.seat("programme_clerk")
    await put(clerk, "voucher")
    wallet_id = await make_wallet(till.counter.engine)
    purchase = await reserve(till.teller, wish(wallet_id))
    await pay_for(till.counter.engine, till.teller, purchase)
    await _set_state(till, wallet_id, "frozen")
    await settle_purchases(till.counter.engine, database_url=till.url, clock=TestClock(NOW_US))
    held = (await clerk.get(f"{RECEIPTS}/work")).json()["held"]
    mine = [one for one in held if one["purchase_id"] == public_id("pur", purchase.id)]
    assert [(one["because"], one["amount"]) for one in mine] == [("wallet_frozen", 5_000)]
    await _set_state(till, wallet_id, "active")
    await settle_purchases(till.counter.engine, database_url=till.url, clock=TestClock(NOW_US))
    assert (await clerk.get(f"{RECEIPTS}/work")).json()["held"] == []


async def test_a_sale_is_opened_however_many_there_are(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    clerk = await till.counter.seat("programme_clerk")
    await put(clerk, "voucher")
    await make_programme(till.teller, voucher_draft("later"))
    monkeypatch.setattr("wallet.vouchers.purchase_stock.SALES_MAX", 1)
    opened = await put(clerk, "later", units_total=7)
    assert (opened.status_code, opened.json()["programme"]) == (200, "later")
    assert (opened.json()["units_total"], opened.json()["closes_at"]) == (
        7,
        "2026-11-30T15:00:00.000Z",
    )


async def test_what_a_campaign_sells_nobody_changes_by_hand(till: Till) -> None:
    clerk = await till.counter.seat("programme_clerk")
    fair = await make_fair(
        till.counter.engine,
        till.teller,
        TestClock(NOW_US),
        terms_=first_come("fair"),
        frames=("fair",),
    )
    told = problem_of(await put(clerk, "fair", units_total=1), "sale_of_campaign")
    assert told["campaign"] == "fair"
    fair.go_to(OPENS)
    await fair.work()
    problem_of(await put(clerk, "fair", units_total=1, mode="offered"), "sale_of_campaign")


async def _set_state(till: Till, wallet_id: UUID, state: str) -> None:
    statement = text("UPDATE wallet SET state = :state WHERE id = :id")
    await write(
        till.counter.engine, lambda c: c.execute(statement, {"state": state, "id": wallet_id})
    )
