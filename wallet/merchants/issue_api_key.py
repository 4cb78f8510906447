"""Issue an API key: what a merchant's system calls the till with."""

from uuid import UUID

import msgspec
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.core.clock import to_datetime
from wallet.core.database import sqlstate_of, write
from wallet.core.ids import keyed_hash, new_id, new_secret
from wallet.core.refusals import RefusedError
from wallet.merchants.tables import api_key

_FOREIGN_KEY_VIOLATION = "23503"


class IssuedKey(msgspec.Struct, frozen=True):
    """A new key; ``key`` is told here and never again, since only its keyed hash is kept."""

    id: UUID
    key: str


async def issue_api_key(
    engine: AsyncEngine, *, merchant_id: UUID, livemode: bool, pepper: bytes, now_us: int
) -> IssuedKey:
    """Return a key with 160 random bits: ``sk_live_…`` in live mode, ``sk_test_…`` otherwise.

    Older keys of the merchant stay good until they are revoked. Raises :class:`RefusedError`
    ``merchant_unknown``.
    """
    issued = IssuedKey(new_id(now_us=now_us), new_secret("sk_live_" if livemode else "sk_test_"))
    row = api_key.insert().values(
        id=issued.id,
        merchant_id=merchant_id,
        key_hash=keyed_hash(issued.key, pepper=pepper),
        livemode=livemode,
        created_at=to_datetime(now_us),
    )
    try:
        await write(engine, lambda connection: connection.execute(row))
    except IntegrityError as error:
        if sqlstate_of(error) != _FOREIGN_KEY_VIOLATION:
            raise
        raise RefusedError("merchant_unknown", merchant_id=merchant_id) from None
    return issued
