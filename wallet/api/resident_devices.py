"""``/app/v1/devices…``: the phones and desktops of a person, and how a further one comes in."""

from datetime import datetime
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.resident import (
    ActiveResident,
    AnyResident,
    AppAnswer,
    AppBody,
    AppRoute,
    Signer,
    address_of,
    answer,
    approve,
    documented,
    id_in,
    rooms_of,
    write_recorded,
)
from wallet.api.resident_bodies import DeviceBody, SignedInAnswer, signed_in
from wallet.auth.queries import list_devices
from wallet.auth.revoke_device import revoke_device
from wallet.auth.revoke_sessions import revoke_session
from wallet.core.database import read, write
from wallet.core.ids import public_id
from wallet.core.refusals import Refusal
from wallet.people.changes import permit_change
from wallet.people.device_invitations import EXPIRES_S, accept_invitation, invite_device
from wallet.people.sign_in import SignedIn

router = APIRouter(route_class=AppRoute)


class DeviceAnswer(AppAnswer):
    """A device as its holder knows it."""

    id: str
    name: str
    app_version: str
    is_this_one: bool
    has_verified_key: bool
    enrolled_at: datetime
    cooling_until: datetime | None
    revoked_at: datetime | None


class DevicesAnswer(AppAnswer):
    """All devices, the oldest first; those that were revoked stay in the list."""

    data: list[DeviceAnswer]


class InvitationAnswer(AppAnswer):
    """A code for one new device, to be shown to it as a QR code."""

    code: str
    expires_in: int


class AcceptBody(AppBody):
    """The code of an invitation, and the phone that answers it."""

    code: Annotated[str, Field(min_length=1, max_length=64)]
    device: DeviceBody


@router.get(
    "/devices",
    responses=documented(),
    summary="List my devices",
    operation_id="list_devices",
)
async def list_(request: Request, resident: AnyResident) -> DevicesAnswer:
    """List the devices that can sign in, and those that no longer can."""
    async with read(rooms_of(request).engine) as connection:
        devices = await list_devices(connection, principal_id=resident.person.id)
    return DevicesAnswer(
        data=[
            DeviceAnswer(
                id=public_id("dev", one.id),
                name=one.name,
                app_version=one.app_version,
                is_this_one=one.id == resident.caller.device_id,
                has_verified_key=one.has_verified_key,
                enrolled_at=one.enrolled_at,
                cooling_until=one.cooling_until,
                revoked_at=one.revoked_at,
            )
            for one in devices
        ]
    )


@router.post(
    "/devices/invitations",
    status_code=201,
    responses=documented(403, 423, 429),
    summary="Invite a further device",
    operation_id="invite_device",
)
async def invite(request: Request, resident: ActiveResident) -> InvitationAnswer:
    """Return a code that lets one new device in, for five minutes."""
    rooms, now_us = rooms_of(request), rooms_of(request).clock()
    approval = await approve(request, resident, change="device", in_set_up=False)

    async def work(connection: AsyncConnection) -> str:
        await permit_change(
            connection,
            caller=resident.caller,
            approval=approval,
            because="device",
            now_us=now_us,
        )
        return await invite_device(
            connection,
            person_id=resident.person.id,
            invited_by="device",
            pepper=rooms.pepper,
            now_us=now_us,
        )

    code = await write_recorded(request, work, action="device.invite", whose=resident.person.id)
    return InvitationAnswer(code=code, expires_in=EXPIRES_S["device"])


@router.post(
    "/devices/accept",
    status_code=201,
    responses=documented(404, 409, 429),
    summary="Come in as a further device",
    operation_id="accept_device",
)
async def accept(request: Request, signer: Signer, body: AcceptBody) -> SignedInAnswer:
    """Enrol the phone that was shown an invitation, and open its session."""
    rooms = rooms_of(request)
    work = partial(
        accept_invitation,
        code=body.code,
        new=body.device.new(signer.public_key),
        address=address_of(request),
        pepper=rooms.pepper,
        now_us=rooms.clock(),
    )
    signed = answer(await write_recorded(request, work, action="device.accept", whose=_owner))
    return signed_in(signed.person_id, signed.device_id, signed.tokens)


@router.delete(
    "/devices/{device_id}",
    status_code=204,
    responses=documented(403, 404, 423, 429),
    summary="Revoke a device",
    operation_id="revoke_device",
)
async def revoke(request: Request, resident: ActiveResident, device_id: str) -> None:
    """End a device for good: this one at once, another one by a confirmation.

    Whoever wants to end a lost phone in a hurry freezes everything first.
    """
    now_us = rooms_of(request).clock()
    parsed = id_in("dev", device_id, code="device_unknown")
    is_own = parsed == resident.caller.device_id
    approval = (
        None if is_own else await approve(request, resident, change="device", in_set_up=False)
    )

    async def work(connection: AsyncConnection) -> None:
        if not is_own:
            await permit_change(
                connection,
                caller=resident.caller,
                approval=approval,
                because="device",
                now_us=now_us,
            )
        await revoke_device(
            connection,
            principal_id=resident.person.id,
            device_id=parsed,
            because="own",
            now_us=now_us,
        )

    await write_recorded(
        request,
        work,
        action="device.revoke",
        whose=resident.person.id,
        device=public_id("dev", parsed),
    )


@router.post(
    "/sign-out",
    status_code=204,
    responses=documented(),
    summary="Sign out on this device",
    operation_id="sign_out",
)
async def sign_out(request: Request, resident: AnyResident) -> None:
    """End the session; the device stays enrolled and can sign in again."""
    rooms = rooms_of(request)
    work = partial(
        revoke_session,
        principal_id=resident.person.id,
        session_id=resident.caller.session_id,
        because="signed_out",
        now_us=rooms.clock(),
    )
    await write(rooms.engine, work)


def _owner(signed: SignedIn | Refusal) -> UUID:
    """Return whose device it is; a refusal is nobody's and leaves no entry."""
    return signed.person_id if isinstance(signed, SignedIn) else UUID(int=0)
