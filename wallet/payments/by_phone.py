"""What phones ask of the till: to pay a shop, and to approve what a shop has asked for.

Both are recognised inside the batch that moves the money (:mod:`wallet.auth.recognise`), unless a
door has recognised the phone before, to check a PIN, a code or a passkey.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from wallet.auth import step_up_storage
from wallet.auth.authenticate import Caller
from wallet.auth.recognise import NO_PHONES, SESSIONS, USED_PROOFS, Claim, Phones, session_from
from wallet.auth.rules import StepUp
from wallet.auth.step_up_storage import step_up_from
from wallet.core.clock import to_datetime
from wallet.core.database import Connection
from wallet.core.ids import keyed_hash, public_id
from wallet.core.refusals import Refusal
from wallet.payments import waiting
from wallet.payments.rules import APP, Holder, PayRequest
from wallet.payments.step_up import Asked
from wallet.payments.storage import PhoneFacts
from wallet.payments.waiting import Pending

# Everything that a batch must know of the phones that ask in it, in one round trip; each row says
# what it is. Payments that wait are locked before the challenges that approve them, and both before
# anybody looks whether a request is a repeat: whoever has waited for a lock sees what came of it.
_PHONES = f"""
SELECT 1, row FROM ({SESSIONS}) AS row
UNION ALL
SELECT 2, row FROM ({USED_PROOFS}) AS row
UNION ALL
SELECT 3, row FROM ({waiting.LOCK.format(ids="$4")}) AS row
UNION ALL
SELECT 4, row FROM ({step_up_storage.LOCK.format(ids="$4")}) AS row
"""  # noqa: S608 - parts of ours

# Whose wallets somebody may pay out of: their own, their wards', and as a proxy.
_REACH = """
SELECT asked.n, found.wallet_id, o.state = 'active', o.cooling_until, found.cooling_until,
       found.helper_id, found.payment_limit_yen, found.daily_limit_yen
FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS asked (principal_id, wallet_id, n)
JOIN person AS o ON o.id = ANY (ARRAY[asked.principal_id])
CROSS JOIN LATERAL (
    SELECT id AS wallet_id, NULL::timestamptz AS cooling_until, NULL::uuid AS helper_id,
           NULL::bigint AS payment_limit_yen, NULL::bigint AS daily_limit_yen
    FROM wallet WHERE person_id = asked.principal_id
      AND (asked.wallet_id IS NULL OR id = asked.wallet_id)
    UNION ALL
    SELECT wallet_id, NULL, NULL, NULL, NULL FROM guardianship
    WHERE guardian_id = asked.principal_id AND wallet_id = asked.wallet_id AND until IS NULL
    UNION ALL
    SELECT wallet_id, cooling_until, id, payment_limit_yen, daily_limit_yen FROM helper
    WHERE helper_id = asked.principal_id AND wallet_id = asked.wallet_id AND kind = 'proxy'
      AND revoked_at IS NULL
    OFFSET 0
) AS found
"""

_SESSION: Final = 1
_USED_PROOF: Final = 2
_PENDING: Final = 3

_NIL: Final = UUID(int=0)


class PayByPhone(msgspec.Struct, frozen=True, gc=False):
    """A person's request to pay a shop out of a wallet they may pay out of, their own by default.

    ``step_up_id`` names the challenge they have passed for it. The pepper keys the hash that stands
    for the phone.
    """

    payment_id: UUID
    sender: Claim | Caller
    idempotency_key: str
    terminal_id: UUID
    amount_yen: int
    wallet_id: UUID | None
    step_up_id: UUID | None
    pepper: bytes


class AnswerChallenge(msgspec.Struct, frozen=True, gc=False):
    """A phone's answer to a challenge: its second key's signature, None if it was passed before.

    ``number`` is what its holder has read on the shop's screen.
    """

    challenge_id: UUID
    sender: Claim | Caller
    signature: bytes | None
    number: str | None


class Reach(msgspec.Struct, frozen=True, gc=False):
    """A wallet that somebody may pay out of, as the proxy who has it, if one is.

    ``is_active`` and ``cooling_until`` are their own, ``usable_from`` the proxy's.
    """

    wallet_id: UUID
    is_active: bool
    cooling_until: datetime | None
    usable_from: datetime | None
    proxy: Holder | None


class Desk:
    """What a batch knows of the phones that ask in it, and of what they answer to."""

    def __init__(
        self,
        phones: Phones,
        pending: Mapping[UUID, Pending],
        step_ups: Mapping[UUID, StepUp],
    ) -> None:
        self.phones = phones
        self.pending = pending
        self.step_ups = step_ups
        # Of those who ask to pay, by the payment's id. Who has passed a challenge is asked no more.
        self.requests: dict[UUID, PayRequest] = {}
        self.reach: dict[UUID, Reach] = {}
        self.askers: dict[UUID, Asked] = {}

    def caller_of(self, sender: Claim | Caller, *, now_us: int) -> Caller | Refusal:
        """Return who sent a request; asked once for each."""
        if isinstance(sender, Caller):
            return sender
        return self.phones.recognise(sender, now_us=now_us)

    def named_by(self, sender: Claim | Caller) -> Asked | None:
        """Return whose phone a request names, and which, whether or not that is true."""
        if isinstance(sender, Caller):
            return Asked(sender.principal_id, sender.device_id)
        principal_id, device_id = self.phones.named_by(sender)
        return None if principal_id is None else Asked(principal_id, device_id)


NO_DESK: Final = Desk(NO_PHONES, {}, {})


async def open_desk(
    connection: Connection,
    asked: Sequence[PayByPhone],
    answers: Sequence[AnswerChallenge],
    *,
    now: datetime,
) -> Desk:
    """Find the phones, lock what they answer to or name, and turn what they ask into requests.

    Such a request is like every other, but that its merchant is that of its terminal, which is
    found later.
    """
    senders = [one.sender for one in asked] + [one.sender for one in answers]
    claims = [sender for sender in senders if isinstance(sender, Claim)]
    challenge_ids = {one.challenge_id for one in answers}
    challenge_ids.update(one.step_up_id for one in asked if one.step_up_id is not None)
    desk = await _find_phones(connection, claims, challenge_ids, now)
    named = [(one, asker) for one in asked if (asker := desk.named_by(one.sender)) is not None]
    if named:
        desk.reach = await _find_reach(connection, named)
    for one, asker in named:
        reach = desk.reach.get(one.payment_id)
        wallet_id = one.wallet_id if reach is None else reach.wallet_id
        desk.requests[one.payment_id] = _request(one, asker, wallet_id)
        if one.step_up_id is None:
            desk.askers[one.payment_id] = asker
    return desk


async def _find_phones(
    connection: Connection, claims: Sequence[Claim], challenge_ids: set[UUID], now: datetime
) -> Desk:
    sessions: dict[UUID, dict[str, Any]] = {}
    used: list[bytes] = []
    pending: dict[UUID, Pending] = {}
    step_ups: dict[UUID, StepUp] = {}
    for kind, row in await connection.fetch(
        _PHONES,
        list({claim.token.session_id for claim in claims}),
        now,
        [claim.proof.jti_hash for claim in claims],
        list(challenge_ids),
    ):
        if kind == _SESSION:
            sessions[row[0]] = session_from(row)
        elif kind == _USED_PROOF:
            used.append(row[0])
        elif kind == _PENDING:
            pending[row[0]] = waiting.pending_from(row)
        else:
            step_ups[row[0]] = step_up_from(row)
    return Desk(Phones(sessions, used), pending, step_ups)


async def _find_reach(
    connection: Connection, named: Sequence[tuple[PayByPhone, Asked]]
) -> dict[UUID, Reach]:
    found: dict[UUID, Reach] = {}
    rows = await connection.fetch(
        _REACH,
        [asker.principal_id for _, asker in named],
        [one.wallet_id for one, _ in named],
    )
    for number, wallet_id, is_active, cooling_until, usable_from, *proxy in sorted(
        rows, key=lambda row: row[:2]
    ):
        payment_id = named[number - 1][0].payment_id
        holder = None if proxy[0] is None else Holder(proxy[0], "active", proxy[1], proxy[2])
        reach = Reach(wallet_id, is_active, cooling_until, usable_from, holder)
        found.setdefault(payment_id, reach)
    return found


def _request(asked: PayByPhone, asker: Asked, wallet_id: UUID | None) -> PayRequest:
    """Return the request; the name that a shop would give it follows from whose key it is."""
    principal_id, device_id = asker.principal_id, asker.device_id
    name = hashlib.blake2b(
        principal_id.bytes + asked.idempotency_key.encode(), digest_size=16
    ).hexdigest()
    return PayRequest(
        asked.payment_id,
        _NIL,
        asked.idempotency_key,
        f"app-{name}",
        asked.terminal_id,
        asked.amount_yen,
        APP,
        keyed_hash(public_id("dev", device_id or _NIL), pepper=asked.pepper),
        None,
        principal_id,
        wallet_id,
    )


def phone_of(caller: Caller, reach: Reach) -> PhoneFacts:
    """Return the phone that asks, as of one that was given a code."""
    until_us = caller.cooling_until_us
    cooling = [reach.cooling_until, None if until_us is None else to_datetime(until_us)]
    return PhoneFacts(
        caller.device_id or _NIL,
        caller.principal_id,
        caller.app_version or "",
        max((until for until in cooling if until is not None), default=None),
        is_enrolled=True,
        is_owner_active=reach.is_active,
    )
