"""Activate a blank card: from now on it pays, out of one wallet.

Its holder shows it with the PIN that came in the letter; the counter may instead have it assigned
by two people. A card that nobody has a phone for gets a wallet of its own, known by the card alone.
"""

from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import japanese_day, to_datetime
from wallet.core.ids import new_id
from wallet.core.outbox import tell
from wallet.core.refusals import Refusal, RefusedError
from wallet.people.card_pin import Shown, check_card_pin
from wallet.people.open_wallets import NewWallet, insert_wallets
from wallet.people.rules import Tier, read_printed_number

CARDS_PER_WALLET_MAX: Final = 3

ACTIVATED: Final = "card.activated"

_LOCK_WALLET: Final = text("""
SELECT state FROM wallet WHERE id = :wallet_id FOR NO KEY UPDATE
""")

# A wallet whose money is to follow a lost card is being left: nobody is given a card of it.
_CARDS: Final = text("""
SELECT (SELECT count(*) FROM card WHERE wallet_id = :wallet_id AND state = 'active') AS cards,
       EXISTS (SELECT FROM card_replacement
               WHERE from_wallet_id = :wallet_id AND moved_at IS NULL) AS is_left
""")

_PAYS: Final = text("SELECT state = 'active' FROM card WHERE id = :id")

_ACTIVATE: Final = text("""
WITH blank AS (
    UPDATE blank_card SET state = 'activated', activated_at = :now, wallet_id = :wallet_id
    WHERE id = :id AND state = 'shipped'
    RETURNING id, batch_id, printed_number, number_hash
)
INSERT INTO card (id, printed_number, number_hash, wallet_id, state, payment_limit_yen,
                  daily_limit_yen, issued_at)
SELECT blank.id, blank.printed_number, blank.number_hash, :wallet_id, 'active',
       b.payment_limit_yen, b.daily_limit_yen, :now
FROM blank JOIN card_batch AS b ON b.id = blank.batch_id
""")

_INSERT_SPENDING: Final = text("""
INSERT INTO spending (holder_id, spent_on, spent_yen) VALUES (:id, :day, 0)
""")

_FIND_BLANK: Final = text("""
SELECT id, wallet_id FROM blank_card
WHERE printed_number = :number AND state = 'shipped' FOR NO KEY UPDATE
""")


class Activated(msgspec.Struct, frozen=True):
    """A card that pays out of a wallet; ``new`` False when it did before."""

    card_id: UUID
    wallet_id: UUID
    new: bool


async def activate_card(
    connection: AsyncConnection,
    *,
    shown: str,
    pin: str,
    wallet_id: UUID | None,
    pepper: bytes,
    now_us: int,
) -> Activated | Refusal:
    """Activate the card of a number or QR value, on its PIN; commit whatever the answer is.

    ``wallet_id`` is where it is to pay from. None: the wallet it was printed for, or else a new one
    that is known by the card alone. Refuses with ``card_pin_wrong`` and ``too_many_tries``; once
    the PIN was right with ``card_of_another``, ``card_blocked``, ``cards_too_many``,
    ``wallet_unknown`` and ``wallet_frozen``.
    """
    card = await check_card_pin(connection, shown=shown, pin=pin, pepper=pepper, now_us=now_us)
    if isinstance(card, Refusal):
        return card
    if None not in (card.wallet_id, wallet_id) and card.wallet_id != wallet_id:
        return Refusal("card_of_another")
    if card.is_active:
        return await _again(connection, card, wallet_id)
    target_id = card.wallet_id or wallet_id or await open_card_wallet(connection, now_us=now_us)
    refusal = await _refuse_wallet(connection, target_id)
    if refusal is not None:
        return refusal
    await bring_to_life(connection, card_id=card.id, wallet_id=target_id, now_us=now_us)
    return Activated(card.id, target_id, new=True)


async def assign_card(
    connection: AsyncConnection, *, number: str, wallet_id: UUID, now_us: int
) -> Activated:
    """Activate a card for a wallet without its PIN; the caller has had that approved.

    Raises :class:`RefusedError` ``card_number_unknown``, ``card_of_another``, ``cards_too_many``,
    ``wallet_unknown`` and ``wallet_frozen``.
    """
    card_id = await take_blank(connection, number=number, wallet_id=wallet_id)
    await check_wallet(connection, wallet_id=wallet_id)
    await bring_to_life(connection, card_id=card_id, wallet_id=wallet_id, now_us=now_us)
    return Activated(card_id, wallet_id, new=True)


async def take_blank(connection: AsyncConnection, *, number: str, wallet_id: UUID | None) -> UUID:
    """Return the id of a shipped blank, locked, that may become a card of the wallet.

    Raises ``card_number_unknown``, and ``card_of_another`` for one that is another wallet's.
    """
    values = {"number": read_printed_number(number)}
    row = (await connection.execute(_FIND_BLANK, values)).one_or_none()
    if row is None:
        raise RefusedError("card_number_unknown")
    if row.wallet_id is not None and row.wallet_id != wallet_id:
        raise RefusedError("card_of_another")
    blank_id: UUID = row.id
    return blank_id


async def bring_to_life(
    connection: AsyncConnection, *, card_id: UUID, wallet_id: UUID, now_us: int
) -> None:
    """Make a locked blank a card of the wallet, and tell."""
    values = {"id": card_id, "wallet_id": wallet_id, "now": to_datetime(now_us)}
    if (await connection.execute(_ACTIVATE, values)).rowcount != 1:
        raise RefusedError("card_number_unknown")
    spending = {"id": card_id, "day": japanese_day(now_us)}
    await connection.execute(_INSERT_SPENDING, spending)
    body = {"card_id": card_id, "wallet_id": wallet_id}
    await tell(connection, kind=ACTIVATED, body=body, now_us=now_us)


async def open_card_wallet(
    connection: AsyncConnection, *, now_us: int, holder: str = "resident"
) -> UUID:
    """Open a wallet that is known by its card alone and return its id."""
    wallet = NewWallet(new_id(now_us=now_us), holder, tier=Tier.VISITOR)
    await insert_wallets(connection, wallets=[wallet], now_us=now_us)
    return wallet.id


async def check_wallet(connection: AsyncConnection, *, wallet_id: UUID) -> None:
    """Lock a wallet, and raise :class:`RefusedError` unless a card may be added to it.

    That is ``wallet_unknown``, ``wallet_frozen`` or ``cards_too_many``.
    """
    refusal = await _refuse_wallet(connection, wallet_id)
    if refusal is not None:
        raise RefusedError(refusal.code, **refusal.facts)


async def _again(
    connection: AsyncConnection, card: Shown, wallet_id: UUID | None
) -> Activated | Refusal:
    """Answer for a card that was activated before; one that was blocked since pays no more."""
    if card.wallet_id is None or wallet_id is None:
        return Refusal("card_of_another")
    if not (await connection.execute(_PAYS, {"id": card.id})).scalar_one():
        return Refusal("card_blocked")
    return Activated(card.id, wallet_id, new=False)


async def _refuse_wallet(connection: AsyncConnection, wallet_id: UUID) -> Refusal | None:
    """Lock the wallet and say why no card may be added to it; None when one may."""
    state = (await connection.execute(_LOCK_WALLET, {"wallet_id": wallet_id})).scalar_one_or_none()
    if state is None or state == "closed":
        return Refusal("wallet_unknown")
    if state != "active":
        return Refusal("wallet_frozen")
    row = (await connection.execute(_CARDS, {"wallet_id": wallet_id})).one()
    if row.is_left:
        return Refusal("wallet_unknown")
    if row.cards >= CARDS_PER_WALLET_MAX:
        return Refusal("cards_too_many", {"most": CARDS_PER_WALLET_MAX})
    return None
