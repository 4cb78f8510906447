"""``/office/v1/campaigns``: voucher campaigns from draft to archive, and their draws.

Nothing here moves money or draws a lot. The office writes down what it has decided, and says the
public value when it is there; the worker does the rest, the same for everybody who recomputes it.
"""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Path, Query
from pydantic import AwareDatetime, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_approvals import ApprovalOut, ask
from wallet.api.office_forms import In, Line, Out, Page, WhyIn, read_id
from wallet.api.office_guard import Acting, Details, needs
from wallet.api.office_openapi import REFUSALS
from wallet.auth.staff_approvals import Draft
from wallet.auth.staff_rules import Action, Permission, check_reason
from wallet.core.clock import rfc3339, to_microseconds
from wallet.core.database import read
from wallet.core.ids import public_id
from wallet.core.refusals import RefusedError
from wallet.vouchers import campaigns, draw
from wallet.vouchers.campaigns import Campaign
from wallet.vouchers.campaigns_rules import SECOND, CampaignTerms, State, due_at, steps_from
from wallet.vouchers.results import count_applications, is_told

router = APIRouter(prefix="/office/v1/campaigns", tags=["staff: campaigns"], responses=REFUSALS)

Reading = Annotated[Acting, Depends(needs(Permission.CAMPAIGN_READ))]
Writing = Annotated[Acting, Depends(needs(Permission.CAMPAIGN_WRITE))]

Round = Annotated[int, Path(ge=1, le=SECOND)]
_CODE: Final = r"^[a-z0-9-]{1,64}$"


class CampaignOut(Out):
    """A campaign; ``next_steps`` lead on, each with the moment it is planned for, if any."""

    id: str
    code: str
    state: str
    suspended_at: str | None
    revision: int
    approved: bool
    terms: dict[str, Any]
    next_steps: dict[str, str | None]


class CampaignListOut(Out):
    """One page of campaigns, newest first."""

    data: list[CampaignOut]
    has_more: bool
    next_cursor: str | None


class CountOut(Out):
    """How many applications of a frame and a channel are in a state, for how many units."""

    frame: str
    channel: str
    state: str
    applications: int
    units: int


class HappeningOut(Out):
    """One line of the story."""

    kind: str
    from_state: str | None
    to_state: str | None
    actor: str
    reason: str | None
    public_text: str
    scheduled_at: str | None
    at: str


class CampaignStoryOut(CampaignOut):
    """A campaign with its applications counted, its draws and its story."""

    applications: list[CountOut]
    draws: list[dict[str, Any]]
    story: list[HappeningOut]


class CreateIn(In):
    """A new campaign."""

    code: Annotated[str, Field(pattern=_CODE)]
    terms: dict[str, Any]


class TermsIn(In):
    """The terms in place of those before."""

    terms: dict[str, Any]


class StepIn(In):
    """Which state to go to, and why when there is something to say."""

    target: State
    reason: Annotated[Line, Field(max_length=500)] | None = None


class ValueIn(In):
    """The public value that a draw will use, and the moment nobody can know it before."""

    named: Annotated[Line, Field(min_length=1, max_length=draw.VALUE_CHARACTERS_MAX)]
    at: AwareDatetime

    def value(self) -> draw.PublicValue:
        """Return it as the room knows it."""
        return draw.PublicValue(named=self.named, at=self.at)


class RenameIn(ValueIn):
    """Another value, and why."""

    reason: Annotated[Line, Field(max_length=500)]


class RevealIn(In):
    """The public value as it was published."""

    public_value: Annotated[Line, Field(min_length=1, max_length=draw.VALUE_CHARACTERS_MAX)]


@router.get("", summary="List campaigns")
async def list_(acting: Reading, page: Annotated[Page, Query()]) -> CampaignListOut:
    """List campaigns, newest first."""
    async with read(acting.office.engine) as connection:
        found = await campaigns.list_campaigns(
            connection, before=page.after("cmp"), limit=page.limit + 1
        )
    shown = [CampaignOut(**_campaign(one)) for one in found[: page.limit]]
    has_more = len(found) > len(shown)
    return CampaignListOut(
        data=shown, has_more=has_more, next_cursor=shown[-1].id if has_more else None
    )


@router.post("", status_code=201, summary="Write a campaign down")
async def create(acting: Writing, body: CreateIn) -> CampaignOut:
    """Write a campaign down as a draft."""

    async def work(connection: AsyncConnection) -> Campaign:
        return await campaigns.create_campaign(
            connection,
            code=body.code,
            terms=_terms(body.terms),
            actor=acting.actor,
            now_us=acting.now_us,
        )

    return await _act(acting, "campaign.create", work, subject=body.code)


@router.get("/{campaign_id}", summary="Get a campaign with its story")
async def get(acting: Reading, campaign_id: str) -> CampaignStoryOut:
    """Return a campaign, how many have applied, its draws, and all that has happened."""
    parsed = _id(campaign_id)

    async def work(connection: AsyncConnection) -> CampaignStoryOut:
        found = await campaigns.find_campaign(connection, parsed)
        counted = await count_applications(connection, parsed)
        draws = [
            draw.document_of(
                one, code=found.code, with_result=await is_told(connection, found, one.round)
            )
            for one in await draw.list_draws(connection, parsed)
        ]
        story = await campaigns.read_story(connection, parsed)
        return CampaignStoryOut(
            **_campaign(found),
            applications=[CountOut(**msgspec.structs.asdict(one)) for one in counted],
            draws=draws,
            story=[_happening(one) for one in story],
        )

    return await acting.run("campaign.view", work, subject=campaign_id)


@router.put("/{campaign_id}/terms", summary="Write a draft anew")
async def change(acting: Writing, campaign_id: str, body: TermsIn) -> CampaignOut:
    """Write the terms of a draft anew; an approval of the old ones is void."""
    parsed = _id(campaign_id)

    async def work(connection: AsyncConnection) -> Campaign:
        return await campaigns.change_campaign(
            connection,
            campaign_id=parsed,
            terms=_terms(body.terms),
            actor=acting.actor,
            now_us=acting.now_us,
        )

    return await _act(acting, "campaign.change", work, subject=campaign_id)


@router.post("/{campaign_id}/approval", status_code=202, summary="Ask for a draft's approval")
async def request_approval(acting: Writing, campaign_id: str, body: WhyIn) -> ApprovalOut:
    """Ask a colleague to agree to the terms as they stand; they see them whole."""
    parsed = _id(campaign_id)

    async def find(connection: AsyncConnection) -> Campaign:
        found = await campaigns.find_campaign(connection, parsed)
        if found.state is not State.DRAFT:
            raise RefusedError("campaign_fixed", state=found.state)
        return found

    found = await acting.run("approval.request", find, subject=campaign_id)
    payload = {
        "code": found.code,
        "revision": found.revision,
        "terms": msgspec.to_builtins(found.terms),
    }
    return await ask(acting, Draft(Action.CAMPAIGN_APPROVE, campaign_id, payload, body.reason))


@router.post("/{campaign_id}/steps", summary="Take a step")
async def take_step(acting: Writing, campaign_id: str, body: StepIn) -> CampaignOut:
    """Take a campaign to its next state, when everything that needs is there."""
    parsed = _id(campaign_id)

    async def work(connection: AsyncConnection) -> Campaign:
        return await campaigns.take_step(
            connection,
            campaign_id=parsed,
            target=body.target,
            actor=acting.actor,
            reason=None if body.reason is None else check_reason(body.reason),
            now_us=acting.now_us,
        )

    return await _act(acting, "campaign.step", work, subject=campaign_id, reason=body.reason)


@router.post("/{campaign_id}/suspend", summary="Suspend a campaign")
async def suspend(acting: Writing, campaign_id: str, body: WhyIn) -> CampaignOut:
    """Hold a campaign where it is; nobody applies and nothing is drawn or sold."""
    return await _hold(acting, campaign_id, body.reason, campaigns.suspend_campaign)


@router.post("/{campaign_id}/resume", summary="Resume a campaign")
async def resume(acting: Writing, campaign_id: str, body: WhyIn) -> CampaignOut:
    """Let a suspended campaign go on."""
    return await _hold(acting, campaign_id, body.reason, campaigns.resume_campaign)


@router.post("/{campaign_id}/draws/{round_}/commit", status_code=201, summary="Commit to a seed")
async def commit(acting: Writing, campaign_id: str, round_: Round, body: ValueIn) -> dict[str, Any]:
    """Draw a seed that nobody sees, publish its hash, and name the public value."""
    given = {"value": body.value(), "pepper": acting.office.pepper}
    return await _on_draw(acting, campaign_id, round_, draw.commit_seed, given)


@router.post("/{campaign_id}/draws/{round_}/rename", summary="Name a later public value")
async def rename(
    acting: Writing, campaign_id: str, round_: Round, body: RenameIn
) -> dict[str, Any]:
    """Name a later value, for a reason, before the list is fixed."""
    given = {"value": body.value(), "reason": body.reason}
    return await _on_draw(acting, campaign_id, round_, draw.rename_value, given, reason=body.reason)


@router.post("/{campaign_id}/draws/{round_}/list", status_code=202, summary="Fix the list")
async def fix_list(acting: Writing, campaign_id: str, round_: Round) -> dict[str, Any]:
    """Have the list of entries fixed; the worker does it and publishes its hash."""
    return await _on_draw(acting, campaign_id, round_, draw.ask_for_list, {})


@router.post("/{campaign_id}/draws/{round_}/reveal", status_code=202, summary="Say the value")
async def reveal(
    acting: Writing, campaign_id: str, round_: Round, body: RevealIn
) -> dict[str, Any]:
    """Write the public value down and open the seed; the worker draws the lots."""
    given = {"public_value": body.public_value, "pepper": acting.office.pepper}
    return await _on_draw(acting, campaign_id, round_, draw.reveal, given)


async def _act(
    acting: Acting,
    action: str,
    work: Any,  # noqa: ANN401 - work of the guard's kind
    *,
    subject: str,
    reason: str | None = None,
) -> CampaignOut:
    changed: Campaign = await acting.act(action, work, subject=subject, reason=reason, tell=_trail)
    return CampaignOut(**_campaign(changed))


async def _hold(
    acting: Acting,
    campaign_id: str,
    reason: str,
    verb: Any,  # noqa: ANN401 - one of two verbs
) -> CampaignOut:
    parsed = _id(campaign_id)

    async def work(connection: AsyncConnection) -> Campaign:
        given = {"actor": acting.actor, "reason": check_reason(reason), "now_us": acting.now_us}
        held: Campaign = await verb(connection, campaign_id=parsed, **given)
        return held

    action = "campaign.suspend" if verb is campaigns.suspend_campaign else "campaign.resume"
    return await _act(acting, action, work, subject=campaign_id, reason=reason)


async def _on_draw(
    acting: Acting,
    campaign_id: str,
    round_: int,
    verb: Any,  # noqa: ANN401 - one of the verbs of a draw
    given: dict[str, Any],
    *,
    reason: str | None = None,
) -> dict[str, Any]:
    """Take a step of a draw and return what is published of it now."""
    parsed = _id(campaign_id)

    async def work(connection: AsyncConnection) -> dict[str, Any]:
        if reason is not None:
            check_reason(reason)
        held: draw.Draw = await verb(
            connection,
            campaign_id=parsed,
            round_=round_,
            actor=acting.actor,
            now_us=acting.now_us,
            **given,
        )
        found = await campaigns.find_campaign(connection, parsed)
        return draw.document_of(held, code=found.code, with_result=False)

    return await acting.act(
        f"campaign.{verb.__name__}",
        work,
        subject=campaign_id,
        reason=reason,
        tell=lambda told: {"round": round_, "commitment": told["commitment"]},
    )


def _terms(given: dict[str, Any]) -> CampaignTerms:
    """Return the terms in a body; raises ``campaign_invalid`` saying which field is wrong."""
    try:
        return msgspec.convert(given, CampaignTerms)
    except msgspec.ValidationError as error:
        raise RefusedError("campaign_invalid", problems=[f"{error}."]) from None
    except UnicodeEncodeError:  # Half a character in a name, which JSON can write all the same.
        raise RefusedError("campaign_invalid", problems=["terms: not all of it is text."]) from None


def _id(campaign_id: str) -> UUID:
    return read_id("cmp", campaign_id, "campaign_unknown")


def _trail(campaign: Campaign) -> Details:
    return {
        "campaign": public_id("cmp", campaign.id),
        "state": str(campaign.state),
        "revision": campaign.revision,
    }


def _campaign(found: Campaign) -> dict[str, Any]:
    steps = steps_from(found.state, mode=found.terms.mode)
    planned = {str(step.target): _moment(due_at(step, found.terms)) for step in steps}
    return {
        "id": public_id("cmp", found.id),
        "code": found.code,
        "state": found.state,
        "suspended_at": _moment(found.suspended_at),
        "revision": found.revision,
        "approved": found.is_approved,
        "terms": msgspec.to_builtins(found.terms),
        "next_steps": planned,
    }


def _happening(one: campaigns.Happening) -> HappeningOut:
    return HappeningOut(
        kind=one.kind,
        from_state=one.from_state,
        to_state=one.to_state,
        actor=one.actor,
        reason=one.reason,
        public_text=one.public_text,
        scheduled_at=_moment(one.scheduled_at),
        at=rfc3339(to_microseconds(one.created_at)),
    )


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(to_microseconds(moment))
