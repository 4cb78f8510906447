"""The app PIN: six digits that mean something only together with one phone's key.

What is kept is a MAC under a key of ours over the device, its public key and the digits. A slow
hash would add nothing: there are only a million PINs, and whoever has the database and the pepper
tries them all either way. What guards them is the device key, without which nobody may ask, and
the counters (ADR 13). The caller has verified the device's proof before it comes here.
"""

import hmac
from collections.abc import Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.factor_events import tell
from wallet.auth.guess_limits import allow, fail, forget, subjects_of, succeed
from wallet.core.clock import to_datetime
from wallet.core.refusals import Refusal, RefusedError
from wallet.core.sealing import derived_key

DIGITS: Final = 6

WRONG: Final = Refusal("pin_wrong")

_MAC_BYTES: Final = 32
_KNOWN_DIGITS_MIN: Final = 4
"""Four digits that somebody knows, such as a birthday, are too much of six."""

# Patterns on the keypad and the commonest others that no rule below catches.
_COMMON: Final = frozenset(
    {"102030", "112233", "112358", "142536", "147258", "159357", "159753", "258456", "258000",
     "336699", "445566", "456123", "741852", "778899", "789456", "852456", "951753", "963852"}
)  # fmt: skip

_FIND: Final = text("""
SELECT d.thumbprint, p.mac FROM device AS d LEFT JOIN pin AS p ON p.device_id = d.id
WHERE d.id = :device_id AND d.revoked_at IS NULL
""")

_OWNER: Final = text("""
SELECT principal_id, thumbprint FROM device WHERE id = :device_id AND revoked_at IS NULL FOR SHARE
""")

_SET: Final = text("""
INSERT INTO pin (device_id, mac, set_at) VALUES (:device_id, :mac, :now)
ON CONFLICT (device_id) DO UPDATE SET mac = EXCLUDED.mac, set_at = EXCLUDED.set_at
""")


async def set_pin(
    connection: AsyncConnection,
    *,
    device_id: UUID,
    pin: str,
    known: Sequence[str],
    pepper: bytes,
    now_us: int,
) -> None:
    """Set a device's PIN and open its counter again; the caller has asked for a step-up.

    ``known`` is what others know of its owner, such as the date of birth and the phone number.
    Raises :class:`RefusedError` ``pin_malformed``, ``pin_weak`` or ``device_unknown``.
    """
    if not is_pin(pin):
        raise RefusedError("pin_malformed", digits=DIGITS)
    if is_weak(pin, known=known):
        raise RefusedError("pin_weak")
    device = (await connection.execute(_OWNER, {"device_id": device_id})).one_or_none()
    if device is None:
        raise RefusedError("device_unknown")
    mac = _mac(device_id, device.thumbprint, pin, pepper)
    values = {"device_id": device_id, "mac": mac, "now": to_datetime(now_us)}
    await connection.execute(_SET, values)
    subjects = subjects_of(pepper=pepper, device_id=device_id)
    await forget(connection, kind="pin", subjects=subjects)
    await tell(
        connection, principal_id=device.principal_id, factor="pin", change="set", now_us=now_us
    )


async def check_pin(
    connection: AsyncConnection, *, device_id: UUID, pin: str, pepper: bytes, now_us: int
) -> Refusal | None:
    """Return None for the device's PIN, else :data:`WRONG` or ``too_many_tries``.

    Commit whatever the answer: only then is a wrong try counted. A device without a PIN and one
    that was revoked answer as to a wrong one.
    """
    if not is_pin(pin):
        return WRONG
    subjects = subjects_of(pepper=pepper, device_id=device_id, value=pin)
    refusal = await allow(connection, kind="pin", subjects=subjects, now_us=now_us)
    if refusal is not None:
        return refusal
    found = (await connection.execute(_FIND, {"device_id": device_id})).one_or_none()
    thumbprint, kept = (b"", None) if found is None else found
    mac = _mac(device_id, thumbprint, pin, pepper)
    if hmac.compare_digest(mac, kept or bytes(_MAC_BYTES)):
        await succeed(connection, kind="pin", subjects=subjects, now_us=now_us)
        return None
    await fail(connection, kind="pin", subjects=subjects, now_us=now_us)
    return WRONG


def is_pin(text: str) -> bool:
    """Whether ``text`` is six ASCII digits."""
    return len(text) == DIGITS and text.isascii() and text.isdigit()


def is_weak(pin: str, *, known: Sequence[str]) -> bool:
    """Whether a PIN is among the first that a thief would try."""
    steps = {(int(after) - int(before)) % 10 for before, after in pairwise(pin)}
    runs = steps in ({0}, {1}, {9})
    repeats = any(pin == pin[:size] * (DIGITS // size) for size in (1, 2, 3))
    mirrors = pin[:3] == pin[:2:-1]
    return runs or repeats or mirrors or pin in _COMMON or _is_known(pin, known)


def _is_known(pin: str, known: Sequence[str]) -> bool:
    """Whether a PIN has a run of digits in common with something known, such as ``0503``."""
    parts = [pin[n : n + _KNOWN_DIGITS_MIN] for n in range(DIGITS - _KNOWN_DIGITS_MIN + 1)]
    texts = ["".join(filter(str.isdigit, text)) for text in known]
    return any(part in text for part in parts for text in texts)


def _mac(device_id: UUID, thumbprint: bytes, pin: str, pepper: bytes) -> bytes:
    key = derived_key(purpose="pin", pepper=pepper)
    message = device_id.bytes + thumbprint + pin.encode("ascii")
    return blake2b(message, key=key, digest_size=_MAC_BYTES).digest()
