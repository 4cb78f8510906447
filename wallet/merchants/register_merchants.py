"""Register merchants with their shops, terminals, and an account for what each shop is owed."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

from wallet.core.clock import to_datetime
from wallet.core.database import Connection
from wallet.core.money import LEDGER_JPY
from wallet.core.refusals import RefusedError
from wallet.ledger.chart import ACCOUNT_PAYABLE
from wallet.ledger.rules import Account, AccountCode
from wallet.ledger.storage import Prior, find_accounts
from wallet.ledger.teller import Teller
from wallet.ledger.work import Batch, Facts
from wallet.merchants.rules import CATEGORIES

SHOPS_PER_MERCHANT_MAX: Final = 1_000
MERCHANTS_PER_REQUEST: Final = 200

_FIND = "SELECT id FROM merchant WHERE id = ANY($1::uuid[])"

_INSERT_MERCHANTS = """
INSERT INTO merchant (id, name, state, joined_at)
SELECT id, name, 'active', $3 FROM unnest($1::uuid[], $2::text[]) AS new (id, name)
"""

_INSERT_SHOPS = """
INSERT INTO shop (id, merchant_id, name, category, small, chain, payable_account_id)
SELECT id, merchant_id, name, category, small, chain, id
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::boolean[], $6::boolean[])
     AS new (id, merchant_id, name, category, small, chain)
"""

_INSERT_TERMINALS = """
INSERT INTO terminal (id, shop_id, state)
SELECT id, shop_id, 'active' FROM unnest($1::uuid[], $2::uuid[]) AS new (id, shop_id)
"""


class NewShop(msgspec.Struct, frozen=True, gc=False):
    """A shop and the ids of its terminals. Its payable account takes the shop's id.

    A shop of a ``chain`` is no small one.
    """

    id: UUID
    name: str
    category: str
    small: bool
    terminal_ids: tuple[UUID, ...]
    chain: bool = False


class NewMerchant(msgspec.Struct, frozen=True):
    """A merchant to register; the caller makes the ids, so a repeat is known as one."""

    id: UUID
    name: str
    shops: tuple[NewShop, ...]


class RegisterFacts(Facts):
    """The merchants that exist, and those that this batch adds."""

    __slots__ = ("known_ids", "new_merchants")

    def __init__(self, known_ids: set[UUID]) -> None:
        super().__init__()
        self.known_ids = known_ids
        self.new_merchants: list[NewMerchant] = []


class Register:
    """The kind of work behind :func:`register_merchants`."""

    async def gather(
        self, connection: Connection, requests: Sequence[Sequence[NewMerchant]], now_us: int
    ) -> RegisterFacts:
        """Find which of the merchants exist, and which accounts have their shops' ids."""
        del now_us
        merchants = [merchant for request in requests for merchant in request]
        rows = await connection.fetch(_FIND, [merchant.id for merchant in merchants])
        facts = RegisterFacts({row[0] for row in rows})
        shop_ids = [shop.id for merchant in merchants for shop in merchant.shops]
        facts.prior = Prior(accounts=await find_accounts(connection, shop_ids))
        return facts

    def decide(self, request: Sequence[NewMerchant], facts: RegisterFacts, batch: Batch) -> int:
        """Open the accounts of those that are new and return how many these are."""
        new = [merchant for merchant in request if merchant.id not in facts.known_ids]
        shops = [shop for merchant in new for shop in merchant.shops]
        results = batch.book.create_accounts(
            [Account(s.id, LEDGER_JPY, ACCOUNT_PAYABLE, user_data_128=s.id) for s in shops]
        )
        for shop, result in zip(shops, results, strict=True):
            if result.code is not AccountCode.CREATED:
                raise RefusedError("shop_exists", shop_id=shop.id)
        facts.known_ids.update(merchant.id for merchant in new)
        facts.new_merchants += new
        return len(new)

    async def record(
        self, connection: Connection, facts: RegisterFacts, answers: Sequence[int], batch: Batch
    ) -> None:
        """Write the merchants, shops and terminals."""
        del answers
        merchants = facts.new_merchants
        shops = [(merchant.id, shop) for merchant in merchants for shop in merchant.shops]
        terminals = [(t, shop.id) for _, shop in shops for t in shop.terminal_ids]
        await connection.execute(
            _INSERT_MERCHANTS,
            [merchant.id for merchant in merchants],
            [merchant.name for merchant in merchants],
            to_datetime(batch.now_us),
        )
        await connection.execute(
            _INSERT_SHOPS,
            [shop.id for _, shop in shops],
            [merchant_id for merchant_id, _ in shops],
            [shop.name for _, shop in shops],
            [shop.category for _, shop in shops],
            [shop.small for _, shop in shops],
            [shop.chain for _, shop in shops],
        )
        await connection.execute(
            _INSERT_TERMINALS, [t for t, _ in terminals], [shop_id for _, shop_id in terminals]
        )


REGISTER = Register()


async def register_merchants(teller: Teller, *, merchants: Sequence[NewMerchant]) -> int:
    """Register the merchants and return how many are new; known ones stay as they are.

    Every :data:`MERCHANTS_PER_REQUEST` are settled together. Raises :class:`RefusedError`
    ``category_unknown`` or ``shops_too_many`` before anything is registered, and ``shop_exists``,
    with nothing of its request registered, when the id of a new merchant's shop is taken.
    """
    for merchant in merchants:
        _check(merchant)
    return sum(
        [
            await teller.submit(REGISTER, merchants[start : start + MERCHANTS_PER_REQUEST])
            for start in range(0, len(merchants), MERCHANTS_PER_REQUEST)
        ]
    )


def _check(merchant: NewMerchant) -> None:
    if len(merchant.shops) > SHOPS_PER_MERCHANT_MAX:
        raise RefusedError("shops_too_many", shops_max=SHOPS_PER_MERCHANT_MAX)
    for shop in merchant.shops:
        if shop.category not in CATEGORIES:
            raise RefusedError("category_unknown", category=shop.category, known=list(CATEGORIES))
