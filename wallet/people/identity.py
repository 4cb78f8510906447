"""Who the identity app says is there: to raise a person, to let them back in, to pass a challenge.

A flow begins in the app, goes through the identity app, and comes back with a code. It is bound to
the device key that began it, works once and for ten minutes. The provider is asked between two
transactions, never inside one, so however slow it is, nothing in the database waits for it.

All that is kept is a keyed hash of the provider's name for somebody, and whether they live here.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.auth.authenticate import Caller
from wallet.auth.enrol_device import NewDevice
from wallet.auth.evidence import ProofingDone
from wallet.auth.guess_limits import allow, fail, subjects_of
from wallet.auth.open_session import RESIDENT, note_shown, open_session
from wallet.auth.pass_challenge import Passed, pass_challenge
from wallet.auth.proofs import base64url, decode_base64url, thumbprint_of
from wallet.auth.revoke_device import revoke_device
from wallet.auth.rules import Method, challenge_of, show
from wallet.auth.step_up_storage import lock_step_up
from wallet.auth.tokens import Tokens
from wallet.core.clock import to_datetime
from wallet.core.database import read, write
from wallet.core.ids import keyed_hash, new_id, new_secret
from wallet.core.outbox import tell
from wallet.core.refusals import Refusal, RefusedError
from wallet.core.sealing import seal, unseal
from wallet.people.cool_off import cool_off
from wallet.people.id_tokens import IdentityFault, IdentityNotAcceptedError
from wallet.people.identity_app import (
    SCOPE_ONLY_WHO,
    SCOPE_WITH_ADDRESS,
    Identity,
    IdentityApp,
    Secrets,
    new_secrets,
)
from wallet.people.persons import (
    Person,
    find_by_subject,
    lock_person,
    raise_tier,
    subject_hash,
)
from wallet.people.rules import Tier, is_in_set_up, lives_here
from wallet.people.sign_in import SignedIn, add_device
from wallet.people.tables import identity_flow
from wallet.settings import Settings

EXPIRES_S: Final = 600

Purpose = Literal["raise", "recover", "step_up"]

Record = Callable[[AsyncConnection, UUID], Awaitable[None]]
"""Writes into a trail of the caller's what has become of a person; the last statement."""

RAISED: Final = "person.raised"
RECOVERED: Final = "security.recovered"

_SECRETS_PURPOSE: Final = "identity flow"

_SWEEP: Final = text("""
DELETE FROM identity_flow WHERE id = ANY (ARRAY(
    SELECT id FROM identity_flow WHERE expires_at < :now
    ORDER BY expires_at LIMIT 2 FOR UPDATE SKIP LOCKED))
""")

_CLAIM: Final = text("""
UPDATE identity_flow SET used_at = :now
WHERE state_hash = :state_hash AND thumbprint = :thumbprint AND used_at IS NULL
  AND expires_at > :now AND purpose = :purpose
  AND person_id IS NOT DISTINCT FROM CAST(:person_id AS uuid)
RETURNING id, challenge_id, secrets_sealed
""")

_BIND: Final = text("""
UPDATE person SET subject_hash = :subject_hash, resident = :resident WHERE id = :person_id
""")

_OTHER_DEVICES: Final = text("""
SELECT id FROM device
WHERE principal_id = :person_id AND revoked_at IS NULL AND thumbprint <> :thumbprint ORDER BY id
""")


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """Whose flow it is: by the thumbprint of the device key that was proved, and from where.

    ``person_id`` is None for somebody who comes back and whose name is yet to be learnt.
    """

    purpose: Purpose
    thumbprint: bytes
    person_id: UUID | None = None
    challenge_id: UUID | None = None
    address: str | None = None


class Begun(msgspec.Struct, frozen=True):
    """Where the phone is to go. The state comes back with it."""

    url: str
    state: str
    expires_in_s: int


class Returned(msgspec.Struct, frozen=True):
    """What the phone brings back from the identity app."""

    state: str
    code: str
    issuer: str | None


class City(msgspec.Struct, frozen=True):
    """Where a resident lives: the prefecture and the municipality, as addresses write them."""

    region: str
    municipality: str

    @classmethod
    def of(cls, settings: Settings) -> "City":
        """Return the city that the settings name."""
        return cls(settings.region, settings.municipality)


class Raised(msgspec.Struct, frozen=True):
    """How well the city knows somebody now; with new tokens, since more was shown."""

    tier: Tier
    resident: bool
    tokens: Tokens


async def begin_identity(
    engine: AsyncEngine, app: IdentityApp, *, flow: Flow, pepper: bytes, now_us: int
) -> Begun | Refusal:
    """Begin a flow and return where the phone is to go.

    Refuses with ``too_many_tries`` when strangers begin too many, and with ``step_up_unknown`` for
    a challenge that is not the person's. Raises
    :class:`~wallet.people.identity_app.IdentityAppAwayError`.
    """
    secret = await _secrets_for(engine, flow)
    if isinstance(secret, Refusal):
        return secret
    state = new_secret("")
    scope = SCOPE_WITH_ADDRESS if flow.purpose == "raise" else SCOPE_ONLY_WHO
    url = await app.authorization_url(state=state, secret=secret, scope=scope)
    work = partial(_write_flow, flow=flow, state=state, secret=secret, pepper=pepper, now_us=now_us)
    refusal = await write(engine, work)
    return refusal or Begun(url, state, EXPIRES_S)


async def raise_by_identity_app(  # noqa: PLR0913 - by keyword, and none of them goes with another
    engine: AsyncEngine,
    app: IdentityApp,
    *,
    caller: Caller,
    thumbprint: bytes,
    returned: Returned,
    city: City,
    record: Record,
    pepper: bytes,
    now_us: int,
) -> Raised:
    """Raise a person to T2 by what the phone has brought back, and keep whose they are.

    Raises :class:`RefusedError` ``identity_flow_unknown``, ``identity_already_used`` when the same
    person has another account, and ``identity_other_person`` when the account was somebody else's;
    and what :meth:`~wallet.people.identity_app.IdentityApp.redeem` raises.
    """
    flow = Flow(purpose="raise", thumbprint=thumbprint, person_id=caller.principal_id)
    identity, _ = await _redeem(engine, app, flow, returned, pepper=pepper, now_us=now_us)

    async def work(connection: AsyncConnection) -> Raised:
        answer = await _raise(
            connection, caller=caller, identity=identity, city=city, pepper=pepper, now_us=now_us
        )
        await record(connection, caller.principal_id)
        return answer

    return await write(engine, work)


async def recover_by_identity_app(  # noqa: PLR0913 - as above
    engine: AsyncEngine,
    app: IdentityApp,
    *,
    new: NewDevice,
    thumbprint: bytes,
    returned: Returned,
    revoke_others: bool,
    record: Record,
    pepper: bytes,
    now_us: int,
) -> SignedIn:
    """Let somebody back in on a new phone, because the identity app says who they are.

    The old devices are told; ``revoke_others`` ends them, as when a phone is lost. Everything cools
    off. Raises :class:`RefusedError` ``identity_flow_unknown``, ``identity_unknown`` for somebody
    whom the city has not met, ``device_key_taken`` and ``devices_too_many``; and what
    :meth:`~wallet.people.identity_app.IdentityApp.redeem` raises.
    """
    flow = Flow(purpose="recover", thumbprint=thumbprint)
    identity, _ = await _redeem(engine, app, flow, returned, pepper=pepper, now_us=now_us)

    async def work(connection: AsyncConnection) -> SignedIn:
        signed = await _recover(
            connection,
            identity=identity,
            new=new,
            revoke_others=revoke_others,
            pepper=pepper,
            now_us=now_us,
        )
        await record(connection, signed.person_id)
        return signed

    return await write(engine, work)


async def pass_by_identity_app(
    engine: AsyncEngine,
    app: IdentityApp,
    *,
    caller: Caller,
    thumbprint: bytes,
    returned: Returned,
    pepper: bytes,
    now_us: int,
) -> Passed | Refusal:
    """Answer the challenge that a flow was begun for; its hash was the nonce of the flow.

    Refuses as :func:`~wallet.auth.pass_challenge.pass_challenge` does. Raises
    ``identity_flow_unknown``, ``identity_other_person``, and what
    :meth:`~wallet.people.identity_app.IdentityApp.redeem` raises.
    """
    flow = Flow(purpose="step_up", thumbprint=thumbprint, person_id=caller.principal_id)
    identity, claimed = await _redeem(engine, app, flow, returned, pepper=pepper, now_us=now_us)
    challenge_id = claimed.challenge_id
    if challenge_id is None:  # The table does not allow it.
        raise RefusedError("identity_flow_unknown")

    async def work(connection: AsyncConnection) -> Passed | Refusal:
        person = await find_by_subject(
            connection, subject_hash=subject_hash(identity.subject, pepper=pepper)
        )
        if person is None or person.id != caller.principal_id:
            raise RefusedError("identity_other_person")
        evidence = ProofingDone(
            Method.IDENTITY_APP, person.id, decode_base64url(claimed.secret.nonce)
        )
        return await pass_challenge(
            connection,
            challenge_id=challenge_id,
            caller=caller,
            evidence=evidence,
            now_us=now_us,
        )

    return await write(engine, work)


class _Claimed(msgspec.Struct, frozen=True):
    """A flow that was taken up, once."""

    challenge_id: UUID | None
    secret: Secrets


async def _secrets_for(engine: AsyncEngine, flow: Flow) -> Secrets | Refusal:
    """Return fresh secrets; the nonce of a step-up is the challenge itself, and so of nothing else.

    Whoever sees an ID token can therefore tell which operation it approves.
    """
    fresh = new_secrets()
    if flow.challenge_id is None:
        return fresh
    async with read(engine) as connection:
        row = await lock_step_up(connection, flow.challenge_id)
    if row is None or row.principal_id != flow.person_id:
        return Refusal("step_up_unknown")
    challenge = challenge_of(nonce=row.nonce, op_hash=row.op_hash)
    return Secrets(fresh.verifier, base64url(challenge))


async def _write_flow(
    connection: AsyncConnection,
    *,
    flow: Flow,
    state: str,
    secret: Secrets,
    pepper: bytes,
    now_us: int,
) -> Refusal | None:
    counted_for = subjects_of(pepper=pepper, address=flow.address)
    if flow.person_id is None:
        refusal = await allow(connection, kind="enrol", subjects=counted_for, now_us=now_us)
        if refusal is not None:
            return refusal
    now, flow_id = to_datetime(now_us), new_id(now_us=now_us)
    await connection.execute(_SWEEP, {"now": now})
    await connection.execute(
        identity_flow.insert().values(
            id=flow_id,
            purpose=flow.purpose,
            person_id=flow.person_id,
            challenge_id=flow.challenge_id,
            thumbprint=flow.thumbprint,
            state_hash=keyed_hash(state, pepper=pepper),
            secrets_sealed=seal(
                msgspec.json.encode(secret),
                purpose=_SECRETS_PURPOSE,
                owner=flow_id.bytes,
                pepper=pepper,
            ),
            created_at=now,
            expires_at=now + timedelta(seconds=EXPIRES_S),
        )
    )
    if flow.person_id is None:
        await fail(connection, kind="enrol", subjects=counted_for, now_us=now_us)
    return None


async def _redeem(
    engine: AsyncEngine,
    app: IdentityApp,
    flow: Flow,
    returned: Returned,
    *,
    pepper: bytes,
    now_us: int,
) -> tuple[Identity, _Claimed]:
    """Take the flow up, once and for all, and only then ask the provider."""
    claimed = await write(
        engine, partial(_claim, flow=flow, returned=returned, pepper=pepper, now_us=now_us)
    )
    if returned.issuer not in {None, app.client.issuer}:  # RFC 9207: whose answer is this?
        raise IdentityNotAcceptedError(IdentityFault.ISSUER)
    identity = await app.redeem(
        code=returned.code,
        secret=claimed.secret,
        with_address=flow.purpose == "raise",
        now_us=now_us,
    )
    return identity, claimed


async def _claim(
    connection: AsyncConnection, *, flow: Flow, returned: Returned, pepper: bytes, now_us: int
) -> _Claimed:
    values: dict[str, Any] = {
        "state_hash": keyed_hash(returned.state, pepper=pepper),
        "thumbprint": flow.thumbprint,
        "purpose": flow.purpose,
        "person_id": flow.person_id,
        "now": to_datetime(now_us),
    }
    row = (await connection.execute(_CLAIM, values)).one_or_none()
    if row is None:
        raise RefusedError("identity_flow_unknown")
    plain = unseal(row.secrets_sealed, purpose=_SECRETS_PURPOSE, owner=row.id.bytes, pepper=pepper)
    return _Claimed(row.challenge_id, msgspec.json.decode(plain, type=Secrets))


async def _raise(
    connection: AsyncConnection,
    *,
    caller: Caller,
    identity: Identity,
    city: City,
    pepper: bytes,
    now_us: int,
) -> Raised:
    person = await lock_person(connection, person_id=caller.principal_id)
    hashed = subject_hash(identity.subject, pepper=pepper)
    if person.subject_hash not in {None, hashed}:
        raise RefusedError("identity_other_person")
    resident = lives_here(
        identity.address or {}, region=city.region, municipality=city.municipality
    )
    await _bind(connection, person, hashed, resident=resident)
    await raise_tier(connection, person=person, tier=Tier.RESIDENT, resident=resident)
    if person.subject_hash is None and not is_in_set_up(
        opened_at=person.opened_at, now=to_datetime(now_us)
    ):
        await cool_off(connection, person_id=person.id, because="identity", now_us=now_us)
    tokens = await note_shown(
        connection,
        session_id=caller.session_id,
        shown=show(Method.IDENTITY_APP, at_us=now_us),
        pepper=pepper,
        now_us=now_us,
    )
    tier = max(person.tier, Tier.RESIDENT)
    body = {"principal_id": person.id, "tier": tier}
    await tell(connection, kind=RAISED, body=body, now_us=now_us)
    return Raised(tier, resident, tokens)


async def _bind(
    connection: AsyncConnection, person: Person, hashed: bytes, *, resident: bool
) -> None:
    values = {"person_id": person.id, "subject_hash": hashed, "resident": resident}
    try:
        async with connection.begin_nested():
            await connection.execute(_BIND, values)
    except IntegrityError as error:
        if "uq_person_subject_hash" not in str(error.orig):
            raise
        raise RefusedError("identity_already_used") from None


async def _recover(
    connection: AsyncConnection,
    *,
    identity: Identity,
    new: NewDevice,
    revoke_others: bool,
    pepper: bytes,
    now_us: int,
) -> SignedIn:
    person = await find_by_subject(
        connection, subject_hash=subject_hash(identity.subject, pepper=pepper)
    )
    if person is None:
        raise RefusedError("identity_unknown")
    if revoke_others:  # First, or whoever has as many devices as there may be stays out.
        await _revoke_others(connection, person.id, new, now_us)
    device_id = await add_device(
        connection, person_id=person.id, new=new, because="recovery", now_us=now_us
    )
    tokens = await open_session(
        connection,
        principal_id=person.id,
        device_id=device_id,
        shown=show(Method.DEVICE_KEY, Method.IDENTITY_APP, at_us=now_us),
        terms=RESIDENT,
        pepper=pepper,
        now_us=now_us,
    )
    body = {"principal_id": person.id, "device_id": device_id}
    await tell(connection, kind=RECOVERED, body=body, now_us=now_us)
    return SignedIn(person.id, device_id, tokens)


async def _revoke_others(
    connection: AsyncConnection, person_id: UUID, kept: NewDevice, now_us: int
) -> None:
    values = {"person_id": person_id, "thumbprint": thumbprint_of(kept.public_key)}
    for device_id in (await connection.execute(_OTHER_DEVICES, values)).scalars().all():
        await revoke_device(
            connection,
            principal_id=person_id,
            device_id=device_id,
            because="recovered",
            now_us=now_us,
        )
