"""What the app sends about devices and factors, and how it is told of sessions, in JSON."""

import json
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import Field

from wallet.api.problems import ProblemError
from wallet.api.resident import FEW_DIGITS, FREE_TEXT, AppAnswer, AppBody
from wallet.auth.enrol_device import NewDevice, VerifiedKey
from wallet.auth.proofs import decode_base64url
from wallet.auth.tokens import Tokens
from wallet.core.ids import public_id

# 65 and 64 bytes are 87 and 86 characters of base64url without padding.
_KEY: Final = r"^[A-Za-z0-9_-]{87}$"
_SIGNATURE: Final = r"^[A-Za-z0-9_-]{86}$"
_LINE: Final = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$"

_VERSION: Final = r"^[0-9]{1,8}(\.[0-9]{1,8}){0,3}([+-][A-Za-z]{1,8}[0-9]{0,8})?$"

CREDENTIAL_FIELDS_MAX: Final = 32

Pin = Annotated[str, Field(max_length=16)]
Code = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[!-~]+$")]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=_LINE), FEW_DIGITS]
Id = Annotated[str, Field(max_length=64)]
Credential = Annotated[dict[str, Any], Field(max_length=CREDENTIAL_FIELDS_MAX)]
"""What ``navigator.credentials`` has returned, as JSON."""

Kind = Literal["email", "phone"]
ContactText = Annotated[str, Field(min_length=1, max_length=254), FREE_TEXT]
Password = Annotated[str, Field(min_length=1, max_length=1_024)]
NewPassword = Annotated[Password, FREE_TEXT]


class VerifiedKeyBody(AppBody):
    """The phone's second key, and its signature over the first one's thumbprint."""

    public_key: Annotated[str, Field(pattern=_KEY)]
    signature: Annotated[str, Field(pattern=_SIGNATURE)]

    def key(self) -> VerifiedKey:
        """Return the key and the signature as bytes."""
        try:
            return VerifiedKey(decode_base64url(self.public_key), decode_base64url(self.signature))
        except ValueError:
            raise ProblemError("device_key_invalid") from None


class DeviceBody(AppBody):
    """A phone as its holder will know it; its first key is the one that signs the request."""

    name: Name
    app_version: Annotated[str, Field(max_length=32, pattern=_VERSION)]
    verified_key: VerifiedKeyBody | None = None

    def new(self, public_key: bytes) -> NewDevice:
        """Return the device to enrol under the key that was proved."""
        return NewDevice(
            public_key=public_key,
            verified_key=None if self.verified_key is None else self.verified_key.key(),
            name=self.name,
            app_version=self.app_version,
        )


class SessionAnswer(AppAnswer):
    """A session's tokens, bound to the device key; seconds from now."""

    token_type: Literal["DPoP"] = "DPoP"  # noqa: S105 - the name of a scheme
    access_token: str
    refresh_token: str
    expires_in: int
    refresh_expires_in: int


class SignedInAnswer(SessionAnswer):
    """A session that was opened, and for whom on which device."""

    person_id: str
    device_id: str


class EnrolledAnswer(SignedInAnswer):
    """Somebody new: their wallet, and how well the city knows them."""

    wallet_id: str
    tier: str


def tokens_fields(tokens: Tokens) -> dict[str, Any]:
    """Return what an answer says of tokens."""
    return {
        "access_token": tokens.access_token,
        "refresh_token": tokens.refresh_token,
        "expires_in": tokens.expires_in_s,
        "refresh_expires_in": tokens.refresh_expires_in_s,
    }


def signed_in(person_id: UUID, device_id: UUID, tokens: Tokens) -> SignedInAnswer:
    """Return the answer to a sign-in."""
    return SignedInAnswer(
        **tokens_fields(tokens),
        person_id=public_id("per", person_id),
        device_id=public_id("dev", device_id),
    )


def credential_text(credential: Credential) -> str:
    """Return a credential as the text that the factors read."""
    return json.dumps(credential)
