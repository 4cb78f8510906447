"""One-time codes from an authenticator app (TOTP, RFC 6238): SHA-1, six digits, 30 seconds.

For phones without passkeys, for holders of cards and for desktops. SHA-1 and six digits are what
every app understands; HMAC does not need SHA-1 to be free of collisions.

A code is taken up to one step early or late, because phones' clocks drift and people type slowly
(RFC 6238 section 5.2). OWASP ASVS 6.5.5 allows 30 seconds, so this is a deviation: a code lives
up to 90 seconds. It is paid for by taking each time step once and none before it, by compare-and-
set, and by ten failures a day.
"""

import base64
import hmac
import os
import unicodedata
from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec
import pyotp
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.factor_events import tell
from wallet.auth.guess_limits import Subjects, allow, fail, forget, subjects_of, succeed
from wallet.core.clock import MICROSECONDS, to_datetime
from wallet.core.refusals import Refusal, RefusedError
from wallet.core.sealing import seal, unseal

DIGITS: Final = 6
STEP_S: Final = 30
WINDOW_STEPS: Final = 1
SECRET_BYTES: Final = 20
"""160 bits, as RFC 4226 section 4 (R6) recommends."""

CONFIRM_WITHIN_S: Final = 600

WRONG: Final = Refusal("otp_wrong")
"""For a wrong code, a code whose step was taken, and nothing enrolled alike."""

_PURPOSE: Final = "totp secret"

_BEGIN: Final = text("""
INSERT INTO totp (principal_id, last_step, pending_sealed, pending_until)
VALUES (:principal_id, -1, :sealed, :until)
ON CONFLICT (principal_id)
DO UPDATE SET pending_sealed = EXCLUDED.pending_sealed, pending_until = EXCLUDED.pending_until
""")

_FIND_PENDING: Final = text("""
SELECT pending_sealed FROM totp WHERE principal_id = :principal_id AND pending_until > :now
""")

_CONFIRM: Final = text("""
UPDATE totp SET secret_sealed = pending_sealed, last_step = :step, confirmed_at = :now,
                pending_sealed = NULL, pending_until = NULL
WHERE principal_id = :principal_id AND pending_sealed = :sealed
""")

_FIND: Final = text("SELECT secret_sealed FROM totp WHERE principal_id = :principal_id")

# Of parallel posts of one code the first writes the step, and the others find it written.
_TAKE_STEP: Final = text("""
UPDATE totp SET last_step = :step
WHERE principal_id = :principal_id AND secret_sealed = :sealed AND last_step < :step
""")

_REMOVE: Final = text("""
UPDATE totp SET secret_sealed = NULL, confirmed_at = NULL, pending_sealed = NULL,
                pending_until = NULL
WHERE principal_id = :principal_id AND secret_sealed IS NOT NULL
""")


class Enrolment(msgspec.Struct, frozen=True):
    """A secret to put into an authenticator app: as Base32 to type, as a URI to show as QR."""

    secret: str
    uri: str


async def enrol_totp(
    connection: AsyncConnection,
    *,
    principal_id: UUID,
    account_name: str,
    issuer: str,
    pepper: bytes,
    now_us: int,
) -> Enrolment:
    """Return a new secret that waits :data:`CONFIRM_WITHIN_S` seconds for its first code.

    Until then an older secret stays good, so that nobody is left without. ``account_name`` and
    ``issuer`` are what the app shows.
    """
    secret = os.urandom(SECRET_BYTES)
    values = {
        "principal_id": principal_id,
        "sealed": seal(secret, purpose=_PURPOSE, owner=principal_id.bytes, pepper=pepper),
        "until": to_datetime(now_us) + timedelta(seconds=CONFIRM_WITHIN_S),
    }
    await connection.execute(_BEGIN, values)
    uri = _totp(secret).provisioning_uri(name=account_name, issuer_name=issuer)
    return Enrolment(_base32(secret), uri)


async def confirm_totp(
    connection: AsyncConnection, *, principal_id: UUID, code: str, pepper: bytes, now_us: int
) -> Refusal | None:
    """Put the waiting secret into force by its first code; None when it is.

    Commit whatever the answer, as for :func:`check_totp`; refuses as that does.
    """
    subjects = subjects_of(pepper=pepper, account=principal_id.hex)
    refusal = await allow(connection, kind="otp", subjects=subjects, now_us=now_us)
    if refusal is not None:
        return refusal
    now = to_datetime(now_us)
    found = await connection.execute(_FIND_PENDING, {"principal_id": principal_id, "now": now})
    sealed = found.scalar_one_or_none()
    step = _match(sealed, principal_id, code, pepper, now_us)
    values = {"principal_id": principal_id, "sealed": sealed, "step": step, "now": now}
    if step is None or (await connection.execute(_CONFIRM, values)).rowcount == 0:
        return await _refuse(connection, subjects, now_us)
    await forget(connection, kind="otp", subjects=subjects)
    await tell(connection, principal_id=principal_id, factor="totp", change="set", now_us=now_us)
    return None


async def check_totp(
    connection: AsyncConnection,
    *,
    principal_id: UUID,
    code: str,
    device_id: UUID | None,
    address: str | None,
    pepper: bytes,
    now_us: int,
) -> Refusal | None:
    """Return None for a code that is right and was not taken before, else why not.

    ``device_id`` is the principal's own device when its key has just been proved; it is then
    counted by itself. Commit whatever the answer: only then is a wrong try counted.
    """
    subjects = subjects_of(
        pepper=pepper, account=principal_id.hex, device_id=device_id, address=address
    )
    refusal = await allow(connection, kind="otp", subjects=subjects, now_us=now_us)
    if refusal is not None:
        return refusal
    found = await connection.execute(_FIND, {"principal_id": principal_id})
    sealed = found.scalar_one_or_none()
    step = _match(sealed, principal_id, code, pepper, now_us)
    values = {"principal_id": principal_id, "sealed": sealed, "step": step}
    if step is None or (await connection.execute(_TAKE_STEP, values)).rowcount == 0:
        return await _refuse(connection, subjects, now_us)
    await succeed(connection, kind="otp", subjects=subjects, now_us=now_us)
    return None


async def remove_totp(connection: AsyncConnection, *, principal_id: UUID, now_us: int) -> None:
    """Take the app away again; raises :class:`RefusedError` ``totp_unknown``."""
    removed = await connection.execute(_REMOVE, {"principal_id": principal_id})
    if removed.rowcount == 0:
        raise RefusedError("totp_unknown")
    await tell(
        connection, principal_id=principal_id, factor="totp", change="removed", now_us=now_us
    )


def matching_step(secret: bytes, code: str, *, now_us: int) -> int | None:
    """Return the time step within the window whose code this is, None when there is none.

    All of the window is computed either way, and the latest step counts, so that one code cannot
    be taken for two steps.
    """
    digits = unicodedata.normalize("NFKC", code).replace(" ", "")
    now_step = now_us // MICROSECONDS // STEP_S
    steps = range(max(now_step - WINDOW_STEPS, 0), now_step + WINDOW_STEPS + 1)
    totp = _totp(secret)
    matching = [
        step
        for step in steps
        if hmac.compare_digest(totp.generate_otp(step).encode(), digits.encode("utf-8", "replace"))
    ]
    return max(matching, default=None)


async def _refuse(connection: AsyncConnection, subjects: Subjects, now_us: int) -> Refusal:
    await fail(connection, kind="otp", subjects=subjects, now_us=now_us)
    return WRONG


def _match(
    sealed: bytes | None, principal_id: UUID, code: str, pepper: bytes, now_us: int
) -> int | None:
    """Return the code's time step; nothing enrolled costs the same and matches nothing."""
    secret = (
        os.urandom(SECRET_BYTES)
        if sealed is None
        else unseal(sealed, purpose=_PURPOSE, owner=principal_id.bytes, pepper=pepper)
    )
    step = matching_step(secret, code, now_us=now_us)
    return None if sealed is None else step


def _totp(secret: bytes) -> pyotp.TOTP:
    return pyotp.TOTP(_base32(secret), digits=DIGITS, interval=STEP_S)


def _base32(secret: bytes) -> str:
    return base64.b32encode(secret).decode("ascii")
