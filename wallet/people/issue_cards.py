"""Issue printed cards: a QR code that names a wallet and a number that people can read out.

The QR value is an opaque token, worthless without a shop's authenticated system and bounded by
the card's ceilings. It is told once, to be printed, and kept only as a keyed hash. The number is
an identifier for the counter and the telephone; it pays nothing.
"""

import secrets
from collections.abc import Sequence
from functools import partial
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.clock import japanese_day, to_datetime
from wallet.core.database import ATTEMPTS_MAX, write
from wallet.core.ids import keyed_hash, new_id, new_secret
from wallet.core.refusals import RefusedError
from wallet.people.rules import CARD_DAILY_LIMIT_YEN, CARD_PAYMENT_LIMIT_YEN, printed_number

CARDS_PER_TRANSACTION: Final = 5_000

# A number that is taken, by a card or by one that was printed and is nobody's yet, or a wallet that
# does not exist leaves its row out; the caller counts.
_INSERT_CARDS = text("""
INSERT INTO card (id, printed_number, number_hash, wallet_id, state,
                  payment_limit_yen, daily_limit_yen, issued_at)
SELECT new.id, new.number, new.hash, w.id, 'active', new.payment_limit, new.daily_limit, :now
FROM unnest(CAST(:ids AS uuid[]), CAST(:numbers AS text[]), CAST(:hashes AS bytea[]),
            CAST(:wallet_ids AS uuid[]), CAST(:payment_limits AS bigint[]),
            CAST(:daily_limits AS bigint[]))
     AS new (id, number, hash, wallet_id, payment_limit, daily_limit)
JOIN wallet AS w ON w.id = new.wallet_id
WHERE NOT EXISTS (SELECT FROM blank_card AS b WHERE b.printed_number = new.number)
ON CONFLICT (printed_number) DO NOTHING
RETURNING id
""")

_INSERT_SPENDING = text("""
INSERT INTO spending (holder_id, spent_on, spent_yen)
SELECT id, :day, 0 FROM unnest(CAST(:ids AS uuid[])) AS new (id)
""")

_KNOWN_WALLETS = text("""
SELECT id FROM wallet WHERE id = ANY(CAST(:ids AS uuid[])) AND state <> 'closed'
""")


class NewCard(msgspec.Struct, frozen=True, gc=False):
    """A card to issue for a wallet; limits in yen."""

    wallet_id: UUID
    payment_limit_yen: int = CARD_PAYMENT_LIMIT_YEN
    daily_limit_yen: int = CARD_DAILY_LIMIT_YEN


class IssuedCard(msgspec.Struct, frozen=True):
    """What the printer needs. ``qr_value`` is told here and never again."""

    id: UUID
    wallet_id: UUID
    number: str
    qr_value: str


async def issue_cards(
    engine: AsyncEngine, *, cards: Sequence[NewCard], pepper: bytes, now_us: int
) -> list[IssuedCard]:
    """Issue the cards, in their order; each :data:`CARDS_PER_TRANSACTION` in one transaction.

    Raises :class:`RefusedError` ``wallet_unknown``, with nothing issued in that transaction.
    """
    issued: list[IssuedCard] = []
    for start in range(0, len(cards), CARDS_PER_TRANSACTION):
        chunk = cards[start : start + CARDS_PER_TRANSACTION]
        issued += await write(engine, partial(_issue, cards=chunk, pepper=pepper, now_us=now_us))
    return issued


async def _issue(
    connection: AsyncConnection, *, cards: Sequence[NewCard], pepper: bytes, now_us: int
) -> list[IssuedCard]:
    await check_wallets(connection, {card.wallet_id for card in cards})
    issued: dict[int, IssuedCard] = {}
    for _ in range(ATTEMPTS_MAX):
        missing = [n for n in range(len(cards)) if n not in issued]
        drawn = {n: _draw(cards[n].wallet_id, now_us) for n in missing}
        inserted = await _insert(
            connection, [(cards[n], drawn[n]) for n in missing], pepper, now_us
        )
        issued |= {n: card for n, card in drawn.items() if card.id in inserted}
        if len(issued) == len(cards):
            ids = [card.id for card in issued.values()]
            await connection.execute(_INSERT_SPENDING, {"ids": ids, "day": japanese_day(now_us)})
            return [issued[n] for n in range(len(cards))]
    message = "no free card numbers were drawn; 12 digits no longer suffice for this city"
    raise RuntimeError(message)


async def check_wallets(connection: AsyncConnection, wallet_ids: set[UUID]) -> None:
    """Raise :class:`RefusedError` ``wallet_unknown`` unless all wallets are there and open."""
    known = (await connection.execute(_KNOWN_WALLETS, {"ids": list(wallet_ids)})).scalars()
    unknown = wallet_ids.difference(known)
    if unknown:
        raise RefusedError("wallet_unknown", wallet_id=min(unknown))


def _draw(wallet_id: UUID, now_us: int) -> IssuedCard:
    number = printed_number(secrets.randbelow(10**11))
    return IssuedCard(new_id(now_us=now_us), wallet_id, number, new_secret("card_"))


async def _insert(
    connection: AsyncConnection,
    cards: Sequence[tuple[NewCard, IssuedCard]],
    pepper: bytes,
    now_us: int,
) -> set[UUID]:
    """Insert the cards whose numbers are free and return their ids."""
    rows = await connection.execute(
        _INSERT_CARDS,
        {
            "ids": [drawn.id for _, drawn in cards],
            "numbers": [drawn.number for _, drawn in cards],
            "hashes": [keyed_hash(drawn.qr_value, pepper=pepper) for _, drawn in cards],
            "wallet_ids": [card.wallet_id for card, _ in cards],
            "payment_limits": [card.payment_limit_yen for card, _ in cards],
            "daily_limits": [card.daily_limit_yen for card, _ in cards],
            "now": to_datetime(now_us),
        },
    )
    return set(rows.scalars())
