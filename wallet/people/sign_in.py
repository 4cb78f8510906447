"""Sign in again on a device: by its key, with its PIN, by a passkey, or on a desktop by password.

Only a passkey lets a device in that was not enrolled before, since nobody can be talked out of
one. A password counts only on a device of its owner's, beside a second factor; whatever is wrong
with any of it, the answer is the same.
"""

from functools import partial
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.auth.enrol_device import NewDevice, enrol_device
from wallet.auth.hash_gate import HashGate
from wallet.auth.open_session import RESIDENT, open_session
from wallet.auth.passkeys import REFUSED, Site, finish_passkey_sign_in
from wallet.auth.passwords import WRONG, Claimant, check_password
from wallet.auth.pin import check_pin
from wallet.auth.proofs import PROOF_REPLAYED, Proof, burn_proof, thumbprint_of
from wallet.auth.recovery_codes import use_recovery_code
from wallet.auth.rules import Method, show
from wallet.auth.tokens import Tokens
from wallet.auth.totp import check_totp
from wallet.core.database import write
from wallet.core.refusals import Refusal, RefusedError
from wallet.people.contacts import find_owner
from wallet.people.cool_off import cool_off
from wallet.people.persons import find_person
from wallet.people.rules import Contact

UNKNOWN: Final = Refusal("signed_out")
"""For a device that nobody enrolled, one that was revoked, and a person who has left."""

_FIND_DEVICE = text("""
SELECT id, principal_id FROM device WHERE thumbprint = :thumbprint AND revoked_at IS NULL
""")


class SignedIn(msgspec.Struct, frozen=True):
    """A session that was opened on a device."""

    person_id: UUID
    device_id: UUID
    tokens: Tokens


class SecondFactor(msgspec.Struct, frozen=True):
    """What stands beside a password: a code of the authenticator app or of the paper sheet."""

    code: str
    from_paper: bool


class PasswordTry(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in by password, as it came in; whoever calls has verified the proof, not burnt it."""

    contact: Contact
    password: str
    second: SecondFactor
    public_key: bytes
    proof: Proof
    address: str | None


async def sign_in_by_device(
    connection: AsyncConnection, *, public_key: bytes, pin: str | None, pepper: bytes, now_us: int
) -> SignedIn | Refusal:
    """Open a session for the device whose key was proved, and show its PIN too if one is given.

    Refuses with :data:`UNKNOWN`, ``pin_wrong`` and ``too_many_tries``; the caller commits whatever
    the answer is.
    """
    found = await _find_device(connection, public_key)
    if found is None or await _is_gone(connection, found[1]):
        return UNKNOWN
    device_id, person_id = found
    methods = [Method.DEVICE_KEY]
    if pin is not None:
        refusal = await check_pin(
            connection, device_id=device_id, pin=pin, pepper=pepper, now_us=now_us
        )
        if refusal is not None:
            return refusal
        methods.append(Method.PIN)
    return await _open(
        connection, person_id, device_id, methods=methods, pepper=pepper, now_us=now_us
    )


async def sign_in_by_passkey(
    connection: AsyncConnection,
    *,
    credential: str,
    new: NewDevice,
    site: Site,
    pepper: bytes,
    now_us: int,
) -> SignedIn | Refusal:
    """Open a session for whoever's passkey has answered, on the device whose key was proved.

    A device that is new to them is enrolled: the old ones are told, and everything cools off.
    Refuses with ``passkey_refused``; the caller commits whatever the answer is. Raises
    :class:`RefusedError` ``device_key_invalid``, ``device_key_taken`` and ``devices_too_many``.
    """
    person_id = await finish_passkey_sign_in(
        connection, site=site, credential=credential, pepper=pepper, now_us=now_us
    )
    if isinstance(person_id, Refusal):
        return person_id
    if await _is_gone(connection, person_id):
        return REFUSED
    device_id = await add_device(
        connection, person_id=person_id, new=new, because="device", now_us=now_us
    )
    methods = [Method.DEVICE_KEY, Method.PASSKEY]
    return await _open(
        connection, person_id, device_id, methods=methods, pepper=pepper, now_us=now_us
    )


async def sign_in_by_password(
    engine: AsyncEngine, *, gate: HashGate, given: PasswordTry, pepper: bytes, now_us: int
) -> SignedIn | Refusal:
    """Open a session on a desktop that its owner has enrolled before.

    Refuses with ``credentials_wrong`` for whatever is wrong, and with ``too_many_tries``. Raises
    :class:`~wallet.auth.hash_gate.GateFullError` before any query, and
    :class:`~wallet.core.refusals.RefusedError` ``proof_replayed``.
    """
    thumbprint = thumbprint_of(given.public_key)
    person_id = await check_password(
        engine,
        gate=gate,
        claimant=Claimant(
            account=f"{given.contact.kind} {given.contact.key}",
            thumbprint=thumbprint,
            address=given.address,
        ),
        find_principal=partial(_burn_and_find, given=given, pepper=pepper, now_us=now_us),
        password=given.password,
        pepper=pepper,
        now_us=now_us,
    )
    if isinstance(person_id, Refusal):
        return person_id
    work = partial(_finish, person_id=person_id, given=given, pepper=pepper, now_us=now_us)
    return await write(engine, work)


async def _burn_and_find(
    connection: AsyncConnection, *, given: PasswordTry, pepper: bytes, now_us: int
) -> UUID | None:
    """Burn the proof in the first transaction inside the gate, and look whose contact it is."""
    if not await burn_proof(connection, proof=given.proof, now_us=now_us):
        raise RefusedError(PROOF_REPLAYED.code)
    return await find_owner(connection, contact=given.contact, pepper=pepper)


async def _finish(
    connection: AsyncConnection,
    *,
    person_id: UUID,
    given: PasswordTry,
    pepper: bytes,
    now_us: int,
) -> SignedIn | Refusal:
    """Look at the second factor, but only for a device of the owner's: no other learns anything."""
    found = await _find_device(connection, given.public_key)
    if found is None or found[1] != person_id or await _is_gone(connection, person_id):
        return WRONG
    device_id, _ = found
    if given.second.from_paper:
        refusal = await use_recovery_code(
            connection,
            principal_id=person_id,
            code=given.second.code,
            address=given.address,
            pepper=pepper,
            now_us=now_us,
        )
    else:
        refusal = await check_totp(
            connection,
            principal_id=person_id,
            code=given.second.code,
            device_id=device_id,
            address=given.address,
            pepper=pepper,
            now_us=now_us,
        )
    if refusal is not None:
        return WRONG if refusal.code != "too_many_tries" else refusal
    second = Method.RECOVERY_CODE if given.second.from_paper else Method.TOTP
    methods = [Method.DEVICE_KEY, Method.PASSWORD, second]
    return await _open(
        connection, person_id, device_id, methods=methods, pepper=pepper, now_us=now_us
    )


async def add_device(
    connection: AsyncConnection, *, person_id: UUID, new: NewDevice, because: str, now_us: int
) -> UUID:
    """Enrol a device for somebody who has shown who they are; everything cools off if it is new.

    Raises as :func:`~wallet.auth.enrol_device.enrol_device` does.
    """
    known = await _find_device(connection, new.public_key)
    if known is not None and known[1] == person_id:
        return known[0]
    enrolled = await enrol_device(connection, principal_id=person_id, new=new, now_us=now_us)
    await cool_off(connection, person_id=person_id, because=because, now_us=now_us)
    return enrolled.device_id


async def _find_device(connection: AsyncConnection, public_key: bytes) -> tuple[UUID, UUID] | None:
    """Return the device with this key and whose it is."""
    values = {"thumbprint": thumbprint_of(public_key)}
    row = (await connection.execute(_FIND_DEVICE, values)).one_or_none()
    return None if row is None else (row.id, row.principal_id)


async def _is_gone(connection: AsyncConnection, person_id: UUID) -> bool:
    person = await find_person(connection, person_id=person_id)
    return person is None or person.state == "closed"


async def _open(
    connection: AsyncConnection,
    person_id: UUID,
    device_id: UUID,
    *,
    methods: list[Method],
    pepper: bytes,
    now_us: int,
) -> SignedIn:
    tokens = await open_session(
        connection,
        principal_id=person_id,
        device_id=device_id,
        shown=show(*methods, at_us=now_us),
        terms=RESIDENT,
        pepper=pepper,
        now_us=now_us,
    )
    return SignedIn(person_id, device_id, tokens)
