"""Create a programme: its terms, its two accounts, and the budget the city gives it."""

from collections.abc import Collection, Sequence
from datetime import date
from typing import Any
from uuid import UUID

import msgspec

from wallet.core.clock import to_datetime
from wallet.core.database import Connection
from wallet.core.ids import align_id, new_id, numbered_id
from wallet.core.money import LEDGER_JPY
from wallet.core.refusals import Refusal, RefusedError
from wallet.ledger import storage
from wallet.ledger.chart import (
    ACCOUNT_BUDGET,
    ACCOUNT_CLEARING,
    ACCOUNT_FUNDING,
    FUNDING_ACCOUNT_ID,
    TRANSFER_FUNDING,
)
from wallet.ledger.rules import (
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
    Account,
    AccountCode,
    Transfer,
    TransferCode,
)
from wallet.ledger.teller import Teller
from wallet.ledger.work import Batch, Facts
from wallet.programmes.problems import problems_of
from wallet.programmes.terms import ProgrammeDraft, Terms

_FIND = "SELECT id, code, number, terms FROM programme WHERE code = ANY($1::text[])"
_LAST_NUMBER = "SELECT coalesce(max(number), 0) FROM programme"
_INSERT = """
INSERT INTO programme (id, number, code, version, terms, clearing_account_id, budget_account_id,
                       created_at, state, live_on)
VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $8, $9)
"""


class CreateProgramme(msgspec.Struct, frozen=True):
    """A draft and the ids its accounts and its funding shall have.

    With ``live_on`` it is scheduled for that day in Japan; without, it is live at once.
    """

    draft: ProgrammeDraft
    programme_id: UUID
    clearing_account_id: UUID
    budget_account_id: UUID
    funding_id: UUID
    live_on: date | None = None


class Created(msgspec.Struct, frozen=True):
    """The programme there is now; ``new`` is False when it was there with the same terms."""

    programme_id: UUID
    number: int
    new: bool


class CreateFacts(Facts):
    """The programmes with the codes asked for, and those that this batch adds."""

    __slots__ = ("known", "last_number", "new")

    def __init__(self, known: dict[str, tuple[UUID, int, Terms]], last_number: int) -> None:
        super().__init__()
        self.known = known
        self.last_number = last_number
        self.new: list[tuple[CreateProgramme, int]] = []


class Create:
    """The kind of work behind :func:`create_programme`."""

    async def gather(
        self, connection: Connection, requests: Sequence[CreateProgramme], now_us: int
    ) -> CreateFacts:
        """Find programmes of the same codes, and the city's funding account."""
        del now_us
        rows = await connection.fetch(_FIND, [request.draft.code for request in requests])
        known = {
            row["code"]: (row["id"], row["number"], msgspec.json.decode(row["terms"], type=Terms))
            for row in rows
        }
        facts = CreateFacts(known, await connection.fetchval(_LAST_NUMBER))
        facts.account_ids.add(FUNDING_ACCOUNT_ID)
        facts.prior = storage.Prior(
            accounts=await storage.find_accounts(connection, [FUNDING_ACCOUNT_ID])
        )
        return facts

    def decide(
        self, request: CreateProgramme, facts: CreateFacts, batch: Batch
    ) -> Created | Refusal:
        """Open the accounts, fund the budget, and take the next number."""
        draft = request.draft
        known = facts.known.get(draft.code)
        if known is not None:
            programme_id, number, terms = known
            if terms != draft.terms:
                return Refusal("programme_exists", {"programme": draft.code})
            return Created(programme_id, number, new=False)
        if "all" in batch.stops:
            return Refusal("service_stopped")
        number = facts.last_number + 1
        _open_accounts(request, number, batch)
        _fund(request, number, batch)
        facts.last_number = number
        facts.known[draft.code] = (request.programme_id, number, draft.terms)
        facts.new.append((request, number))
        return Created(request.programme_id, number, new=True)

    async def record(
        self, connection: Connection, facts: CreateFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write the new programmes."""
        del answers
        for request, number in facts.new:
            await connection.execute(
                _INSERT,
                request.programme_id,
                number,
                request.draft.code,
                msgspec.json.encode(request.draft.terms).decode(),
                request.clearing_account_id,
                request.budget_account_id,
                to_datetime(batch.now_us),
                "live" if request.live_on is None else "scheduled",
                request.live_on,
            )


CREATE = Create()


def _open_accounts(request: CreateProgramme, number: int, batch: Batch) -> None:
    """Open clearing and budget, and once in a city's life its funding account."""
    marks: dict[str, Any] = {"user_data_128": request.programme_id, "user_data_32": number}
    accounts = [
        Account(request.clearing_account_id, LEDGER_JPY, ACCOUNT_CLEARING, **marks),
        Account(
            request.budget_account_id,
            LEDGER_JPY,
            ACCOUNT_BUDGET,
            ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
            **marks,
        ),
    ]
    if FUNDING_ACCOUNT_ID not in batch.book.balances:
        accounts.append(Account(FUNDING_ACCOUNT_ID, LEDGER_JPY, ACCOUNT_FUNDING))
    results = batch.book.create_accounts(accounts)
    if any(result.code is not AccountCode.CREATED for result in results):
        message = f"the ledger refused a programme's accounts: {[str(r.code) for r in results]}"
        raise RuntimeError(message)


def _fund(request: CreateProgramme, number: int, batch: Batch) -> None:
    amount_yen = request.draft.funded_yen
    if amount_yen == 0:
        return
    transfer = funding(
        request.funding_id, request.budget_account_id, amount_yen=amount_yen, number=number
    )
    (result,) = batch.book.create_transfers([transfer])
    if result.code is not TransferCode.CREATED:
        message = f"the ledger refused to fund a budget: {result.code}"
        raise RuntimeError(message)


def funding(
    transfer_id: UUID, budget_account_id: UUID, *, amount_yen: int, number: int
) -> Transfer:
    """Return the transfer by which the city funds the budget of programme ``number``."""
    return Transfer(
        transfer_id,
        FUNDING_ACCOUNT_ID,
        budget_account_id,
        amount_yen,
        LEDGER_JPY,
        TRANSFER_FUNDING,
        user_data_32=number,
    )


async def create_programme(
    teller: Teller,
    *,
    draft: ProgrammeDraft,
    now_us: int,
    known_categories: Collection[str] = (),
    root_id: UUID | None = None,
    live_on: date | None = None,
) -> Created:
    """Create the programme in one transaction, or find it there with the same terms.

    Raises :class:`RefusedError` ``programme_invalid`` with every problem as a sentence, or
    ``programme_exists`` when the code is taken by other terms. ``known_categories`` are the shop
    categories to check the terms against; none checks nothing. ``root_id`` is what its ids are
    numbered after, an aligned one; with ``live_on`` it is scheduled for that day in Japan.
    """
    problems = problems_of(draft, known_categories=known_categories)
    if problems:
        raise RefusedError("programme_invalid", programme=draft.code, problems=problems)
    root_id = root_id or align_id(new_id(now_us=now_us))
    request = CreateProgramme(
        draft,
        programme_id=numbered_id(root_id, 1),
        clearing_account_id=numbered_id(root_id, 2),
        budget_account_id=numbered_id(root_id, 3),
        funding_id=numbered_id(root_id, 4),
        live_on=live_on,
    )
    answer: Created | Refusal = await teller.submit(CREATE, request)
    if isinstance(answer, Refusal):
        raise RefusedError(answer.code, **answer.facts)
    return answer
