"""Whether the money adds up after the run: the ledger's own proof, and every payment told of."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import text

from bench.ledger import TRANSFER_CODE
from bench.stage import Stage
from bench.till import Ledgered
from wallet.core.clock import system_clock
from wallet.core.database import make_engine, read
from wallet.ledger.verify import verify

_PAYMENTS: Final = text("""
SELECT count(*), coalesce(sum(amount_yen), 0)::bigint FROM payment WHERE state = 'succeeded'
""")
_TRANSFERS: Final = text("SELECT count(*) FROM transfer WHERE code = :code")


@dataclass(frozen=True, kw_only=True)
class Books:
    """What was told to the callers, beside what the database holds."""

    told: Ledgered
    transfers_told: int
    payments: int
    amount_yen: int
    transfers: int
    verified: bool

    @property
    def complete(self) -> bool:
        """Whether everything that was told is there.

        A payment whose answer was lost may be there as well; with no answer lost, the numbers
        must be the same.
        """
        told = self.told
        more = self.payments - told.payments
        return (
            self.transfers == self.transfers_told
            and 0 <= more <= told.unanswered
            and (more > 0 or self.amount_yen == told.amount_yen)
        )

    @property
    def ok(self) -> bool:
        """Whether the money adds up, and nothing was refused or left without an answer."""
        return self.verified and self.complete and not (self.told.refused or self.told.unanswered)


async def close_books(stage: Stage, *, told: Ledgered, transfers_told: int) -> Books:
    """Count what is there and recompute every balance; call when nobody pays any more."""
    engine = make_engine(stage.application_url, pool_size=1, application_name="bench-books")
    try:
        async with read(engine) as connection:
            payments, amount_yen = (await connection.execute(_PAYMENTS)).one()
            transfers = (await connection.execute(_TRANSFERS, {"code": TRANSFER_CODE})).scalar_one()
        report = await verify(engine, now_us=system_clock())
    finally:
        await engine.dispose()
    return Books(
        told=told,
        transfers_told=transfers_told,
        payments=payments,
        amount_yen=amount_yen,
        transfers=transfers,
        verified=report.ok,
    )
