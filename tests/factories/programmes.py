"""Programmes: rules in memory, drafts, and programmes that exist."""

from datetime import date
from typing import Any
from uuid import UUID, uuid4

from tests.factories.moments import NOW_US
from wallet.ledger.teller import Teller
from wallet.programmes.create_programme import Created, create_programme
from wallet.programmes.rules import Frame, Programme, Purse, Spending
from wallet.programmes.terms import ProgrammeDraft, Terms

YEAR = {"first_day": date(2026, 1, 1), "last_day": date(2027, 3, 31)}


def spending(**changes: Any) -> Spending:  # noqa: ANN401 - fields of many types
    """Return rules of spending that restrict nothing but the year, with ``changes``."""
    return Spending(**{**YEAR, **changes})


def frame(**changes: Any) -> Frame:  # noqa: ANN401 - fields of many types
    """Return a frame of 5,000 yen for 6,250, 100 sets, 10 a person, with ``changes``."""
    terms = {"price_yen": 5_000, "face_yen": 6_250, "sets_total": 100, "sets_per_person": 10}
    return Frame(**{**terms, **changes})


def programme(
    number: int = 1,
    *,
    frame: Frame | None = None,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> Programme:
    """Return a programme that exists only in memory; ``changes`` are of its spending."""
    terms = Terms(name=f"制度{number}", spending=spending(**changes), frame=frame)
    return Programme(
        id=uuid4(),
        number=number,
        code=f"programme-{number}",
        name=terms.name,
        version=1,
        terms=terms,
        spending=terms.spending,
        frame=frame,
        clearing_account_id=uuid4(),
        budget_account_id=uuid4(),
    )


def purse(of: Programme, *, funding: str = "free", expires_on: date | None = None) -> Purse:
    """Return a purse of a programme, good until the programme's last day by default."""
    return Purse(uuid4(), of.id, funding, expires_on or of.spending.last_day)


def free_draft(
    code: str = "coin",
    *,
    budget_yen: int = 1_000_000,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> ProgrammeDraft:
    """Return a draft of free money with a budget."""
    return ProgrammeDraft(
        code=code, name="地域コイン", spending=spending(**changes), budget_yen=budget_yen
    )


def voucher_draft(
    code: str = "voucher",
    *,
    frame_: Frame | None = None,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> ProgrammeDraft:
    """Return a draft of a voucher."""
    return ProgrammeDraft(
        code=code, name="商品券", spending=spending(**changes), frame=frame_ or frame()
    )


async def make_programme(teller: Teller, draft: ProgrammeDraft) -> Created:
    """Create a programme."""
    return await create_programme(teller, draft=draft, now_us=NOW_US)


def ids(*purses: Purse) -> list[UUID]:
    """Return the account ids of purses, for comparison."""
    return [one.account_id for one in purses]
