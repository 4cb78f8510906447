"""Order cards in numbers: printed, shipped in boxes or one by one, and nobody's until activated.

What is printed, a QR value and a PIN, is drawn here, told to the printer in a file, and kept sealed
for as long as a misprint may have to be printed again. When the cards leave the house it is wiped:
from then on there are only hashes, as for every other card.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import to_datetime
from wallet.core.database import ATTEMPTS_MAX
from wallet.core.ids import keyed_hash, new_id, new_secret
from wallet.core.outbox import tell
from wallet.core.refusals import RefusedError
from wallet.core.sealing import seal, unseal
from wallet.people.card_pin import draw_pin, pin_mac
from wallet.people.card_tables import card_batch
from wallet.people.issue_cards import check_wallets
from wallet.people.rules import (
    CARD_DAILY_LIMIT_YEN,
    CARD_PAYMENT_LIMIT_YEN,
    PAYMENT_LIMIT_YEN,
    printed_number,
)

CARDS_PER_BATCH_MAX: Final = 5_000
"""Cards of one order: as many as are made in one transaction and printed in one run."""

RECIPIENTS_MAX: Final = 200

_PURPOSE: Final = "card print"

# A number that is taken leaves its row out; the caller counts.
_INSERT: Final = text("""
INSERT INTO blank_card (id, batch_id, number, printed_number, number_hash, pin_mac, print_sealed,
                        wallet_id, state)
SELECT new.id, :batch_id, new.number, new.printed_number, new.number_hash, new.pin_mac,
       new.print_sealed, new.wallet_id, 'printed'
FROM unnest(CAST(:ids AS uuid[]), CAST(:numbers AS int[]), CAST(:printed_numbers AS text[]),
            CAST(:number_hashes AS bytea[]), CAST(:pin_macs AS bytea[]),
            CAST(:print_sealed AS bytea[]), CAST(:wallet_ids AS uuid[]))
     AS new (id, number, printed_number, number_hash, pin_mac, print_sealed, wallet_id)
WHERE NOT EXISTS (SELECT FROM card AS c WHERE c.printed_number = new.printed_number)
ON CONFLICT (printed_number) DO NOTHING
RETURNING number
""")

_COLUMNS: Final = """
SELECT b.id, b.cards, b.destination, b.state, b.payment_limit_yen, b.daily_limit_yen, b.made_at,
       b.shipped_at,
       (SELECT count(*) FROM blank_card AS c WHERE c.batch_id = b.id AND c.state = 'activated')
       AS activated
FROM card_batch AS b
"""

_FIND: Final = text(f"{_COLUMNS} WHERE b.id = :id")
_LIST: Final = text(f"{_COLUMNS} WHERE b.id < CAST(:before AS uuid) ORDER BY b.id DESC LIMIT :most")
_LOCK: Final = text("SELECT state FROM card_batch WHERE id = :id FOR UPDATE")

_TO_PRINT: Final = text("""
SELECT id, number, printed_number, print_sealed FROM blank_card
WHERE batch_id = :id AND state = 'printed' ORDER BY number
""")

_TO_SHIP: Final = text("""
SELECT number, printed_number, wallet_id FROM blank_card
WHERE batch_id = :id AND state <> 'void' ORDER BY number
""")

_SHIP: Final = text("""
UPDATE blank_card SET state = 'shipped', print_sealed = NULL
WHERE batch_id = :id AND state = 'printed'
""")

_VOID: Final = text("""
UPDATE blank_card SET state = 'void', print_sealed = NULL
WHERE batch_id = :id AND state IN ('printed', 'shipped')
""")

_SET_STATE: Final = text("""
UPDATE card_batch SET state = :state,
    shipped_at = CASE WHEN :state = 'shipped' THEN CAST(:now AS timestamptz) ELSE shipped_at END
WHERE id = :id
""")

_Limit = Annotated[int, msgspec.Meta(ge=1, le=PAYMENT_LIMIT_YEN)]


class CardOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Cards to print: ``cards`` that are nobody's yet, or one for each wallet of ``wallet_ids``.

    Limits are yen; ``destination`` names a desk, and never a person.
    """

    cards: Annotated[int, msgspec.Meta(ge=0, le=CARDS_PER_BATCH_MAX)] = 0
    wallet_ids: Annotated[tuple[UUID, ...], msgspec.Meta(max_length=RECIPIENTS_MAX)] = ()
    destination: str = ""
    payment_limit_yen: _Limit = CARD_PAYMENT_LIMIT_YEN
    daily_limit_yen: _Limit = CARD_DAILY_LIMIT_YEN

    @property
    def recipients(self) -> list[UUID | None]:
        """For whom each card is, in the order of their numbers."""
        return list(self.wallet_ids) or [None] * self.cards


class CardBatch(msgspec.Struct, frozen=True):
    """An order of cards as it stands; ``activated`` of them are in somebody's hand."""

    id: UUID
    cards: int
    destination: str
    state: str
    payment_limit_yen: int
    daily_limit_yen: int
    made_at: datetime
    shipped_at: datetime | None
    activated: int


class PrintedCard(msgspec.Struct, frozen=True):
    """What the printer puts on a card, and into the letter that comes with it."""

    number: int
    printed_number: str
    qr_value: str
    pin: str


class ShippedCard(msgspec.Struct, frozen=True):
    """Which card goes to whom; no wallet where a whole box goes to a desk."""

    number: int
    printed_number: str
    wallet_id: UUID | None


class _Drawn(msgspec.Struct, frozen=True):
    id: UUID
    number: int
    printed_number: str
    qr_value: str
    pin: str
    wallet_id: UUID | None


def check_order(order: CardOrder) -> None:
    """Raise ``card_order_invalid`` for an order that says nothing, or two things."""
    if bool(order.cards) == bool(order.wallet_ids):
        raise RefusedError("card_order_invalid")
    if len(set(order.wallet_ids)) < len(order.wallet_ids):
        raise RefusedError("card_order_invalid")
    if order.payment_limit_yen > order.daily_limit_yen:
        raise RefusedError("card_order_invalid")


async def make_batch(
    connection: AsyncConnection,
    *,
    batch_id: UUID,
    order: CardOrder,
    ordered_by: UUID,
    pepper: bytes,
    now_us: int,
) -> int:
    """Make the cards of an order and return how many; the caller has had it approved.

    Raises :class:`RefusedError` ``card_order_invalid`` and ``wallet_unknown``.
    """
    check_order(order)
    await check_wallets(connection, set(order.wallet_ids))
    recipients = order.recipients
    await connection.execute(
        card_batch.insert().values(
            id=batch_id,
            cards=len(recipients),
            destination=order.destination,
            state="printed",
            payment_limit_yen=order.payment_limit_yen,
            daily_limit_yen=order.daily_limit_yen,
            ordered_by=ordered_by,
            made_at=to_datetime(now_us),
        )
    )
    missing = set(range(1, len(recipients) + 1))
    for _ in range(ATTEMPTS_MAX):
        drawn = [_draw(number, recipients[number - 1], now_us) for number in sorted(missing)]
        missing -= await _insert(connection, batch_id, drawn, pepper)
        if not missing:
            return len(recipients)
    message = "no free card numbers were drawn; 12 digits no longer suffice for this city"
    raise RuntimeError(message)


async def read_print_file(
    connection: AsyncConnection, *, batch_id: UUID, pepper: bytes
) -> list[PrintedCard]:
    """Return what is to be printed; raises ``batch_unknown``, or ``batch_shipped`` once it left."""
    await _require(connection, batch_id, "printed")
    return [_printed(row, pepper) for row in await connection.execute(_TO_PRINT, {"id": batch_id})]


async def read_shipping_list(connection: AsyncConnection, *, batch_id: UUID) -> list[ShippedCard]:
    """Return which card goes to which wallet, or all of them into one box.

    Raises ``batch_unknown``.
    """
    await find_batch(connection, batch_id=batch_id)
    rows = await connection.execute(_TO_SHIP, {"id": batch_id})
    return [ShippedCard(*row) for row in rows]


async def ship_batch(connection: AsyncConnection, *, batch_id: UUID, now_us: int) -> int:
    """Note that the cards have left the house, forget their secrets, and return how many left.

    Raises ``batch_unknown`` and ``batch_shipped``.
    """
    await _require(connection, batch_id, "printed")
    shipped = (await connection.execute(_SHIP, {"id": batch_id})).rowcount
    await _set_state(connection, batch_id, "shipped", now_us)
    return shipped


async def cancel_batch(connection: AsyncConnection, *, batch_id: UUID, now_us: int) -> int:
    """Void every card of a batch that is nobody's yet, as after a misprint or a theft.

    Returns how many. Raises ``batch_unknown``, and ``batch_cancelled`` the second time.
    """
    await _require(connection, batch_id, "printed", "shipped")
    voided = (await connection.execute(_VOID, {"id": batch_id})).rowcount
    await _set_state(connection, batch_id, "cancelled", now_us)
    return voided


async def find_batch(connection: AsyncConnection, *, batch_id: UUID) -> CardBatch:
    """Return an order of cards; raises ``batch_unknown``."""
    row = (await connection.execute(_FIND, {"id": batch_id})).one_or_none()
    if row is None:
        raise RefusedError("batch_unknown")
    return CardBatch(*row)


async def list_batches(
    connection: AsyncConnection, *, before: UUID | None, limit: int
) -> list[CardBatch]:
    """Return orders of cards, newest first."""
    values = {"before": before or UUID(int=2**128 - 1), "most": limit}
    return [CardBatch(*row) for row in await connection.execute(_LIST, values)]


def _draw(number: int, wallet_id: UUID | None, now_us: int) -> _Drawn:
    drawn = printed_number(secrets.randbelow(10**11))
    return _Drawn(new_id(now_us=now_us), number, drawn, new_secret("card_"), draw_pin(), wallet_id)


async def _insert(
    connection: AsyncConnection, batch_id: UUID, drawn: Sequence[_Drawn], pepper: bytes
) -> set[int]:
    """Insert the cards whose printed numbers are free; return their numbers in the batch."""
    rows = await connection.execute(
        _INSERT,
        {
            "batch_id": batch_id,
            "ids": [one.id for one in drawn],
            "numbers": [one.number for one in drawn],
            "printed_numbers": [one.printed_number for one in drawn],
            "number_hashes": [keyed_hash(one.qr_value, pepper=pepper) for one in drawn],
            "pin_macs": [pin_mac(one.id, one.pin, pepper=pepper) for one in drawn],
            "print_sealed": [_sealed(one, pepper) for one in drawn],
            "wallet_ids": [one.wallet_id for one in drawn],
        },
    )
    return set(rows.scalars())


def _sealed(one: _Drawn, pepper: bytes) -> bytes:
    plain = f"{one.qr_value} {one.pin}".encode("ascii")
    return seal(plain, purpose=_PURPOSE, owner=one.id.bytes, pepper=pepper)


def _printed(row: Any, pepper: bytes) -> PrintedCard:  # noqa: ANN401 - a row of the query above
    plain = unseal(row.print_sealed, purpose=_PURPOSE, owner=row.id.bytes, pepper=pepper)
    qr_value, _, pin = plain.decode("ascii").partition(" ")
    return PrintedCard(row.number, row.printed_number, qr_value, pin)


async def _require(connection: AsyncConnection, batch_id: UUID, *states: str) -> None:
    """Lock a batch and raise unless it is in one of the states."""
    state = (await connection.execute(_LOCK, {"id": batch_id})).scalar_one_or_none()
    if state is None:
        raise RefusedError("batch_unknown")
    if state not in states:
        raise RefusedError("batch_shipped" if state == "shipped" else "batch_cancelled")


async def _set_state(connection: AsyncConnection, batch_id: UUID, state: str, now_us: int) -> None:
    values = {"id": batch_id, "state": state, "now": to_datetime(now_us)}
    await connection.execute(_SET_STATE, values)
    body = {"batch_id": batch_id}
    await tell(connection, kind=f"card_batch.{state}", body=body, now_us=now_us)
