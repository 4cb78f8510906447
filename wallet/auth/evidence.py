"""What one answers a challenge with. Each kind knows how it is checked, and what it shows.

Checks run in the transaction of the answer, which is committed whatever they find, so that every
wrong try is counted.
"""

import hmac
from typing import Final, Protocol
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.authenticate import Caller
from wallet.auth.passkeys import Site, finish_passkey_assertion
from wallet.auth.pin import check_pin
from wallet.auth.proofs import is_signed
from wallet.auth.rules import Method
from wallet.auth.totp import check_totp
from wallet.core.refusals import Refusal

WRONG: Final = Refusal("evidence_wrong")

_VERIFIED_KEY: Final = text("""
SELECT verified_key FROM device WHERE id = :device_id AND revoked_at IS NULL
""")


class Evidence(Protocol):
    """An answer to a challenge."""

    @property
    def method(self) -> Method:
        """What the answer shows when it is right."""

    async def check(
        self, connection: AsyncConnection, *, caller: Caller, challenge: bytes, now_us: int
    ) -> Refusal | None:
        """Return None when the answer is right, else why not."""


class VerifiedKeySignature(msgspec.Struct, frozen=True):
    """The second key's ES256 (r and s) over the challenge."""

    signature: bytes

    @property
    def method(self) -> Method:
        """The finger, face or screen lock that released the key."""
        return Method.VERIFIED_KEY

    async def check(
        self, connection: AsyncConnection, *, caller: Caller, challenge: bytes, now_us: int
    ) -> Refusal | None:
        """Check the signature with the key of the device that asks, and no other."""
        del now_us
        values = {"device_id": caller.device_id}
        key = (await connection.execute(_VERIFIED_KEY, values)).scalar_one_or_none()
        if key is None or not is_signed(challenge, signature=self.signature, public_key=key):
            return WRONG
        return None


class PinEntered(msgspec.Struct, frozen=True):
    """The app's PIN. The request's proof shows the device key that it is bound to."""

    pin: str
    pepper: bytes

    @property
    def method(self) -> Method:
        """The PIN."""
        return Method.PIN

    async def check(
        self, connection: AsyncConnection, *, caller: Caller, challenge: bytes, now_us: int
    ) -> Refusal | None:
        """Check the PIN of the device that asks; a session without a device has none."""
        del challenge
        if caller.device_id is None:
            return WRONG
        return await check_pin(
            connection, device_id=caller.device_id, pin=self.pin, pepper=self.pepper, now_us=now_us
        )


class TotpEntered(msgspec.Struct, frozen=True):
    """A code from an authenticator app; ``address`` is where the request came from."""

    code: str
    address: str | None
    pepper: bytes

    @property
    def method(self) -> Method:
        """The code."""
        return Method.TOTP

    async def check(
        self, connection: AsyncConnection, *, caller: Caller, challenge: bytes, now_us: int
    ) -> Refusal | None:
        """Check the code and take its time step."""
        del challenge
        return await check_totp(
            connection,
            principal_id=caller.principal_id,
            code=self.code,
            device_id=caller.device_id,
            address=self.address,
            pepper=self.pepper,
            now_us=now_us,
        )


class PasskeyAnswer(msgspec.Struct, frozen=True):
    """What a browser's ``navigator.credentials.get`` returned for the challenge, as JSON."""

    credential: str
    site: Site

    @property
    def method(self) -> Method:
        """The passkey, whose user was verified."""
        return Method.PASSKEY

    async def check(
        self, connection: AsyncConnection, *, caller: Caller, challenge: bytes, now_us: int
    ) -> Refusal | None:
        """Check that a passkey of the caller's has signed this challenge for this site."""
        return await finish_passkey_assertion(
            connection,
            site=self.site,
            principal_id=caller.principal_id,
            credential=self.credential,
            challenge=challenge,
            now_us=now_us,
        )


class ProofingDone(msgspec.Struct, frozen=True):
    """What a door above has seen: an ID token whose ``nonce`` was this challenge, or a document.

    The door verified it and found whose it is; here it is held against the caller and the
    challenge, so that a proofing of one operation lets no other through.
    """

    method: Method
    principal_id: UUID
    challenge: bytes

    async def check(
        self, connection: AsyncConnection, *, caller: Caller, challenge: bytes, now_us: int
    ) -> Refusal | None:
        """Check that it is of the same person and of the same operation."""
        del connection, now_us
        same = hmac.compare_digest(self.challenge, challenge)
        return None if same and self.principal_id == caller.principal_id else WRONG
