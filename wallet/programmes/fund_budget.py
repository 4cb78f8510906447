"""Fund a programme's budget further, from the city's funding account."""

from uuid import UUID

from wallet.core.refusals import RefusedError
from wallet.ledger.create import create_transfers
from wallet.ledger.rules import TransferCode
from wallet.ledger.teller import Teller
from wallet.programmes.create_programme import funding


async def fund_budget(
    teller: Teller, *, number: int, budget_account_id: UUID, funding_id: UUID, amount_yen: int
) -> None:
    """Add ``amount_yen`` to the budget of programme ``number``, once for each ``funding_id``.

    Raises :class:`RefusedError` ``funding_refused`` with the ledger's reason.
    """
    transfer = funding(funding_id, budget_account_id, amount_yen=amount_yen, number=number)
    (result,) = await create_transfers(teller, [transfer])
    if result.code not in (TransferCode.CREATED, TransferCode.EXISTS):
        raise RefusedError("funding_refused", reason=str(result.code))
