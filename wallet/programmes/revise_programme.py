"""Revise a programme: new terms become its next version, and its budget grows to what they say.

What was funded stays funded: a smaller budget takes nothing back. The programme's row is locked
before any account, so two revisions are never decided side by side.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

import msgspec

from wallet.core.clock import japanese_day, to_datetime
from wallet.core.database import Connection
from wallet.core.refusals import Refusal
from wallet.ledger.chart import FUNDING_ACCOUNT_ID, TRANSFER_FUNDING
from wallet.ledger.rules import TransferCode
from wallet.ledger.storage import Prior, find_transfers
from wallet.ledger.work import Batch, Facts
from wallet.programmes.create_programme import funding
from wallet.programmes.life import State, state_on, what_falls
from wallet.programmes.terms import ProgrammeDraft, Terms

_LOCK: Final = """
SELECT id, number, code, version, state, live_on, terms, budget_account_id
FROM programme WHERE code = ANY($1::text[]) ORDER BY id FOR NO KEY UPDATE
"""

_FUNDED: Final = """
SELECT asked.account_id, t.yen
FROM unnest($1::uuid[]) AS asked (account_id)
CROSS JOIN LATERAL (
    SELECT coalesce(sum(amount), 0)::bigint AS yen FROM transfer
    WHERE credit_account_id = asked.account_id AND code = $2
) AS t
"""

_UPDATE: Final = """
UPDATE programme SET version = $2, terms = $3, state = $4, live_on = $5, changed_at = $6
WHERE id = $1
"""


class ReviseProgramme(msgspec.Struct, frozen=True):
    """A draft of a programme that exists, and the id its further funding shall have.

    ``live_on`` moves the day of one that is still scheduled.
    """

    draft: ProgrammeDraft
    funding_id: UUID
    live_on: date | None = None


class Revised(msgspec.Struct, frozen=True):
    """The programme as it is now; ``new`` is False when it had these terms already."""

    programme_id: UUID
    version: int
    new: bool


class Known(msgspec.Struct, frozen=True):
    """A programme as it stands before a revision."""

    id: UUID
    number: int
    version: int
    state: State
    live_on: date | None
    terms: Terms
    budget_account_id: UUID


class ReviseFacts(Facts):
    """The programmes asked for, and what was funded so far, in yen by budget account."""

    __slots__ = ("changed", "day", "funded", "known")

    def __init__(self, known: dict[str, Known], funded: dict[UUID, int], day: date) -> None:
        super().__init__()
        self.known = known
        self.funded = funded
        self.day = day
        self.changed: dict[UUID, Known] = {}


class Revise:
    """The kind of work behind :data:`REVISE`."""

    async def gather(
        self, connection: Connection, requests: Sequence[ReviseProgramme], now_us: int
    ) -> ReviseFacts:
        """Lock the programmes and count what their budgets were funded with."""
        rows = await connection.fetch(_LOCK, [request.draft.code for request in requests])
        known = {row["code"]: _known(row) for row in rows}
        budgets = [one.budget_account_id for one in known.values()]
        funded = dict(await connection.fetch(_FUNDED, budgets, TRANSFER_FUNDING))
        facts = ReviseFacts(known, funded, japanese_day(now_us))
        facts.account_ids.update(budgets, {FUNDING_ACCOUNT_ID})
        booked, burnt = await find_transfers(connection, [one.funding_id for one in requests])
        facts.prior = Prior(transfers=booked, burnt=burnt)
        return facts

    def decide(
        self, request: ReviseProgramme, facts: ReviseFacts, batch: Batch
    ) -> Revised | Refusal:
        """Give the programme its next version, or say why these terms cannot be it."""
        draft = request.draft
        known = facts.known.get(draft.code)
        if known is None:
            return Refusal("programme_unknown", {"programme": draft.code})
        if "all" in batch.stops:
            return Refusal("service_stopped")
        if known.state is State.SETTLED:
            return Refusal("programme_settled", {"programme": draft.code})
        falls = [] if known.state is State.SCHEDULED else what_falls(known.terms, draft.terms)
        if falls:
            return Refusal("programme_invalid", {"programme": draft.code, "problems": falls})
        missing_yen = draft.funded_yen - facts.funded[known.budget_account_id]
        if missing_yen > 0:
            _fund(request, known, missing_yen, batch)
            facts.funded[known.budget_account_id] += missing_yen
        after = _after(request, known, facts.day)
        if after == known:
            return Revised(known.id, known.version, new=False)
        after = msgspec.structs.replace(after, version=known.version + 1)
        facts.known[draft.code] = facts.changed[known.id] = after
        return Revised(after.id, after.version, new=True)

    async def record(
        self, connection: Connection, facts: ReviseFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write the new versions."""
        del answers
        for one in facts.changed.values():
            await connection.execute(
                _UPDATE,
                one.id,
                one.version,
                msgspec.json.encode(one.terms).decode(),
                str(one.state),
                one.live_on,
                to_datetime(batch.now_us),
            )


REVISE: Final = Revise()


def _known(row: Any) -> Known:  # noqa: ANN401 - a row of the driver's
    return Known(
        id=row["id"],
        number=row["number"],
        version=row["version"],
        state=State(row["state"]),
        live_on=row["live_on"],
        terms=msgspec.json.decode(row["terms"], type=Terms),
        budget_account_id=row["budget_account_id"],
    )


def _after(request: ReviseProgramme, known: Known, day: date) -> Known:
    """Return the programme with the new terms, in the version it has still."""
    terms = request.draft.terms
    moved = known.state is State.SCHEDULED and request.live_on is not None
    live_on = request.live_on if moved else known.live_on
    state = state_on(known.state, live_on=live_on, last_day=terms.spending.last_day, day=day)
    return msgspec.structs.replace(known, terms=terms, live_on=live_on, state=state)


def _fund(request: ReviseProgramme, known: Known, amount_yen: int, batch: Batch) -> None:
    transfer = funding(
        request.funding_id, known.budget_account_id, amount_yen=amount_yen, number=known.number
    )
    (result,) = batch.book.create_transfers([transfer])
    if result.code is not TransferCode.CREATED:
        message = f"the ledger refused to fund a budget: {result.code}"
        raise RuntimeError(message)
