"""Prove a replay: every payment that was acknowledged is in the ledger, once, and nothing else is.

What the server said is compared with the tables themselves, never with the server.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.core.database import read
from wallet.core.ids import public_id
from wallet.ledger.chart import TRANSFER_PAYMENT
from wallet.replay.send import Outcome

PROBLEMS_MAX: Final = 20
_CHUNK: Final = 1_000

MISSING: Final = "missing"
"""The state of a payment that moved money and is in no table; its name is its id."""

_FIND_PAYMENTS = text("""
SELECT id, merchant_payment_id, state, amount_yen FROM payment
WHERE merchant_id = :merchant_id AND id > :after ORDER BY id LIMIT :limit
""")

# Through the index of what each shop was paid, so that a leg under any id is seen.
_SUM_LEGS = text("""
SELECT t.user_data_128, sum(t.amount)::bigint
FROM shop AS s JOIN transfer AS t ON t.credit_account_id = s.payable_account_id
WHERE s.merchant_id = :merchant_id AND t.code = :code
GROUP BY t.user_data_128
""")


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """A payment as the tables have it; ``moved_yen`` is what its transfers brought the shop."""

    payment_id: UUID
    name: str
    state: str
    amount_yen: int
    moved_yen: int


async def find_problems(
    engine: AsyncEngine, *, merchant_ids: Sequence[UUID], outcomes: Sequence[Outcome]
) -> list[str]:
    """Return what is wrong, at most :data:`PROBLEMS_MAX` sentences; none is the proof.

    ``merchant_ids`` are the merchants of this run; whatever they were paid came from it.
    """
    recorded: list[Recorded] = []
    for merchant_id in merchant_ids:
        recorded += await _recorded(engine, merchant_id)
    problems = list(compare(recorded, outcomes))
    more = len(problems) - PROBLEMS_MAX
    return [*problems[:PROBLEMS_MAX], f"and {more} more"] if more > 0 else problems


async def _recorded(engine: AsyncEngine, merchant_id: UUID) -> list[Recorded]:
    async with read(engine) as connection:
        values: dict[str, Any] = {"merchant_id": merchant_id, "code": TRANSFER_PAYMENT}
        moved_yen: dict[UUID, int] = {
            row[0]: row[1] for row in await connection.execute(_SUM_LEGS, values)
        }
        found: list[Recorded] = []
        after = UUID(int=0)
        while True:
            values = {"merchant_id": merchant_id, "after": after, "limit": _CHUNK}
            rows = (await connection.execute(_FIND_PAYMENTS, values)).all()
            found += [
                Recorded(i, name, state, amount_yen, moved_yen.pop(i, 0))
                for i, name, state, amount_yen in rows
            ]
            if len(rows) < _CHUNK:
                break
            after = rows[-1].id
    # Money that reached a shop without a payment to show for it.
    return found + [Recorded(i, str(i), MISSING, 0, yen) for i, yen in moved_yen.items()]


def compare(recorded: Sequence[Recorded], outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield a sentence for each difference between the tables and the answers."""
    seen: set[str] = set()
    told = {outcome.merchant_payment_id: outcome for outcome in outcomes}
    for one in recorded:
        expected_yen = one.amount_yen if one.state == "succeeded" else 0
        if one.moved_yen != expected_yen:
            yield f"{one.name} is {one.state} and moved {one.moved_yen} yen, not {expected_yen}"
        if one.name in seen:
            yield f"{one.name} was recorded twice"
        seen.add(one.name)
        yield from _differences(one, told)
    for outcome in outcomes:
        acknowledged = outcome.paid or outcome.payment_id is not None
        if acknowledged and outcome.merchant_payment_id not in seen:
            yield f"{outcome.merchant_payment_id} was acknowledged and is not recorded"


def _differences(one: Recorded, told: Mapping[str, Outcome]) -> Iterator[str]:
    """What was said of a payment that the tables do not say."""
    outcome = told.get(one.name)
    if outcome is None and one.state != MISSING:
        yield f"{one.name} is recorded and was never sent"
    if outcome is None or not outcome.answered:
        return
    if outcome.paid != (one.state == "succeeded"):
        yield f"{one.name} was answered {outcome.refusal or 'paid'} and is {one.state}"
    if outcome.payment_id != public_id("pay", one.payment_id):
        yield f"{one.name} was acknowledged as {outcome.payment_id}, not {one.payment_id}"
    if outcome.amount_yen != one.amount_yen:
        yield f"{one.name} was sent as {outcome.amount_yen} yen and is {one.amount_yen}"
