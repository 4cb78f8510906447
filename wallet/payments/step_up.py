"""What a payment asks of its payer beyond the instrument: levels by amount, and the challenge.

A batch in which nothing is asked for pays nothing for it: the amount alone tells, before any
further look at the database.
"""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec.structs import replace

from wallet.auth.create_challenge import (
    EXPIRES_S,
    PUSH_WINDOW_S,
    PUSHES_MAX,
    levels_of,
    make_challenge,
)
from wallet.auth.rules import Acr, Band, Operation, Outcome, Requirement, Risk, satisfies
from wallet.auth.step_up_storage import Challenge
from wallet.auth.step_up_table import requirement, table
from wallet.core.clock import to_datetime
from wallet.core.database import Connection
from wallet.core.ids import public_id
from wallet.core.money import CURRENCY
from wallet.core.refusals import Refusal
from wallet.payments.rules import PayRequest

ASKED_MAX: Final = 30
"""Challenges that one person's own phone may ask for within :data:`PUSH_WINDOW_S` seconds."""

# Per payer: what they can show, on this phone or on any of theirs; how often they were asked
# lately, by pushes and in all; and what the shop is called.
_FIND_ANSWERERS = """
SELECT asked.principal_id, asked.device_id, s.id AS shop_id, s.name AS shop,
       lately.pushes, lately.challenges, enrolled.device, enrolled.pin,
       EXISTS (SELECT FROM totp
               WHERE principal_id = asked.principal_id AND confirmed_at IS NOT NULL OFFSET 0)
           AS totp,
       EXISTS (SELECT FROM password WHERE principal_id = asked.principal_id OFFSET 0) AS password,
       EXISTS (SELECT FROM passkey
               WHERE principal_id = asked.principal_id AND revoked_at IS NULL OFFSET 0) AS passkey
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS asked (principal_id, device_id, shop_id)
JOIN shop AS s ON s.id = ANY (ARRAY[asked.shop_id])
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE number_match IS NOT NULL) AS pushes, count(*) AS challenges
    FROM step_up WHERE principal_id = asked.principal_id AND created_at > $4
) AS lately
CROSS JOIN LATERAL (
    SELECT count(*) > 0 AS device,
           count(*) FILTER (WHERE d.verified_key IS NOT NULL OR p.device_id IS NOT NULL) > 0 AS pin
    FROM device AS d LEFT JOIN pin AS p ON p.device_id = ANY (ARRAY[d.id])
    WHERE d.principal_id = asked.principal_id AND d.revoked_at IS NULL
      AND (asked.device_id IS NULL OR d.id = asked.device_id)
) AS enrolled
"""
_ENROLLED: Final = ("device", "pin", "totp", "password", "passkey")


class Ladder:
    """What the step-up table asks of shop payments, ready to be looked up by amount.

    ``bands_open`` are the amounts that the fraud rate lets through without a prompt; a new city
    has no history and opens none.
    """

    def __init__(self, bands_open: Collection[Band] = ()) -> None:
        rows = [row.up_to_yen for row in table() if row.operation is Operation.SHOP]
        self._edges = [yen for yen in rows if yen is not None]
        amounts = [*self._edges, self._edges[-1] + 1]
        self._cells = {
            risk: [
                requirement(
                    operation=Operation.SHOP, amount_yen=yen, risk=risk, bands_open=bands_open
                )
                for yen in amounts
            ]
            for risk in Risk
        }

    def find(self, amount_yen: int, risk: Risk) -> Requirement:
        """Return the cell of the table."""
        return self._cells[risk][bisect_left(self._edges, amount_yen)]

    def beyond_instrument(self, amount_yen: int, risk: Risk) -> Requirement | None:
        """Return what is asked beyond ``dev``, which every instrument is; None for nothing."""
        cell = self.find(amount_yen, risk)
        return None if Acr.DEV in cell.require else cell


def refuse_outright(asked: Requirement) -> Refusal | None:
    """Return why no level would do: the amount is for the counter, or the risk too high."""
    if asked.outcome is Outcome.STEP_UP:
        return None
    return Refusal("counter_only" if asked.counter else "payment_not_allowed")


class Asked(msgspec.Struct, frozen=True, gc=False):
    """Who is asked to approve a payment; ``device_id`` None lets any of their phones answer."""

    principal_id: UUID
    device_id: UUID | None


class _Answerer(msgspec.Struct, gc=False):
    """What somebody who is asked can show, and how often they were asked lately."""

    levels: frozenset[Acr]
    pushes: int
    challenges: int


class Answerers:
    """Whom a batch may have to ask, and what the shops are called; it counts what it asks."""

    def __init__(self, rows: Sequence[Mapping[str, Any]] = ()) -> None:
        self._known: dict[Asked, _Answerer] = {}
        self._shops: dict[UUID, str] = {}
        for row in rows:
            enrolled = {name: row[name] for name in _ENROLLED}
            answerer = _Answerer(levels_of(**enrolled), row["pushes"], row["challenges"])
            self._known[Asked(row["principal_id"], row["device_id"])] = answerer
            self._shops[row["shop_id"]] = row["shop"]

    def shop_name(self, shop_id: UUID) -> str:
        """Return what a shop is called."""
        return self._shops[shop_id]

    def ask(self, asked: Asked, requirement: Requirement, *, push: bool) -> Refusal | None:
        """Return why somebody cannot be asked for this level now; None counts as having asked.

        That nothing is enrolled which would do is never a reason to let a payment through. What
        the shop asks for is a push; the other challenges somebody's own phone has asked for.
        """
        answerer = self._known[asked]
        if not satisfies(answerer.levels, requirement.require):
            return Refusal("confirmation_unavailable", {"acr_values": list(requirement.require)})
        if (push and answerer.pushes >= PUSHES_MAX) or answerer.challenges >= ASKED_MAX:
            return Refusal("push_too_often")
        answerer.pushes += push
        answerer.challenges += 1
        return None


async def find_answerers(
    connection: Connection, asked: Collection[tuple[Asked, UUID]], *, now: datetime
) -> Answerers:
    """Return what there is to know of whom a batch may ask, each with the shop's id."""
    rows = await connection.fetch(
        _FIND_ANSWERERS,
        [one.principal_id for one, _ in asked],
        [one.device_id for one, _ in asked],
        [shop_id for _, shop_id in asked],
        now - timedelta(seconds=PUSH_WINDOW_S),
    )
    return Answerers(rows)


def operation_of(
    request: PayRequest, *, wallet_id: UUID, shop_id: UUID, expires_at: datetime
) -> dict[str, Any]:
    """Return what is approved, as it is hashed: one yen or another shop is another operation."""
    return {
        "op": "payment",
        "payer": public_id("wal", wallet_id),
        "payee": public_id("shp", shop_id),
        "amount": request.amount_yen,
        "currency": CURRENCY,
        "idempotency_key": request.idempotency_key,
        "exp": int(expires_at.timestamp()),
    }


def challenge_for(
    request: PayRequest,
    asked: Asked,
    requirement: Requirement,
    *,
    wallet_id: UUID,
    shop: tuple[UUID, str],
    now_us: int,
) -> Challenge:
    """Return the challenge to a payer, not written yet; ``shop`` is its id and name.

    One that a shop asks for has the payment's id, and a number for the shop's screen.
    """
    push = request.asked_by is None
    expires_at = to_datetime(now_us) + timedelta(seconds=EXPIRES_S)
    shop_id, name = shop
    shown = {
        "amount_yen": request.amount_yen,
        "shop_id": public_id("shp", shop_id),
        "shop": name,
    }
    challenge = make_challenge(
        principal_id=asked.principal_id,
        device_id=asked.device_id,
        operation=Operation.SHOP,
        fields=operation_of(request, wallet_id=wallet_id, shop_id=shop_id, expires_at=expires_at),
        summary=shown,
        requirement=requirement,
        now_us=now_us,
        push=push,
    )
    return replace(challenge, id=request.payment_id) if push else challenge
