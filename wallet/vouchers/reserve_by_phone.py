"""Who buys by phone: recognised inside the batch that reserves, as whoever pays by phone is.

A sale is when everybody comes at once, and looking a phone up first in transactions of its own
would cost more than all of the rest.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from wallet.auth.recognise import BURN, SESSIONS, USED_PROOFS, Claim, Phones, session_from
from wallet.core.clock import to_datetime
from wallet.core.database import Connection
from wallet.core.refusals import Refusal
from wallet.vouchers.purchase_rules import ReserveRequest

_PHONES: Final = f"""
SELECT 1, row FROM ({SESSIONS}) AS row
UNION ALL
SELECT 2, row FROM ({USED_PROOFS}) AS row
"""  # noqa: S608 - parts of ours

# Whose wallets somebody may buy for: their own, and their wards'. A proxy pays, and buys nothing.
_REACH: Final = """
SELECT asked.n, o.state, found.wallet_id
FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS asked (principal_id, wallet_id, n)
JOIN person AS o ON o.id = ANY (ARRAY[asked.principal_id])
LEFT JOIN LATERAL (
    SELECT id AS wallet_id FROM wallet
    WHERE person_id = asked.principal_id AND state <> 'closed'
      AND (asked.wallet_id IS NULL OR id = asked.wallet_id)
    UNION ALL
    SELECT wallet_id FROM guardianship
    WHERE guardian_id = asked.principal_id AND wallet_id = asked.wallet_id AND until IS NULL
    OFFSET 0
) AS found ON true
"""

_BURN: Final = f"WITH {BURN.format(hashes='$1', ends='$2', now='$3')} SELECT 1"

_SESSION: Final = 1


class ReserveByPhone(msgspec.Struct, frozen=True):
    """A phone's wish; the buyer and, unless one is named, the wallet follow from the phone."""

    sender: Claim
    purchase_id: UUID
    programme: str
    units: int
    idempotency_key: str
    wallet_id: UUID | None = None
    application_id: UUID | None = None


class Buyers:
    """What a batch knows of the phones that ask in it."""

    def __init__(self) -> None:
        self.phones = Phones({}, ())
        self._found: dict[UUID, tuple[str, ReserveRequest | None]] = {}

    @property
    def requests(self) -> list[ReserveRequest]:
        """What the phones ask for, as requests for the wallets that they name or have."""
        return [request for _, request in self._found.values() if request is not None]

    async def find(
        self, connection: Connection, asked: Sequence[ReserveByPhone], *, now: datetime
    ) -> None:
        """Look all phones up, and whom they may buy for, in two round trips."""
        sessions: dict[UUID, dict[str, Any]] = {}
        used: list[bytes] = []
        for kind, row in await connection.fetch(
            _PHONES,
            list({one.sender.token.session_id for one in asked}),
            now,
            [one.sender.proof.jti_hash for one in asked],
        ):
            if kind == _SESSION:
                sessions[row[0]] = session_from(row)
            else:
                used.append(row[0])
        self.phones = Phones(sessions, used)
        named = [(one, self.phones.named_by(one.sender)[0]) for one in asked]
        known = [(one, person_id) for one, person_id in named if person_id is not None]
        rows = await connection.fetch(
            _REACH, [person_id for _, person_id in known], [one.wallet_id for one, _ in known]
        )
        for number, state, wallet_id in sorted(map(tuple, rows), key=lambda row: row[0]):
            one, person_id = known[number - 1]
            request = None if wallet_id is None else _request(one, person_id, wallet_id)
            self._found.setdefault(one.purchase_id, (state, request))

    def decide(self, asked: ReserveByPhone, *, now_us: int) -> ReserveRequest | Refusal:
        """Return what a phone asks for, or why it asks in vain; asked once for each."""
        caller = self.phones.recognise(asked.sender, now_us=now_us)
        if isinstance(caller, Refusal):
            return caller
        state, request = self._found.get(asked.purchase_id, ("closed", None))
        if state == "closed":
            return Refusal("unauthenticated")
        if state != "active":
            return Refusal("account_frozen")
        return Refusal("wallet_unknown") if request is None else request

    async def burn(self, connection: Connection, *, now_us: int) -> None:
        """Use up the proofs that phones have shown."""
        proofs = self.phones.newly_used
        if proofs:
            await connection.execute(
                _BURN,
                [proof.jti_hash for proof in proofs],
                [proof.expires_at for proof in proofs],
                to_datetime(now_us),
            )


def _request(asked: ReserveByPhone, person_id: UUID, wallet_id: UUID) -> ReserveRequest:
    return ReserveRequest(
        purchase_id=asked.purchase_id,
        person_id=person_id,
        wallet_id=wallet_id,
        programme=asked.programme,
        units=asked.units,
        idempotency_key=asked.idempotency_key,
        application_id=asked.application_id,
    )
