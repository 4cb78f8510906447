"""Passkeys (WebAuthn): the factor that cannot be phished, because it answers one site only.

User verification is always required: the authenticator has looked at a finger, a face or a PIN,
which makes a passkey two classes at once. Attestation is not asked for; which maker's
authenticator somebody uses is nobody's business here.

A challenge is either the caller's (a step-up's, bound to an operation) or one of ours, for
registering and for signing in. Ours are not stored: they carry their own end and a MAC, and only
one that was answered well is written down, as used. So an attacker who asks for a million of them
fills nothing.
"""

import hmac
import os
from collections.abc import Callable
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final, ParamSpec, TypeVar
from uuid import UUID

import msgspec
import webauthn
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from webauthn.helpers import (
    options_to_json_dict,
    parse_authentication_credential_json,
    parse_client_data_json,
    parse_registration_credential_json,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import (
    AuthenticationCredential,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    RegistrationCredential,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from wallet.auth.factor_events import tell
from wallet.auth.proofs import Proof, burn_proof
from wallet.core.clock import MICROSECONDS, to_datetime
from wallet.core.refusals import Refusal, RefusedError
from wallet.core.sealing import derived_key
from wallet.settings import Settings

CEREMONY_S: Final = 300
"""How long somebody may look for their security key."""

PASSKEYS_MAX: Final = 20
CREDENTIAL_CHARACTERS_MAX: Final = 16_384
NAME_CHARACTERS_MAX: Final = 64

REFUSED: Final = Refusal("passkey_refused")
"""For whatever is wrong with an answer: no authenticator is told which check it failed."""

_NONCE_BYTES: Final = 16
_MAC_BYTES: Final = 32
_END_BYTES: Final = 8

_ALGORITHMS: Final = [
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,  # What Windows Hello on older machines has.
]

_HAS: Final = text("""
SELECT credential_id FROM passkey
WHERE principal_id = :principal_id AND revoked_at IS NULL ORDER BY created_at
""")

_LIST: Final = text("""
SELECT credential_id, name, backed_up, created_at FROM passkey
WHERE principal_id = :principal_id AND revoked_at IS NULL ORDER BY created_at
""")

# A credential that somebody has, or had, stays theirs.
_ADD: Final = text("""
INSERT INTO passkey
    (credential_id, principal_id, public_key, sign_count, backed_up, name, created_at)
SELECT :credential_id, :principal_id, :public_key, :sign_count, :backed_up, :name, :now
WHERE (SELECT count(*) FROM passkey
       WHERE principal_id = :principal_id AND revoked_at IS NULL) < :most
ON CONFLICT (credential_id) DO NOTHING
""")

_FIND: Final = text("""
SELECT principal_id, public_key FROM passkey
WHERE credential_id = :credential_id AND revoked_at IS NULL
""")

# The count is compared where it is kept: of two answers with one count, one is a copy's.
_COUNT: Final = text("""
UPDATE passkey SET sign_count = :sign_count, backed_up = :backed_up
WHERE credential_id = :credential_id AND revoked_at IS NULL
  AND (sign_count < :sign_count OR (sign_count = 0 AND :sign_count = 0))
""")

_REVOKE: Final = text("""
UPDATE passkey SET revoked_at = :now
WHERE credential_id = :credential_id AND principal_id = :principal_id AND revoked_at IS NULL
""")

P = ParamSpec("P")
T = TypeVar("T")
Credential = TypeVar("Credential", RegistrationCredential, AuthenticationCredential)

Options = dict[str, Any]
"""What a browser's ``navigator.credentials`` is called with, as JSON."""


class Site(msgspec.Struct, frozen=True):
    """Where passkeys belong: WebAuthn's rpId, the name people see, and the pages that may ask."""

    id: str
    name: str
    origins: tuple[str, ...]

    @classmethod
    def of(cls, settings: Settings) -> "Site":
        """Return the site that the settings name."""
        return cls(settings.passkey_site, settings.passkey_site_name, settings.passkey_origins)


class Passkey(msgspec.Struct, frozen=True):
    """A passkey as its owner sees it. ``backed_up`` says that its maker keeps copies."""

    credential_id: bytes
    name: str
    backed_up: bool
    created_at: datetime


class _Answer(msgspec.Struct, frozen=True):
    """An assertion that its passkey has signed, before its count was compared."""

    credential_id: bytes
    principal_id: UUID
    sign_count: int
    backed_up: bool


async def begin_passkey_registration(
    connection: AsyncConnection,
    *,
    site: Site,
    principal_id: UUID,
    user_name: str,
    pepper: bytes,
    now_us: int,
) -> Options:
    """Return the options for ``navigator.credentials.create``; writes nothing."""
    held = await connection.execute(_HAS, {"principal_id": principal_id})
    options = webauthn.generate_registration_options(
        rp_id=site.id,
        rp_name=site.name,
        user_id=principal_id.bytes,
        user_name=user_name,
        challenge=_new_challenge(_registering(principal_id), pepper, now_us),
        timeout=CEREMONY_S * 1000,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=each) for each in held.scalars()],
        supported_pub_key_algs=_ALGORITHMS,
    )
    return options_to_json_dict(options)


async def finish_passkey_registration(
    connection: AsyncConnection,
    *,
    site: Site,
    principal_id: UUID,
    credential: str,
    name: str,
    pepper: bytes,
    now_us: int,
) -> Passkey:
    """Keep the passkey that was made; the caller has asked for a step-up.

    ``credential`` is the JSON of what ``create`` returned. Raises :class:`RefusedError`
    ``passkey_refused``, ``passkey_known`` for one that somebody has or had (and when the principal
    has :data:`PASSKEYS_MAX`).
    """
    parsed = _parse(credential, parse_registration_credential_json)
    if parsed is None:
        raise RefusedError(REFUSED.code)
    answer, challenge = parsed
    if not _is_ours(challenge, _registering(principal_id), pepper, now_us):
        raise RefusedError(REFUSED.code)
    made = _try(
        webauthn.verify_registration_response,
        credential=answer,
        expected_challenge=challenge,
        expected_rp_id=site.id,
        expected_origin=list(site.origins),
        require_user_verification=True,
        supported_pub_key_algs=_ALGORITHMS,
    )
    if made is None or not await _spend(connection, challenge, now_us):
        raise RefusedError(REFUSED.code)
    passkey = Passkey(
        credential_id=made.credential_id,
        name=name.strip()[:NAME_CHARACTERS_MAX] or "passkey",
        backed_up=made.credential_backed_up,
        created_at=to_datetime(now_us),
    )
    values = {
        **msgspec.structs.asdict(passkey),
        "principal_id": principal_id,
        "public_key": made.credential_public_key,
        "sign_count": made.sign_count,
        "now": passkey.created_at,
        "most": PASSKEYS_MAX,
    }
    if (await connection.execute(_ADD, values)).rowcount == 0:
        raise RefusedError("passkey_known", passkeys_max=PASSKEYS_MAX)
    await tell(connection, principal_id=principal_id, factor="passkey", change="set", now_us=now_us)
    return passkey


async def begin_passkey_assertion(
    connection: AsyncConnection, *, site: Site, principal_id: UUID, challenge: bytes
) -> Options:
    """Return the options for ``navigator.credentials.get`` by one of the principal's passkeys."""
    held = await connection.execute(_HAS, {"principal_id": principal_id})
    return _request(site, challenge, [*held.scalars()])


async def finish_passkey_assertion(
    connection: AsyncConnection,
    *,
    site: Site,
    principal_id: UUID,
    credential: str,
    challenge: bytes,
    now_us: int,
) -> Refusal | None:
    """Return None when one of the principal's passkeys has signed the challenge, else why not.

    ``challenge`` is the caller's own, and the caller uses it up. ``credential`` is the JSON of
    what ``get`` returned. Commit whatever the answer: the sign count is kept, and so is the news
    that an authenticator was copied.
    """
    answer = await _verify_assertion(connection, site, credential, challenge)
    if answer is None or answer.principal_id != principal_id:
        return REFUSED
    return await _count(connection, answer, now_us)


def begin_passkey_sign_in(*, site: Site, pepper: bytes, now_us: int) -> Options:
    """Return the options for signing in, the same for everybody: the passkey says who it is."""
    return _request(site, _new_challenge(b"sign in", pepper, now_us), [])


async def finish_passkey_sign_in(
    connection: AsyncConnection, *, site: Site, credential: str, pepper: bytes, now_us: int
) -> UUID | Refusal:
    """Return whose passkey has signed a challenge of :func:`begin_passkey_sign_in`, once."""
    parsed = _parse(credential, parse_authentication_credential_json)
    if parsed is None:
        return REFUSED
    _, challenge = parsed
    if not _is_ours(challenge, b"sign in", pepper, now_us):
        return REFUSED
    answer = await _verify_assertion(connection, site, credential, challenge)
    if answer is None or not await _spend(connection, challenge, now_us):
        return REFUSED
    return await _count(connection, answer, now_us) or answer.principal_id


async def list_passkeys(connection: AsyncConnection, *, principal_id: UUID) -> list[Passkey]:
    """Return the principal's passkeys, the oldest first."""
    rows = await connection.execute(_LIST, {"principal_id": principal_id})
    return [Passkey(*row) for row in rows]


async def revoke_passkey(
    connection: AsyncConnection, *, principal_id: UUID, credential_id: bytes, now_us: int
) -> None:
    """Take a passkey's power; raises :class:`RefusedError` ``passkey_unknown``."""
    values = {
        "credential_id": credential_id,
        "principal_id": principal_id,
        "now": to_datetime(now_us),
    }
    if (await connection.execute(_REVOKE, values)).rowcount == 0:
        raise RefusedError("passkey_unknown")
    await tell(
        connection, principal_id=principal_id, factor="passkey", change="removed", now_us=now_us
    )


async def _verify_assertion(
    connection: AsyncConnection, site: Site, credential: str, challenge: bytes
) -> _Answer | None:
    parsed = _parse(credential, parse_authentication_credential_json)
    if parsed is None:
        return None
    answer, _ = parsed
    found = await connection.execute(_FIND, {"credential_id": answer.raw_id})
    row = found.one_or_none()
    if row is None or answer.response.user_handle not in {None, b"", row.principal_id.bytes}:
        return None
    verified = _try(
        webauthn.verify_authentication_response,
        credential=answer,
        expected_challenge=challenge,
        expected_rp_id=site.id,
        expected_origin=list(site.origins),
        credential_public_key=row.public_key,
        credential_current_sign_count=0,  # Compared in the database, by _count.
        require_user_verification=True,
    )
    if verified is None:
        return None
    return _Answer(
        answer.raw_id, row.principal_id, verified.new_sign_count, verified.credential_backed_up
    )


async def _count(connection: AsyncConnection, answer: _Answer, now_us: int) -> Refusal | None:
    """Keep the authenticator's count; one that has not grown is a copy's, and its owner is told."""
    values = {
        "credential_id": answer.credential_id,
        "sign_count": answer.sign_count,
        "backed_up": answer.backed_up,
    }
    if (await connection.execute(_COUNT, values)).rowcount == 1:
        return None
    await tell(
        connection,
        principal_id=answer.principal_id,
        factor="passkey",
        change="copied",
        now_us=now_us,
    )
    return REFUSED


def _parse(credential: str, parse: Callable[[str], Credential]) -> tuple[Credential, bytes] | None:
    """Return a credential and the challenge it says to answer, None when it is none of ours.

    One made in a frame of another site is refused: its user did not see whose page it was.
    """
    if len(credential) > CREDENTIAL_CHARACTERS_MAX:
        return None
    answer = _try(parse, credential)
    if answer is None:
        return None
    client = _try(parse_client_data_json, answer.response.client_data_json)
    if client is None or client.cross_origin:
        return None
    return answer, client.challenge


def _try(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Return what ``work`` makes of what a stranger sent, None when it can make nothing of it."""
    try:
        return work(*args, **kwargs)
    except Exception:  # noqa: BLE001 - bytes of a stranger's choice raise whatever they like
        return None


def _request(site: Site, challenge: bytes, credential_ids: list[bytes]) -> Options:
    options = webauthn.generate_authentication_options(
        rp_id=site.id,
        challenge=challenge,
        timeout=CEREMONY_S * 1000,
        allow_credentials=[PublicKeyCredentialDescriptor(id=each) for each in credential_ids],
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json_dict(options)


def _registering(principal_id: UUID) -> bytes:
    return b"register " + principal_id.bytes


def _new_challenge(purpose: bytes, pepper: bytes, now_us: int) -> bytes:
    end_s = now_us // MICROSECONDS + CEREMONY_S
    head = os.urandom(_NONCE_BYTES) + end_s.to_bytes(_END_BYTES, "big")
    return head + _mac(head, purpose, pepper)


def _is_ours(challenge: bytes, purpose: bytes, pepper: bytes, now_us: int) -> bool:
    head, mac = challenge[:-_MAC_BYTES], challenge[-_MAC_BYTES:]
    if len(head) != _NONCE_BYTES + _END_BYTES:
        return False
    end_us = int.from_bytes(head[_NONCE_BYTES:], "big") * MICROSECONDS
    return hmac.compare_digest(mac, _mac(head, purpose, pepper)) and now_us < end_us


def _mac(head: bytes, purpose: bytes, pepper: bytes) -> bytes:
    key = derived_key(purpose="passkey challenge", pepper=pepper)
    return blake2b(head + purpose, key=key, digest_size=_MAC_BYTES).digest()


async def _spend(connection: AsyncConnection, challenge: bytes, now_us: int) -> bool:
    """Use one of our challenges up; False when it was used before."""
    used = Proof(
        jti_hash=blake2b(challenge, digest_size=32, person=b"passkey").digest(),
        expires_at=to_datetime(now_us + CEREMONY_S * MICROSECONDS),
    )
    return await burn_proof(connection, proof=used, now_us=now_us)
