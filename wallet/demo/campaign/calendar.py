"""The days of the campaign, all counted from the one on which it is drafted."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final

from wallet.core.clock import JST
from wallet.vouchers.campaigns_rules import CampaignTerms, Mode

APPLY_DAYS: Final = 27
"""From 9:00 on the first to 23:59 on the last day, as the city's own campaign had it."""

PURCHASE_DAYS: Final = 10
USE_DAYS: Final = 120


@dataclass(frozen=True, kw_only=True)
class Calendar:
    """Japanese days: applications end as ``closed_on`` begins, and buying as ``lapsed_on`` does."""

    opens_on: date
    closed_on: date
    drawn_on: date
    results_on: date
    lapsed_on: date
    use_from: date
    use_until: date

    @property
    def value_known_at(self) -> datetime:
        """When the public value is known: after the close of trading."""
        return datetime.combine(self.drawn_on, time(16), tzinfo=JST)

    def terms(self, frames: tuple[str, ...]) -> CampaignTerms:
        """Return the terms of a lottery over the frames on these days."""
        return CampaignTerms(
            name="しらさぎ商品券",
            frames=frames,
            mode=Mode.LOTTERY,
            apply_from=datetime.combine(self.opens_on, time(9), tzinfo=JST),
            apply_until=datetime.combine(self.closed_on, time(), tzinfo=JST),
            results_on=self.results_on,
            purchase_days=PURCHASE_DAYS,
            use_from=self.use_from,
            use_until=self.use_until,
            shops_min=10,
        )


def calendar_from(today: date) -> Calendar:
    """Return the days of a campaign that is drafted today."""
    opens_on = today + timedelta(days=7)
    closed_on = opens_on + timedelta(days=APPLY_DAYS)
    results_on = closed_on + timedelta(days=9)
    use_from = results_on + timedelta(days=14)
    return Calendar(
        opens_on=opens_on,
        closed_on=closed_on,
        drawn_on=closed_on + timedelta(days=5),
        results_on=results_on,
        lapsed_on=results_on + timedelta(days=PURCHASE_DAYS + 1),
        use_from=use_from,
        use_until=use_from + timedelta(days=USE_DAYS),
    )
