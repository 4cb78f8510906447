"""What an approved request does, by its action; each in the transaction that marks it as done."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_benefit_executions import BENEFIT_EXECUTIONS
from wallet.api.office_campaigns_executions import CAMPAIGN_EXECUTIONS
from wallet.api.office_cards_executions import CARD_EXECUTIONS
from wallet.api.office_guard import Acting
from wallet.api.office_points_executions import POINTS_EXECUTIONS
from wallet.api.office_programmes_executions import PROGRAMME_EXECUTIONS
from wallet.api.office_purses_executions import PURSE_EXECUTIONS
from wallet.api.office_receipts_executions import RECEIPT_EXECUTIONS
from wallet.auth.staff_accounts import (
    NewMember,
    add_member,
    change_family,
    change_roles,
    enrol_again,
    issue_code,
)
from wallet.auth.staff_rules import Action, Approval
from wallet.core.ids import parse_public_id
from wallet.core.refusals import RefusedError
from wallet.people.counter import raise_at_counter
from wallet.people.device_invitations import invite_device
from wallet.people.freeze import unfreeze

Result = dict[str, str]
"""What who asked gets to see, once."""

Execution = Callable[[AsyncConnection, Approval, Acting], Awaitable[Result]]


class SeenPayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which document was seen."""

    document: str


class RaisePayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which document was seen, and whether the person lives here by it."""

    document: str
    resident: bool


class AddPayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who joins the staff; ``login_hash`` in hexadecimal."""

    login_hash: str
    display_name: str
    department: str
    roles: frozenset[str]


class RolesPayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly the roles to hold from now on."""

    roles: frozenset[str]


class FamilyPayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who a member is as a resident, and whose family; public ids."""

    person_id: str | None
    family: frozenset[str]


async def _unfreeze(connection: AsyncConnection, approval: Approval, acting: Acting) -> Result:
    msgspec.convert(approval.payload, SeenPayload)
    person_id = _id("per", approval.subject)
    if not await unfreeze(connection, person_id=person_id, now_us=acting.now_us):
        raise RefusedError("person_not_frozen")
    return {}


async def _raise(connection: AsyncConnection, approval: Approval, acting: Acting) -> Result:
    payload = msgspec.convert(approval.payload, RaisePayload)
    await raise_at_counter(
        connection,
        person_id=_id("per", approval.subject),
        resident=payload.resident,
        now_us=acting.now_us,
    )
    return {}


async def _invite_device(connection: AsyncConnection, approval: Approval, acting: Acting) -> Result:
    msgspec.convert(approval.payload, SeenPayload)
    code = await invite_device(
        connection,
        person_id=_id("per", approval.subject),
        invited_by="counter",
        pepper=acting.office.pepper,
        now_us=acting.now_us,
    )
    return {"invitation": code}


async def _add(connection: AsyncConnection, approval: Approval, acting: Acting) -> Result:
    payload = msgspec.convert(approval.payload, AddPayload)
    new = NewMember(
        id=_id("stf", approval.subject),
        login_hash=bytes.fromhex(payload.login_hash),
        display_name=payload.display_name,
        department=payload.department,
        roles=payload.roles,
    )
    await add_member(connection, new=new, now_us=acting.now_us)
    code = await issue_code(
        connection,
        staff_id=new.id,
        approved_by=approval.decided_by,
        pepper=acting.office.pepper,
        now_us=acting.now_us,
    )
    return {"enrolment_code": code}


async def _change_roles(connection: AsyncConnection, approval: Approval, acting: Acting) -> Result:
    payload = msgspec.convert(approval.payload, RolesPayload)
    await change_roles(
        connection,
        staff_id=_id("stf", approval.subject),
        roles=payload.roles,
        now_us=acting.now_us,
    )
    return {}


async def _enrol_again(connection: AsyncConnection, approval: Approval, acting: Acting) -> Result:
    code = await enrol_again(
        connection,
        staff_id=_id("stf", approval.subject),
        approved_by=approval.decided_by,
        pepper=acting.office.pepper,
        now_us=acting.now_us,
    )
    return {"enrolment_code": code}


async def _change_family(connection: AsyncConnection, approval: Approval, acting: Acting) -> Result:
    payload = msgspec.convert(approval.payload, FamilyPayload)
    await change_family(
        connection,
        staff_id=_id("stf", approval.subject),
        person_id=None if payload.person_id is None else _id("per", payload.person_id),
        family=frozenset(_id("per", one) for one in payload.family),
        now_us=acting.now_us,
    )
    return {}


EXECUTIONS: Final[Mapping[Action, Execution]] = MappingProxyType(
    {
        Action.PERSON_UNFREEZE: _unfreeze,
        Action.PERSON_RAISE: _raise,
        Action.PERSON_INVITE_DEVICE: _invite_device,
        Action.STAFF_ADD: _add,
        Action.STAFF_CHANGE_ROLES: _change_roles,
        Action.STAFF_ENROL_AGAIN: _enrol_again,
        Action.STAFF_CHANGE_FAMILY: _change_family,
        **CAMPAIGN_EXECUTIONS,
        **CARD_EXECUTIONS,
        **POINTS_EXECUTIONS,
        **PROGRAMME_EXECUTIONS,
        **PURSE_EXECUTIONS,
        **BENEFIT_EXECUTIONS,
        **RECEIPT_EXECUTIONS,
    }
)


def _id(prefix: str, text: str) -> UUID:
    """Return an id that was checked when it was asked for; raises ValueError for anything else."""
    parsed = parse_public_id(prefix, text)
    if parsed is None:
        message = f"an approved request holds no id with {prefix}_"
        raise ValueError(message)
    return parsed
