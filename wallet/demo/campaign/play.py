"""The whole campaign, act by act, and whether it ends as it must: to the yen."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import time, timedelta
from itertools import islice
from typing import Any, Final
from uuid import UUID

import msgspec
from rich.progress import Progress

from wallet.core.clock import TestClock, japanese_day
from wallet.demo.campaign import buy, office, people, spend
from wallet.demo.campaign.calendar import Calendar, calendar_from
from wallet.demo.campaign.stage import Stage, Step, open_stage
from wallet.demo.city import City
from wallet.merchants.register_merchants import MERCHANTS_PER_REQUEST, register_merchants
from wallet.proof.programmes import ProgrammeTotals
from wallet.proof.prove import prove
from wallet.vouchers.campaigns_rules import State

APPLICANTS: Final = 20_000
SHOPS: Final = 500
SPENDING_DAYS: Final = 6
SEED: Final = 7


@dataclass(frozen=True, kw_only=True)
class _Campaign:
    """What is played: the campaign, its days, its frames with their units, and who applies."""

    id: UUID
    calendar: Calendar
    units: dict[str, int]
    crowd: Sequence[people.Applicant]


class Outcome(msgspec.Struct, frozen=True):
    """How the campaign went, and what became of every yen of each frame."""

    steps: list[Step]
    frames: list[ProgrammeTotals]
    draw_agrees: bool
    verified: bool

    @property
    def ok(self) -> bool:
        """Whether the draw can be recomputed, the proof is green, and nothing is left over."""
        is_over = all(
            one.difference_yen == 0 and one.circulating_yen == 0 and one.issued_yen > 0
            for one in self.frames
        )
        return self.draw_agrees and self.verified and is_over and bool(self.frames)

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome for ``--json``."""
        return {
            "ok": self.ok,
            "verified": self.verified,
            "draw_agrees": self.draw_agrees,
            "frames": [
                {**msgspec.structs.asdict(one), "difference_yen": one.difference_yen}
                for one in self.frames
            ],
            "steps": msgspec.to_builtins(self.steps),
        }


async def play(
    database_url: str,
    *,
    now_us: int,
    progress: Progress,
    tell: Callable[[Step], None],
    applicants: int = APPLICANTS,
    shops: int = SHOPS,
    seed: int = SEED,
) -> Outcome:
    """Play the campaign in an empty, migrated database, from ``now_us`` on, and prove its end."""
    clock = TestClock(now_us)
    async with open_stage(database_url, clock=clock, progress=progress, tell=tell) as stage:
        campaign = await _announce(stage, applicants=applicants, shops=shops, seed=seed)
        agrees = await _sell(stage, campaign)
        await _use(stage, campaign, seed=seed)
        return await _prove(stage, draw_agrees=agrees)


async def _announce(stage: Stage, *, applicants: int, shops: int, seed: int) -> _Campaign:
    """Have the terms approved, the shops and the residents registered, the campaign published."""
    today = japanese_day(stage.clock())
    calendar = calendar_from(today)
    units = await office.approve_programmes(stage, last_day=calendar.use_until)
    city = City(seed=seed, founded_us=stage.clock(), wallets=0, shops=shops)
    merchants = city.merchants()
    while group := list(islice(merchants, MERCHANTS_PER_REQUEST)):
        await register_merchants(stage.teller, merchants=group)
    stage.note("参加するお店の登録", shops=shops)
    crowd = people.draw_applicants(applicants, seed=seed, year=today.year, now_us=stage.clock())
    await people.enrol(stage, crowd)
    campaign_id = await office.publish_campaign(stage, calendar, tuple(units))
    return _Campaign(id=campaign_id, calendar=calendar, units=units, crowd=crowd)


async def _sell(stage: Stage, campaign: _Campaign) -> bool:
    """From the first application to the last set in a wallet; return whether the draw agrees."""
    calendar = campaign.calendar
    stage.go_to(calendar.opens_on, time(9))
    await office.work(stage, campaign.id)
    await buy.apply_all(stage, campaign.id, campaign.crowd)
    stage.go_to(calendar.closed_on, time(0))
    state = await office.work(stage, campaign.id)
    stage.note("申込の締切と確認", state=str(state))
    await office.draw(stage, campaign.id, calendar)
    agrees = await office.check_draw(stage, campaign.id)
    await buy.buy_all(stage, campaign.id)
    await buy.lapse_unpaid(stage, calendar)
    await office.work(stage, campaign.id)
    await office.step(stage, campaign.id, State.IN_USE)
    return agrees


async def _use(stage: Stage, campaign: _Campaign, *, seed: int) -> None:
    """From the first payment to the end of the last yen, and of the campaign."""
    first, last = campaign.calendar.use_from, campaign.calendar.use_until
    apart = (last - first).days // (SPENDING_DAYS + 1)
    days = [first + timedelta(days=apart * number) for number in range(SPENDING_DAYS)]
    rng = random.Random(f"{seed}/spending")  # noqa: S311 - repeatable, not secret
    await spend.spend(stage, days=days, rng=rng)
    await spend.remind(stage, last_day=last)
    await spend.expire(stage, last_day=last)
    await office.work(stage, campaign.id)
    for target in _AFTER_USE:
        await office.step(stage, campaign.id, target)


_AFTER_USE: Final = (
    State.CLEARING,
    State.FINAL_CLEARING,
    State.UNUSED_WRITTEN_OFF,
    State.REPORTED,
    State.ARCHIVED,
)


async def _prove(stage: Stage, *, draw_agrees: bool) -> Outcome:
    proof = await prove(stage.engine, now_us=stage.clock())
    stage.note("台帳の検証", result="一致" if proof.ok else "不一致", payments=proof.payments)
    return Outcome(
        steps=list(stage.steps),
        frames=list(proof.programmes),
        draw_agrees=draw_agrees,
        verified=proof.ok,
    )
