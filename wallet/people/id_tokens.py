"""Check an ID token of the identity app (OpenID Connect Core 1.0 section 3.1.3.7).

One algorithm (ES256), one issuer compared letter by letter, one audience. Keys come from the
provider's key set by ``kid`` and from nowhere else: what a header says about keys (``jku``,
``x5u``, ``jwk``) is not looked at. The level (``acr``) and the moment (``auth_time``) at which the
provider has seen the card are required, because that is what is relied on (OWASP ASVS 6.8.4).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from wallet.core.clock import MICROSECONDS
from wallet.core.refusals import RefusedError

ALGORITHM: Final = "ES256"
LEEWAY_S: Final = 30
TOKEN_AGE_S_MAX: Final = 300
AUTHENTICATION_AGE_S_MAX: Final = 600
"""How long ago the card may have been read; the request asks for no more (``max_age``)."""

TOKEN_CHARACTERS_MAX: Final = 16_384
SUBJECT_CHARACTERS_MAX: Final = 255


class IdentityFault(StrEnum):
    """What is wrong with an answer of the identity app; for logs and tests only."""

    GRANT = "grant"
    ANSWER = "answer"
    MALFORMED = "malformed"
    ALGORITHM = "algorithm"
    KEY = "key"
    SIGNATURE = "signature"
    CLAIMS = "claims"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    NONCE = "nonce"
    EXPIRED = "expired"
    MOMENT = "moment"
    LEVEL = "level"
    SUBJECT = "subject"


class IdentityNotAcceptedError(RefusedError):
    """The identity app's answer proves nothing. The person is told to begin again."""

    def __init__(self, fault: IdentityFault) -> None:
        super().__init__("identity_not_accepted")
        self.fault = fault


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What a token must say to be an answer to our request."""

    issuer: str
    client_id: str
    nonce: str
    acr: str
    now_us: int


class IdClaims(msgspec.Struct, frozen=True):
    """What is read of a token; anything else it says, it says in vain."""

    iss: str
    sub: str
    aud: str | list[str]
    exp: int
    iat: int
    auth_time: int
    nonce: str = ""
    acr: str = ""
    azp: str | None = None


def kid_of(token: str) -> str:
    """Return the name of the key that a token claims to be signed with.

    Raises :class:`IdentityNotAcceptedError`, for any algorithm but ours before a key is looked at.
    """
    if len(token) > TOKEN_CHARACTERS_MAX:
        raise IdentityNotAcceptedError(IdentityFault.MALFORMED)
    try:
        header = jws.extract_compact(token.encode("utf-8", "replace")).headers()
    except (JoseError, ValueError, RecursionError):
        raise IdentityNotAcceptedError(IdentityFault.MALFORMED) from None
    if header.get("alg") != ALGORITHM:
        raise IdentityNotAcceptedError(IdentityFault.ALGORITHM)
    kid = header.get("kid")
    if not isinstance(kid, str):
        raise IdentityNotAcceptedError(IdentityFault.KEY)
    return kid


def verify_id_token(token: str, *, jwk: Mapping[str, Any], expected: Expected) -> IdClaims:
    """Return the claims of a token that answers our request; ``jwk`` is the key named by its kid.

    Raises :class:`IdentityNotAcceptedError`.
    """
    if (jwk.get("kty"), jwk.get("crv")) != ("EC", "P-256") or jwk.get("use", "sig") != "sig":
        raise IdentityNotAcceptedError(IdentityFault.KEY)
    try:
        key = ECKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "y")})
        claims = jwt.decode(token, key, algorithms=[ALGORITHM]).claims
    except (JoseError, KeyError, TypeError, ValueError):
        raise IdentityNotAcceptedError(IdentityFault.SIGNATURE) from None
    try:
        said = msgspec.convert(claims, IdClaims)
    except msgspec.ValidationError:
        raise IdentityNotAcceptedError(IdentityFault.CLAIMS) from None
    fault = _find_fault(said, expected)
    if fault is not None:
        raise IdentityNotAcceptedError(fault)
    return said


def _find_fault(said: IdClaims, expected: Expected) -> IdentityFault | None:
    """Return the first claim that does not fit our request."""
    audiences = [said.aud] if isinstance(said.aud, str) else said.aud
    now_s = expected.now_us // MICROSECONDS
    checks = (
        (IdentityFault.ISSUER, said.iss == expected.issuer),
        (IdentityFault.AUDIENCE, expected.client_id in audiences),
        (IdentityFault.AUDIENCE, said.azp in ({expected.client_id, None})),
        (IdentityFault.AUDIENCE, len(audiences) == 1 or said.azp == expected.client_id),
        (IdentityFault.NONCE, said.nonce == expected.nonce),
        (IdentityFault.EXPIRED, now_s < said.exp + LEEWAY_S),
        (IdentityFault.MOMENT, -LEEWAY_S <= now_s - said.iat <= TOKEN_AGE_S_MAX + LEEWAY_S),
        (
            IdentityFault.MOMENT,
            -LEEWAY_S <= now_s - said.auth_time <= AUTHENTICATION_AGE_S_MAX + LEEWAY_S,
        ),
        (IdentityFault.LEVEL, expected.acr in said.acr.split()),
        (IdentityFault.SUBJECT, 0 < len(said.sub) <= SUBJECT_CHARACTERS_MAX),
    )
    return next((fault for fault, fits in checks if not fits), None)
