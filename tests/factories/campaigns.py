"""Campaigns on a database: frames, terms, and the way from a draft to wherever a test begins."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID, uuid4

from msgspec import to_builtins
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.merchants import make_merchant
from tests.factories.moments import NOW, PEPPER
from tests.factories.programmes import frame, make_programme, voucher_draft
from tests.factories.residents import Resident
from wallet.core.clock import TestClock, to_datetime
from wallet.core.database import read, write
from wallet.core.refusals import RefusedError
from wallet.ledger.teller import Teller
from wallet.people.counter import raise_at_counter
from wallet.people.persons import Opened, open_person
from wallet.people.rules import Tier
from wallet.programmes.terms import Eligibility
from wallet.vouchers.apply import Application, Wish, apply
from wallet.vouchers.campaign_tables import application, campaign
from wallet.vouchers.campaigns import (
    Campaign,
    approve_campaign,
    create_campaign,
    find_campaign,
    take_step,
)
from wallet.vouchers.campaigns_rules import CampaignTerms, Mode, State
from wallet.vouchers.draw import PublicValue, ask_for_list, commit_seed, reveal
from wallet.vouchers.draw_due import run_due

OPENS: Final = NOW + timedelta(days=1)
CLOSES: Final = NOW + timedelta(days=3)
VALUE: Final = PublicValue(named="日経平均株価の終値", at=NOW + timedelta(days=5))
RESULTS_ON: Final = (NOW + timedelta(days=7)).date()
_EVENTS: Final = text("""
SELECT body FROM outbox WHERE kind = :kind AND body ->> 'campaign_id' = :id ORDER BY seq
""")
CLERK: Final = "stf_" + "1" * 32


def terms(*frames: str, **changes: Any) -> CampaignTerms:  # noqa: ANN401 - fields of many types
    """Return the terms of a lottery over some days from now, with ``changes``."""
    fields: dict[str, Any] = {
        "name": "しらさぎ商品券",
        "frames": frames or ("voucher",),
        "apply_from": OPENS,
        "apply_until": CLOSES,
        "results_on": RESULTS_ON,
        "use_from": date(2026, 12, 1),
        "use_until": date(2027, 3, 31),
        **changes,
    }
    return CampaignTerms(**fields)


def first_come(*frames: str, **changes: Any) -> CampaignTerms:  # noqa: ANN401 - fields of many types
    """Return the terms of a first-come sale."""
    fields: dict[str, Any] = {
        "mode": Mode.FIRST_COME,
        "apply_from": None,
        "apply_until": None,
        "results_on": None,
        "purchase_from": OPENS,
        "purchase_until": CLOSES,
        **changes,
    }
    return terms(*frames, **fields)


async def plant_application(engine: AsyncEngine, owner: Resident) -> tuple[UUID, UUID]:
    """Write that somebody has applied in a campaign that is not public; return both ids."""
    campaign_id, application_id = uuid4(), uuid4()

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(
            campaign.insert().values(
                id=campaign_id,
                code=f"planted-{campaign_id.hex}",
                state=State.DRAFT,
                terms=to_builtins(terms()),
                revision=1,
                created_by=CLERK,
                created_at=NOW,
            )
        )
        await connection.execute(
            application.insert().values(
                id=application_id,
                campaign_id=campaign_id,
                frame="voucher",
                applicant_key=bytes(32),
                person_id=owner.id,
                wallet_id=owner.wallet_id,
                channel="app",
                units_asked=1,
                state="submitted",
                made_by=CLERK,
                created_at=NOW,
            )
        )

    await write(engine, work)
    return campaign_id, application_id


@dataclass(frozen=True, kw_only=True)
class Fair:
    """A campaign, the database it is in, and a clock that moves when told."""

    engine: AsyncEngine
    clock: TestClock
    id: UUID
    frame: str

    async def now(self) -> Campaign:
        """Return the campaign as it stands."""
        async with read(self.engine) as connection:
            return await find_campaign(connection, self.id)

    async def step(self, target: State, **changes: Any) -> Campaign:  # noqa: ANN401 - fields
        """Take a step as the office does."""
        fields: dict[str, Any] = {"actor": CLERK, "reason": None, **changes}
        now_us = self.clock()
        return await write(
            self.engine,
            lambda connection: take_step(
                connection, campaign_id=self.id, target=target, now_us=now_us, **fields
            ),
        )

    async def do(self, verb: Any, **fields: Any) -> Any:  # noqa: ANN401 - any verb of the room
        """Call a verb of the room on the campaign, now, as the office would."""
        given = {"campaign_id": self.id, "now_us": self.clock(), **fields}
        return await write(self.engine, partial(verb, **given))

    async def commit(self, round_: int = 1, value: PublicValue = VALUE) -> None:
        """Commit to a seed."""
        await self.do(commit_seed, round_=round_, value=value, actor=CLERK, pepper=PEPPER)

    async def draw(self, round_: int = 1, *, value_at: datetime = VALUE.at) -> None:
        """Fix the list, wait for the public value, reveal and draw; nobody is told yet."""
        await self.do(ask_for_list, round_=round_, actor=CLERK)
        await self.work()
        self.go_to(value_at)
        value = "38,123.45"
        await self.do(reveal, round_=round_, public_value=value, actor=CLERK, pepper=PEPPER)
        await self.work()

    def go_to(self, moment: datetime) -> None:
        """Move the clock forward to a moment."""
        late_s = (moment - to_datetime(self.clock())).total_seconds()
        assert late_s >= 0, "a clock does not go back"
        self.clock.advance(seconds=late_s)

    async def work(self) -> int:
        """Let the worker do everything that is due."""
        total = 0
        while done := await run_due(self.engine, clock=self.clock):
            total += done
        return total

    async def apply(self, opened: Opened, units: int = 1, **changes: Any) -> Application:  # noqa: ANN401 - fields
        """Apply by the app, or fail the test."""
        made, _ = await self.send(opened, units, **changes)
        return made

    async def send(
        self,
        opened: Opened | None,
        units: int = 1,
        **changes: Any,  # noqa: ANN401 - fields of many types
    ) -> tuple[Application, bool]:
        """Send an application in."""
        fields: dict[str, Any] = {"frame": self.frame, "channel": "app", **changes}
        if opened is not None:
            fields["wallet_id"] = opened.wallet_id
        wish = Wish(campaign_id=self.id, units=units, **fields)
        now_us = self.clock()
        return await write(
            self.engine,
            lambda connection: apply(
                connection, wish=wish, made_by="per_x", pepper=PEPPER, now_us=now_us
            ),
        )

    async def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the bodies of what the outbox has told of the campaign, of a kind."""
        values = {"kind": kind, "id": str(self.id)}
        async with read(self.engine) as connection:
            return list((await connection.execute(_EVENTS, values)).scalars())

    async def refused(self, work: Any) -> RefusedError:  # noqa: ANN401 - an awaitable
        """Return why something was refused, or fail the test."""
        try:
            await work
        except RefusedError as error:
            return error
        message = "nothing was refused"
        raise AssertionError(message)


async def make_fair(
    engine: AsyncEngine,
    teller: Teller,
    clock: TestClock,
    *,
    terms_: CampaignTerms | None = None,
    sets_total: int = 10,
    frames: Sequence[str] = ("voucher",),
    eligibility: Eligibility | None = None,
) -> Fair:
    """Return a published campaign over frames of so many sets; its lottery is committed to."""
    for one in frames:
        sets = frame(sets_total=sets_total, sets_per_person=min(10, sets_total))
        draft = voucher_draft(one, frame_=sets)
        await make_programme(teller, replace(draft, eligibility=eligibility or Eligibility()))
    await make_merchant(engine, teller)
    made = await write(
        engine,
        lambda connection: create_campaign(
            connection, code=frames[0], terms=terms_ or terms(*frames), actor=CLERK, now_us=clock()
        ),
    )
    fair = Fair(engine=engine, clock=clock, id=made.id, frame=frames[0])
    await fair.do(approve_campaign, revision=1, actor=CLERK)
    await fair.step(State.MERCHANT_RECRUITING)
    if made.terms.mode is not Mode.FIRST_COME:
        await fair.commit()
    await fair.step(State.PUBLISHED)
    return fair


async def open_applications(fair: Fair) -> Fair:
    """Let the day come on which applications open."""
    fair.go_to(OPENS)
    await fair.work()
    assert (await fair.now()).state is State.APPLYING
    return fair


async def close_applications(fair: Fair) -> Fair:
    """Let the day come on which they close, and have them checked."""
    fair.go_to(CLOSES)
    await fair.work()
    assert (await fair.now()).state is State.CHECKING
    return fair


async def make_applicant(engine: AsyncEngine, *, now_us: int, resident: bool = True) -> Opened:
    """Return somebody whom the counter has seen."""

    async def work(connection: AsyncConnection) -> Opened:
        opened = await open_person(connection, tier=Tier.DEVICE, now_us=now_us)
        await raise_at_counter(
            connection, person_id=opened.person_id, resident=resident, now_us=now_us
        )
        return opened

    return await write(engine, work)
