"""A planted fault in paper, or in a card that was replaced, is found and named."""

from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from tests.factories.card_batches import activated_card, make_cards
from tests.factories.city import make_city
from tests.factories.moments import NOW_US
from tests.factories.papers import redeem, sold_booklets
from tests.factories.planting import planted
from tests.factories.programmes import make_programme, voucher_draft
from tests.factories.vouchers import give
from tests.servers import Database
from wallet.core.database import write
from wallet.people.cards import replace_card
from wallet.proof import prove
from wallet.proof.prove import prove_snapshot
from wallet.vouchers.move import run_moves

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAPER = {"booklets_are_worth_their_sheets", "sheets_are_paid_once", "replaced_cards_are_left"}


@dataclass(frozen=True)
class Desk:
    """A booklet of which a sheet was used, and a card that was replaced."""

    batch_id: UUID
    shop_id: UUID
    old_wallet_id: UUID
    new_wallet_id: UUID

    @property
    def values(self) -> dict[str, Any]:
        """All of them by name, as parameters of SQL."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(module_database: Database) -> Desk:
    """Sell and use paper, replace a card, and return the ids of it."""
    async with make_city(module_database.application_url) as city:
        await make_programme(city.teller, voucher_draft())
        paper = await sold_booklets(city, "voucher")
        await paper.enter(city.merchant.shop_id, paper.code(1, 1))
        await redeem(city)
        _, activated = await activated_card(city.engine)
        await give(city.teller, activated.wallet_id, amount_yen=500)
        (new,) = (await make_cards(city.engine)).cards
        work = partial(
            replace_card,
            card_id=activated.card_id,
            number=new.printed_number,
            decided_by=uuid4(),
            now_us=NOW_US,
        )
        replaced = await write(city.engine, work)
        await run_moves(city.engine, city.teller, clock=city.clock)
        proof = await prove(city.engine, now_us=NOW_US)
        assert proof.ok, proof.as_dict()
        assert {check.name for check in proof.city} >= PAPER
        return Desk(paper.batch_id, city.merchant.shop_id, activated.wallet_id, replaced.wallet_id)


@pytest.mark.parametrize(
    ("statement", "check", "what"),
    [
        (
            "UPDATE paper_batch SET sheet_yen = sheet_yen + 1 WHERE id = :batch_id",
            "booklets_are_worth_their_sheets",
            "yen issued",
        ),
        (
            "UPDATE paper_use SET settled_at = NULL WHERE sheet = 1",
            "booklets_are_worth_their_sheets",
            "yen paid for its sheets",
        ),
        (
            "DELETE FROM paper_use WHERE sheet = 1",
            "sheets_are_paid_once",
            "sheet of the payment",
        ),
        (
            "UPDATE paper_use SET refusal = '{}' WHERE sheet = 1",
            "sheets_are_paid_once",
            "what became of it",
        ),
        (
            "UPDATE payment SET amount_yen = amount_yen + 1 WHERE instrument = 'paper'",
            "sheets_are_paid_once",
            "whose and where it was",
        ),
        (
            "UPDATE paper_use SET settled_at = NULL WHERE sheet = 1",
            "sheets_are_paid_once",
            "that it was decided",
        ),
        (
            "UPDATE card SET state = 'active' WHERE wallet_id = :old_wallet_id",
            "replaced_cards_are_left",
            "state of a card that was replaced",
        ),
        (
            "UPDATE wallet SET state = 'active' WHERE id = :old_wallet_id",
            "replaced_cards_are_left",
            "state of the wallet that was left",
        ),
    ],
)
async def test_a_planted_fault_is_found(
    module_database: Database, desk: Desk, statement: str, check: str, what: str
) -> None:
    async with planted(module_database.owner_url, statement, **desk.values) as connection:
        proof = await prove_snapshot(connection, now_us=NOW_US)
    found = {one.name: one.findings for one in proof.city if one.name in PAPER}
    assert what in {finding.what for finding in found[check]}
