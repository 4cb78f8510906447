"""The proof of what came in and what was bought: planted errors are found by name."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from tests.factories.city import open_rooms
from tests.factories.moments import NOW_US
from tests.factories.people import make_wallet
from tests.factories.planting import failed, planted
from tests.factories.programmes import make_programme, voucher_draft
from tests.factories.receipts import make_slip, note, report
from tests.factories.sales import pay_for, put_on_sale, reserve, wish
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.database import write
from wallet.ledger.findings import Finding
from wallet.proof.prove import prove_snapshot
from wallet.receipts.run_due import run_due
from wallet.receipts.settle_suspense import Settlement, decide_settlement
from wallet.vouchers.settle_purchases import settle_purchases

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNPAID = """
UPDATE receipt_order SET state = 'expired', paid_at = NULL, settled_at = NULL WHERE id = :order
"""


@dataclass(frozen=True)
class Sold:
    """A purchase of 5,000 yen that was issued, one that is kept, and money that went back."""

    purchase: UUID
    kept: UUID
    order: UUID
    receipt: UUID
    lost: UUID
    programme: UUID

    @property
    def values(self) -> dict[str, Any]:
        """All of them by name, as parameters of SQL."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sold(module_database: Database) -> Sold:
    """Sell vouchers in the module's city."""
    url, clock = module_database.application_url, TestClock(NOW_US)
    async with open_rooms(url, clock=clock) as (engine, teller):
        created = await make_programme(teller, voucher_draft())
        await put_on_sale(engine)
        wallet_id = await make_wallet(engine)
        purchase = await reserve(teller, wish(wallet_id))
        slip = await pay_for(engine, teller, purchase)
        assert await settle_purchases(engine, database_url=url, clock=clock) == 1
        kept = await reserve(teller, wish(wallet_id, units=2))
        other = await make_slip(engine, created.programme_id)
        lost = await note(teller, report(other, reference="lost"))
        receipt = await note(teller, report(other))
        settlement = Settlement(
            receipt_ids=(lost.receipt_id,), order_id=None, decided_by="apr_test"
        )
        await write(engine, lambda c: decide_settlement(c, settlement=settlement, now_us=NOW_US))
        await run_due(engine, url, clock)
        return Sold(
            purchase=purchase.id,
            kept=kept.id,
            order=slip.order_id,
            receipt=receipt.receipt_id,
            lost=lost.receipt_id,
            programme=created.programme_id,
        )


async def findings_with(
    database: Database, sold: Sold, *statements: str
) -> dict[str, list[Finding]]:
    """Return what a proof finds when the statements were committed."""
    async with planted(database.owner_url, *statements, **sold.values) as connection:
        return failed((await prove_snapshot(connection, now_us=NOW_US)).checks)


async def test_what_was_sold_and_paid_for_is_green(module_database: Database, sold: Sold) -> None:
    assert await findings_with(module_database, sold) == {}


@pytest.mark.parametrize(
    ("statement", "check", "kind", "what"),
    [
        (
            "UPDATE receipt SET amount_yen = amount_yen + 1 WHERE id = :receipt",
            "receipts_moved_their_amount",
            "receipt",
            "yen for its order",
        ),
        (
            "DELETE FROM receipt WHERE id = :receipt",
            "receipts_moved_their_amount",
            "receipt",
            "yen for its order",
        ),
        (
            "UPDATE receipt SET suspended_yen = 4999 WHERE id = :lost",
            "receipts_moved_their_amount",
            "receipt",
            "yen in suspense",
        ),
        (
            "UPDATE suspense_settlement SET state = 'refused', refused_because = 'x'",
            "receipts_moved_their_amount",
            "receipt",
            "yen out of suspense",
        ),
        (
            UNPAID,
            "orders_were_paid_in_full",
            "receipt order",
            "yen for programme 1",
        ),
        (
            "UPDATE transfer SET user_data_128 = :kept WHERE code = 31 AND user_data_128 = :order",
            "orders_were_paid_in_full",
            "receipt order",
            "yen for programme 1",
        ),
        (
            "UPDATE purchase SET state = 'issued', ended_at = created_at WHERE id = :kept",
            "what_is_sold_was_bought",
            "purchase",
            "yen issued",
        ),
        (
            "UPDATE purchase SET state = 'lapsed' WHERE id = :purchase",
            "what_is_sold_was_bought",
            "purchase",
            "yen issued",
        ),
        (
            "UPDATE stock SET units_sold = units_sold + 1 WHERE programme_id = :programme",
            "what_is_sold_was_bought",
            "stock",
            "units sold",
        ),
        (
            "UPDATE stock SET units_reserved = 0 WHERE programme_id = :programme",
            "what_is_sold_was_bought",
            "stock",
            "units reserved",
        ),
        (
            "UPDATE purchase SET state = 'reserved', ended_at = NULL WHERE id = :purchase",
            "what_is_sold_was_bought",
            "receipt order",
            "state of its purchase",
        ),
    ],
)
async def test_a_planted_error_is_found_by_name(
    module_database: Database, sold: Sold, statement: str, check: str, kind: str, what: str
) -> None:
    found = await findings_with(module_database, sold, statement)
    assert (kind, what) in {(one.kind, one.what) for one in found[check]}
