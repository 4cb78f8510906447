"""Recovery codes: ten on a sheet of paper, each good once, for the day the phone is in the river.

A code has 120 random bits, so a fast keyed hash may keep it (OWASP ASVS 6.5.2 asks for 112). It
opens an account again and raises no level: what moves money needs more.
"""

import secrets
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.factor_events import tell
from wallet.auth.guess_limits import allow, fail, forget, subjects_of, succeed
from wallet.core.clock import to_datetime
from wallet.core.ids import keyed_hash
from wallet.core.refusals import Refusal

CODES: Final = 10
CHARACTERS: Final = 24
GROUP: Final = 4

WRONG: Final = Refusal("recovery_code_wrong")
"""For a wrong code, a used one, and no sheet at all alike."""

# Crockford's base 32: no I, L, O or U, and what people write for them is understood.
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_MISREAD: Final = str.maketrans({"I": "1", "L": "1", "O": "0", "-": None, " ": None})

# Two sheets issued at once overwrite each other in the same order: one of them remains, whole.
_ISSUE: Final = text("""
INSERT INTO recovery_code (principal_id, number, code_hash, issued_at)
SELECT :principal_id, number, code_hash, :now
FROM unnest(CAST(:hashes AS bytea[])) WITH ORDINALITY AS new (code_hash, number)
ORDER BY number
ON CONFLICT (principal_id, number)
DO UPDATE SET code_hash = EXCLUDED.code_hash, issued_at = EXCLUDED.issued_at, used_at = NULL
""")

_USE: Final = text("""
UPDATE recovery_code SET used_at = :now
WHERE principal_id = :principal_id AND code_hash = :code_hash AND used_at IS NULL
""")

_LEFT: Final = text("""
SELECT count(*) FROM recovery_code WHERE principal_id = :principal_id AND used_at IS NULL
""")


async def issue_recovery_codes(
    connection: AsyncConnection, *, principal_id: UUID, pepper: bytes, now_us: int
) -> list[str]:
    """Return a new sheet of codes, told here and never again; an older sheet is void."""
    codes = [_draw() for _ in range(CODES)]
    values = {
        "principal_id": principal_id,
        "hashes": [_hash(code, pepper) for code in codes],
        "now": to_datetime(now_us),
    }
    subjects = subjects_of(pepper=pepper, account=principal_id.hex)
    await forget(connection, kind="recovery_code", subjects=subjects)
    await connection.execute(_ISSUE, values)
    await tell(
        connection, principal_id=principal_id, factor="recovery_codes", change="set", now_us=now_us
    )
    return codes


async def use_recovery_code(
    connection: AsyncConnection,
    *,
    principal_id: UUID,
    code: str,
    address: str | None,
    pepper: bytes,
    now_us: int,
) -> Refusal | None:
    """Use a code up and return None, or :data:`WRONG` or ``too_many_tries``.

    Commit whatever the answer: only then is a wrong try counted.
    """
    subjects = subjects_of(pepper=pepper, account=principal_id.hex, address=address)
    refusal = await allow(connection, kind="recovery_code", subjects=subjects, now_us=now_us)
    if refusal is not None:
        return refusal
    values = {
        "principal_id": principal_id,
        "code_hash": _hash(code, pepper),
        "now": to_datetime(now_us),
    }
    if (await connection.execute(_USE, values)).rowcount == 0:
        await fail(connection, kind="recovery_code", subjects=subjects, now_us=now_us)
        return WRONG
    await succeed(connection, kind="recovery_code", subjects=subjects, now_us=now_us)
    await tell(
        connection, principal_id=principal_id, factor="recovery_codes", change="used", now_us=now_us
    )
    return None


async def count_recovery_codes(connection: AsyncConnection, *, principal_id: UUID) -> int:
    """Return how many codes are left, to say when a new sheet is due."""
    left: int = (await connection.execute(_LEFT, {"principal_id": principal_id})).scalar_one()
    return left


def _draw() -> str:
    characters = "".join(secrets.choice(_ALPHABET) for _ in range(CHARACTERS))
    return "-".join(characters[n : n + GROUP] for n in range(0, CHARACTERS, GROUP))


def _hash(code: str, pepper: bytes) -> bytes:
    return keyed_hash("recovery " + code.upper().translate(_MISREAD), pepper=pepper)
