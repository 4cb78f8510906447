"""Value in wallets."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import NOW_US
from wallet.core.database import read
from wallet.core.ids import align_id, new_id
from wallet.ledger.teller import Teller
from wallet.vouchers.issue import ISSUE, Issued, Refused
from wallet.vouchers.rules import IssueRequest

_PURSES = text("""
SELECT g.code || ' ' || p.funding, (b.credits_posted - b.debits_posted)::bigint
FROM purse AS p JOIN programme AS g ON g.id = p.programme_id
JOIN balance AS b ON b.account_id = p.account_id
WHERE p.wallet_id = :wallet_id
""")


def make_request(
    wallet_id: UUID, programme: str = "coin", *, sets: int = 0, amount_yen: int = 0
) -> IssueRequest:
    """Return a request under an id of its own."""
    return IssueRequest(
        issue_id=align_id(new_id(now_us=NOW_US)),
        wallet_id=wallet_id,
        programme=programme,
        sets=sets,
        amount_yen=amount_yen,
    )


async def ask(teller: Teller, request: IssueRequest) -> Issued | Refused:
    """Submit one request and return the answer."""
    answer: Issued | Refused = await teller.submit(ISSUE, request)
    return answer


async def give(
    teller: Teller, wallet_id: UUID, programme: str = "coin", *, sets: int = 0, amount_yen: int = 0
) -> Issued:
    """Issue value to a wallet, or fail the test."""
    request = make_request(wallet_id, programme, sets=sets, amount_yen=amount_yen)
    answer = await ask(teller, request)
    assert isinstance(answer, Issued), answer
    return answer


async def purses_of(engine: AsyncEngine, wallet_id: UUID) -> dict[str, int]:
    """Return what is in a wallet's purses in yen, such as ``{"voucher premium": 1250}``."""
    async with read(engine) as connection:
        rows = await connection.execute(_PURSES, {"wallet_id": wallet_id})
        return {row[0]: row[1] for row in rows}
