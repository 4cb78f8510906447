"""Issue to many wallets: a roster, a draw's winners, a whole city."""

import asyncio
from collections.abc import Callable, Sequence

from wallet.ledger.bulk import BULK_BATCH
from wallet.ledger.teller import Teller
from wallet.vouchers.issue import ISSUE, Issued, Refused
from wallet.vouchers.rules import IssueRequest


async def issue_many(
    teller: Teller,
    *,
    requests: Sequence[IssueRequest],
    on_progress: Callable[[int], object] = lambda _: None,
) -> list[Issued | Refused]:
    """Return the answers in order; :data:`BULK_BATCH` requests wait in the teller's queue at most.

    Each request is settled or refused on its own, and repeats are answered as such, so after a
    failure the same call goes on where it stopped. ``on_progress`` hears how many more are done.
    """
    answers: list[Issued | Refused] = []
    for start in range(0, len(requests), BULK_BATCH):
        group = requests[start : start + BULK_BATCH]
        answers += await asyncio.gather(*[teller.submit(ISSUE, request) for request in group])
        on_progress(len(group))
    return answers
