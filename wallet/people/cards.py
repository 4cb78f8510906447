"""Cards in people's hands: seen, blocked when they are lost, and replaced by another one."""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import to_datetime
from wallet.core.ids import align_id, new_id
from wallet.core.outbox import tell
from wallet.core.refusals import RefusedError
from wallet.people.activate_cards import (
    bring_to_life,
    check_wallet,
    open_card_wallet,
    take_blank,
)
from wallet.people.card_tables import card_replacement
from wallet.people.rules import read_printed_number

BLOCKED: Final = "card.blocked"
REPLACED: Final = "card.replaced"

_COLUMNS: Final = """
SELECT c.id, c.printed_number, c.wallet_id, c.state, c.payment_limit_yen, c.daily_limit_yen,
       c.issued_at, w.person_id, w.holder
FROM card AS c JOIN wallet AS w ON w.id = c.wallet_id
"""

_BY_NUMBER: Final = text(f"{_COLUMNS} WHERE c.printed_number = :number")
_LOCK: Final = text(f"{_COLUMNS} WHERE c.id = :card_id FOR NO KEY UPDATE OF c")
_LIST: Final = text(
    f"{_COLUMNS} WHERE c.wallet_id = ANY(CAST(:wallet_ids AS uuid[])) ORDER BY c.id"
)

_KNOWS: Final = text("SELECT EXISTS (SELECT FROM card WHERE printed_number = :number)")
_OWNER: Final = text("SELECT person_id FROM wallet WHERE id = :wallet_id")

_BLOCK: Final = text("UPDATE card SET state = 'blocked' WHERE id = :card_id AND state = 'active'")
_REPLACE: Final = text("UPDATE card SET state = 'replaced' WHERE id = :card_id")

_VOID: Final = text("""
UPDATE blank_card SET state = 'void' WHERE printed_number = :number AND state = 'shipped'
RETURNING id
""")

_OTHERS: Final = text("""
SELECT count(*) FROM card
WHERE wallet_id = :wallet_id AND id <> :card_id AND state = 'active'
""")


class Card(msgspec.Struct, frozen=True):
    """A card as its holder and the counter see it; its QR value is known to nobody.

    ``person_id`` is None for a wallet that is known by its cards alone.
    """

    id: UUID
    printed_number: str
    wallet_id: UUID
    state: str
    payment_limit_yen: int
    daily_limit_yen: int
    issued_at: datetime
    person_id: UUID | None
    holder: str


class Replaced(msgspec.Struct, frozen=True):
    """A new card in the place of an old one; with ``moves`` the money is still to follow."""

    card_id: UUID
    wallet_id: UUID
    moves: bool


async def find_card(connection: AsyncConnection, *, number: str) -> Card:
    """Return the card of a printed number; raises ``card_number_unknown``."""
    values = {"number": read_printed_number(number)}
    row = (await connection.execute(_BY_NUMBER, values)).one_or_none()
    if row is None:
        raise RefusedError("card_number_unknown")
    return Card(*row)


async def knows_card(connection: AsyncConnection, *, number: str) -> bool:
    """Whether there is a card of that printed number."""
    values = {"number": read_printed_number(number)}
    known: bool = (await connection.execute(_KNOWS, values)).scalar_one()
    return known


async def find_owner(connection: AsyncConnection, *, wallet_id: UUID) -> UUID | None:
    """Return whose wallet it is, None for a card's; raises ``wallet_unknown``."""
    row = (await connection.execute(_OWNER, {"wallet_id": wallet_id})).one_or_none()
    if row is None:
        raise RefusedError("wallet_unknown")
    owner_id: UUID | None = row.person_id
    return owner_id


async def list_cards(connection: AsyncConnection, *, wallet_ids: list[UUID]) -> list[Card]:
    """Return the cards of the wallets, oldest first, those that no longer pay among them."""
    return [Card(*row) for row in await connection.execute(_LIST, {"wallet_ids": wallet_ids})]


async def block_card(connection: AsyncConnection, *, card_id: UUID, now_us: int) -> bool:
    """Block a card for good; return False when it did not pay any more anyway.

    The till reads a card with each payment, so this holds from the next batch on. Raises
    ``card_number_unknown``.
    """
    await _lock_card(connection, card_id=card_id)
    if (await connection.execute(_BLOCK, {"card_id": card_id})).rowcount == 0:
        return False
    await tell(connection, kind=BLOCKED, body={"card_id": card_id}, now_us=now_us)
    return True


async def void_blank(connection: AsyncConnection, *, number: str) -> UUID | None:
    """Void a card that was lost before anybody activated it; None when there is no such one."""
    values = {"number": read_printed_number(number)}
    found: UUID | None = (await connection.execute(_VOID, values)).scalar_one_or_none()
    return found


async def replace_card(
    connection: AsyncConnection, *, card_id: UUID, number: str, decided_by: UUID, now_us: int
) -> Replaced:
    """Put the blank of a printed ``number`` in the place of a card; two people have decided so.

    A wallet of a person, or one that other cards still pay from, stays as it is and has a new card.
    One that is known by this card alone is left behind: whoever has noted its codes has nothing,
    and the worker moves the money. Raises ``card_number_unknown``, ``card_replaced``,
    ``card_of_another``, ``cards_too_many``, ``wallet_unknown`` and ``wallet_frozen``.
    """
    old = await _lock_card(connection, card_id=card_id)
    if old.state == "replaced":
        raise RefusedError("card_replaced")
    new_card_id = await take_blank(connection, number=number, wallet_id=old.wallet_id)
    await connection.execute(_REPLACE, {"card_id": card_id})
    # Under the wallet's lock: who is given a card of it at the same time comes before or after.
    await check_wallet(connection, wallet_id=old.wallet_id)
    values = {"card_id": card_id, "wallet_id": old.wallet_id}
    others = (await connection.execute(_OTHERS, values)).scalar_one()
    moves = old.person_id is None and not others
    wallet_id = old.wallet_id
    if moves:
        wallet_id = await open_card_wallet(connection, now_us=now_us, holder=old.holder)
    await bring_to_life(connection, card_id=new_card_id, wallet_id=wallet_id, now_us=now_us)
    await connection.execute(
        card_replacement.insert().values(
            id=align_id(new_id(now_us=now_us)),
            old_card_id=card_id,
            new_card_id=new_card_id,
            from_wallet_id=old.wallet_id,
            to_wallet_id=wallet_id,
            decided_by=decided_by,
            decided_at=to_datetime(now_us),
            moved_at=None if moves else to_datetime(now_us),
        )
    )
    body = {"old_card_id": card_id, "card_id": new_card_id, "wallet_id": wallet_id}
    await tell(connection, kind=REPLACED, body=body, now_us=now_us)
    return Replaced(new_card_id, wallet_id, moves)


async def _lock_card(connection: AsyncConnection, *, card_id: UUID) -> Card:
    """Return a card, locked until the transaction ends; raises ``card_number_unknown``."""
    row = (await connection.execute(_LOCK, {"card_id": card_id})).one_or_none()
    if row is None:
        raise RefusedError("card_number_unknown")
    return Card(*row)
