"""The sales of a campaign: on while its state says so, off while it is suspended."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import to_datetime, to_microseconds
from wallet.programmes.terms import Terms
from wallet.vouchers.campaigns_rules import CampaignTerms, Mode
from wallet.vouchers.purchase_stock import Sale, count_booklets, lock_frames, open_sale

_OFFERS_UNTIL: Final = text("""
SELECT max(offers_until) FROM draw WHERE campaign_id = :campaign_id
""")

_CLOSE: Final = text("""
UPDATE stock AS s SET closes_at = :now
FROM programme AS g
WHERE g.id = s.programme_id AND g.code = ANY (CAST(:frames AS text[]))
  AND s.opens_at < :now AND s.closes_at > :now
""")


async def open_sales(
    connection: AsyncConnection,
    *,
    campaign_id: UUID,
    terms: CampaignTerms,
    frames: dict[str, Terms],
    now_us: int,
) -> None:
    """Put every frame on sale: to the winners until their deadline, or to whoever comes first."""
    closes = terms.purchase_until
    if terms.mode is not Mode.FIRST_COME:
        values = {"campaign_id": campaign_id}
        closes = (await connection.execute(_OFFERS_UNTIL, values)).scalar_one()
    if closes is None or to_microseconds(closes) <= now_us:
        return
    await lock_frames(connection, frames)
    booklets = await count_booklets(connection, frames)
    for code, frame in frames.items():
        if frame.frame is not None:
            # What is on paper is sold at the desks.
            units_total = max(0, frame.frame.sets_total - booklets[code])
            sale = _sale(terms, frame, units_total=units_total, closes=closes, now_us=now_us)
            await open_sale(connection, programme=code, sale=sale)


async def close_sales(connection: AsyncConnection, *, terms: CampaignTerms, now_us: int) -> None:
    """Take every frame off sale; what is reserved can still be paid for."""
    values = {"frames": list(terms.frames), "now": to_datetime(now_us)}
    await connection.execute(_CLOSE, values)


def _sale(
    terms: CampaignTerms, frame: Terms, *, units_total: int, closes: datetime, now_us: int
) -> Sale:
    return Sale(
        mode="first_come" if terms.mode is Mode.FIRST_COME else "offered",
        units_total=units_total,
        opens_us=now_us,
        closes_us=to_microseconds(closes),
        residents_only=frame.eligibility.resident is True,
    )
