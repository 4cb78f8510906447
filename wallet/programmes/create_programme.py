"""Create a programme: its terms, its two accounts, and the budget the city gives it."""

import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any, Final
from uuid import UUID

import msgspec

from wallet.core.clock import to_datetime
from wallet.core.database import Connection
from wallet.core.ids import new_id
from wallet.core.money import AMOUNT_YEN_MAX, LEDGER_JPY
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
from wallet.ledger.teller import Batch, Facts, Teller
from wallet.programmes.queries import Terms
from wallet.programmes.rules import Frame, Spending

CODE_FORMAT: Final = re.compile(r"[a-z0-9-]{1,64}")
NAME_CHARACTERS_MAX: Final = 80

_FIND = "SELECT id, code, number, terms FROM programme WHERE code = ANY($1::text[])"
_LAST_NUMBER = "SELECT coalesce(max(number), 0) FROM programme"
_INSERT = """
INSERT INTO programme (id, number, code, version, terms, clearing_account_id, budget_account_id,
                       created_at)
VALUES ($1, $2, $3, 1, $4, $5, $6, $7)
"""


class ProgrammeDraft(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A programme as a clerk writes it down; the same fields in a TOML file.

    ``budget_yen`` is what the city adds in all; left out, a frame's is its premium on every set.
    """

    code: str
    name: str
    spending: Spending
    frame: Frame | None = None
    budget_yen: int | None = None

    @property
    def terms(self) -> Terms:
        """The part that is kept as the programme's terms."""
        return Terms(name=self.name, spending=self.spending, frame=self.frame)

    @property
    def funded_yen(self) -> int:
        """What the budget is funded with."""
        if self.budget_yen is not None:
            return self.budget_yen
        frame = self.frame
        return 0 if frame is None else (frame.face_yen - frame.price_yen) * frame.sets_total


class CreateProgramme(msgspec.Struct, frozen=True):
    """A draft and the ids its accounts and its funding shall have."""

    draft: ProgrammeDraft
    programme_id: UUID
    clearing_account_id: UUID
    budget_account_id: UUID
    funding_id: UUID


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
) -> Created:
    """Create the programme in one transaction, or find it there with the same terms.

    Raises :class:`RefusedError` ``programme_invalid`` with every problem as a sentence, or
    ``programme_exists`` when the code is taken by other terms. ``known_categories`` are the shop
    categories to check the terms against; none checks nothing.
    """
    problems = problems_of(draft, known_categories=known_categories)
    if problems:
        raise RefusedError("programme_invalid", programme=draft.code, problems=problems)
    ids = [new_id(now_us=now_us) for _ in range(4)]
    answer: Created | Refusal = await teller.submit(CREATE, CreateProgramme(draft, *ids))
    if isinstance(answer, Refusal):
        raise RefusedError(answer.code, **answer.facts)
    return answer


def problems_of(draft: ProgrammeDraft, *, known_categories: Collection[str] = ()) -> list[str]:
    """Return what is wrong with a draft, one sentence for each problem; none is good."""
    spending = draft.spending
    problems = []
    if not CODE_FORMAT.fullmatch(draft.code):
        problems.append("code: use 1 to 64 small letters, digits and hyphens.")
    if not 1 <= len(draft.name.strip()) <= NAME_CHARACTERS_MAX:
        problems.append(f"name: use 1 to {NAME_CHARACTERS_MAX} characters.")
    if spending.last_day < spending.first_day:
        problems.append(
            f"spending.last_day: {spending.last_day} is before first_day {spending.first_day}."
        )
    problems += [
        f"spending: category {category!r} is both allowed and excluded."
        for category in sorted(spending.categories & spending.excluded_categories)
    ]
    problems += _unknown_categories(spending, known_categories)
    if draft.frame is not None:
        problems += _frame_problems(draft.frame)
    if not 0 <= draft.funded_yen <= AMOUNT_YEN_MAX:
        problems.append(f"budget_yen: use 0 to {AMOUNT_YEN_MAX:,}.")
    return problems


def _unknown_categories(spending: Spending, known: Collection[str]) -> list[str]:
    problems = []
    asked = spending.categories | spending.excluded_categories
    for category in sorted(asked.difference(known)) if known else ():
        similar = get_close_matches(category, known, n=1)
        hint = f" Did you mean {similar[0]!r}?" if similar else ""
        problems.append(f"spending: there is no shop category {category!r}.{hint}")
    return problems


def _frame_problems(frame: Frame) -> list[str]:
    problems = []
    if frame.price_yen <= 0:
        problems.append("frame.price_yen: a set costs at least 1 yen.")
    if frame.face_yen < frame.price_yen:
        problems.append("frame.face_yen: a set must be worth its price or more.")
    if frame.sets_per_person <= 0:
        problems.append("frame.sets_per_person: at least 1.")
    if frame.sets_total < frame.sets_per_person:
        problems.append("frame.sets_total: at least what one person may have.")
    if frame.face_yen * frame.sets_total > AMOUNT_YEN_MAX:
        problems.append(f"frame: all sets together are worth more than {AMOUNT_YEN_MAX:,} yen.")
    return problems
