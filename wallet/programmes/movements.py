"""What came into a wallet and what went out of it, told from the ledger and nothing else."""

from collections.abc import Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.core.database import read
from wallet.ledger import chart
from wallet.ledger.rules import PENDING, VOID_PENDING

MOVEMENTS_MAX: Final = 100

_WORDS: Final[Mapping[int, tuple[str, str]]] = MappingProxyType(
    {
        chart.TRANSFER_PAYMENT: ("paid", "paid"),
        chart.TRANSFER_REFUND: ("refunded", "refunded"),
        chart.TRANSFER_ISSUE: ("issued", "issued"),
        chart.TRANSFER_BONUS: ("bonus", "bonus"),
        chart.TRANSFER_BONUS_REVERSED: ("bonus_reversed", "bonus_reversed"),
        chart.TRANSFER_GRANT: ("granted", "granted"),
        chart.TRANSFER_CLAW_BACK: ("clawed_back", "clawed_back"),
        chart.TRANSFER_GIFT: ("gift_given", "gift_received"),
        chart.TRANSFER_EXCHANGE: ("exchanged", "exchanged"),
        chart.TRANSFER_MOVE: ("moved", "moved"),
        chart.TRANSFER_EXPIRY: ("expired", "expired"),
        chart.TRANSFER_BUYER_REFUND: ("returned", "returned"),
    }
)
"""What a kind of transfer is to a holder whose purse it leaves, and whose purse it reaches."""

# A hold has moved nothing yet, and its voiding never will. Each side of a purse is read from an
# index of its own, newest first, so that a long history costs no more than its first page.
_MOVEMENTS: Final = text(f"""
SELECT m.id, m.code, m.amount, g.code, g.terms ->> 'name', p.funding, p.expires_on, m.timestamp
FROM purse AS p
JOIN programme AS g ON g.id = p.programme_id
CROSS JOIN LATERAL (
    (SELECT id, code, -amount AS amount, timestamp FROM transfer
     WHERE debit_account_id = p.account_id AND flags & {PENDING | VOID_PENDING} = 0
       AND timestamp <= :at AND (timestamp, id) < (:at, CAST(:id AS uuid))
     ORDER BY timestamp DESC, id DESC LIMIT :most)
    UNION ALL
    (SELECT id, code, amount, timestamp FROM transfer
     WHERE credit_account_id = p.account_id AND flags & {PENDING | VOID_PENDING} = 0
       AND timestamp <= :at AND (timestamp, id) < (:at, CAST(:id AS uuid))
     ORDER BY timestamp DESC, id DESC LIMIT :most)
) AS m
WHERE p.wallet_id = :wallet_id
ORDER BY m.timestamp DESC, m.id DESC, m.amount LIMIT :most
""")  # noqa: S608 - numbers of flags, from above


class Position(msgspec.Struct, frozen=True):
    """A place between two movements: a page begins with what was before it."""

    at_us: int = 2**63 - 1
    transfer_id: UUID = UUID(int=2**128 - 1)


class Movement(msgspec.Struct, frozen=True):
    """Yen that came into a purse, or, below zero, that went out of it.

    ``kind`` says why, such as ``paid`` or ``gift_received``; ``at_us`` is when, in microseconds.
    """

    transfer_id: UUID
    kind: str
    amount_yen: int
    programme: str
    name: str | None
    funding: str
    expires_on: date
    at_us: int

    @property
    def position(self) -> Position:
        """Where the page after this movement begins."""
        return Position(self.at_us, self.transfer_id)


async def list_movements(
    engine: AsyncEngine, *, wallet_id: UUID, before: Position, limit: int
) -> list[Movement]:
    """Return up to ``limit`` movements of the wallet's purses, the newest first.

    Raises ValueError when ``limit`` is not 1 to :data:`MOVEMENTS_MAX` + 1.
    """
    if not 1 <= limit <= MOVEMENTS_MAX + 1:
        message = f"a page has 1 to {MOVEMENTS_MAX} movements, not {limit}"
        raise ValueError(message)
    values = {
        "wallet_id": wallet_id,
        "at": before.at_us,
        "id": before.transfer_id,
        "most": limit,
    }
    async with read(engine) as connection:
        rows = (await connection.execute(_MOVEMENTS, values)).all()
    return [_movement(row) for row in rows]


def _movement(row: Sequence[Any]) -> Movement:
    transfer_id, code, amount_yen, programme, name, funding, expires_on, at_us = row
    given, received = _WORDS.get(code, ("other", "other"))
    kind = received if amount_yen > 0 else given
    return Movement(transfer_id, kind, amount_yen, programme, name, funding, expires_on, at_us)
