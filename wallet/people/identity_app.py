"""The national identity app (デジタル認証アプリ) as a client sees it: OpenID Connect's code flow.

PKCE with S256 (RFC 7636), ``state`` and ``nonce``, and the client proves itself by a JWT signed
with its own key (``private_key_jwt``, RFC 7523). Endpoints and keys come from the provider's
discovery document, whose issuer must be the configured one to the letter.

The provider is somebody else's service on a busy day. Each call has an end, few are under way at
once, answers are cut off at a size, and after some failures in a row nobody waits for it at all
for a while. Nothing here touches the database, and callers hold no transaction meanwhile.
"""

import asyncio
import base64
import hashlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Final, TypeVar
from urllib.parse import urlencode, urlsplit

import httpx2
import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from wallet.core.clock import MICROSECONDS
from wallet.core.refusals import RefusedError
from wallet.people.circuit import Circuit
from wallet.people.id_tokens import (
    ALGORITHM,
    AUTHENTICATION_AGE_S_MAX,
    Expected,
    IdentityFault,
    IdentityNotAcceptedError,
    kid_of,
    verify_id_token,
)
from wallet.settings import Settings

logger = logging.getLogger(__name__)

UNDER_WAY_MAX: Final = 8
ANSWER_BYTES_MAX: Final = 65_536
ASSERTION_S: Final = 60
KEPT_S: Final = 3_600.0
"""How long the discovery document and the keys are kept."""

KEYS_AGAIN_S: Final = 60.0
"""How soon an unknown key may make us ask for the keys again."""

RETRY_AFTER_S: Final = 30
SCOPE_ONLY_WHO: Final = "openid"
SCOPE_WITH_ADDRESS: Final = "openid address"

_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_TOO_MANY_REQUESTS: Final = 429
_SERVERS_FAULT: Final = 500
_OK: Final = 200

T = TypeVar("T")


class IdentityAppAwayError(RefusedError):
    """The identity app does not answer now. Carries ``retry_after_s``; nothing was changed."""

    def __init__(self) -> None:
        super().__init__("identity_app_unavailable", retry_after_s=RETRY_AFTER_S)


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """How the city is registered with the identity app."""

    issuer: str
    client_id: str
    key: ECKey
    redirect_url: str
    acr_values: str
    acr: str
    timeout_s: float

    @classmethod
    def of(cls, settings: Settings) -> "Client | None":
        """Return the client that the settings describe, None when they name no provider.

        Raises ValueError for a key that is no P-256 private key, and OSError when it is not there.
        """
        if not settings.identity_issuer or settings.identity_key is None:
            return None
        return cls(
            issuer=settings.identity_issuer,
            client_id=settings.identity_client_id,
            key=read_key(settings.identity_key),
            redirect_url=settings.identity_redirect_url,
            acr_values=settings.identity_acr_values,
            acr=settings.identity_acr,
            timeout_s=settings.identity_timeout_s,
        )


class Secrets(msgspec.Struct, frozen=True):
    """What only the one who began a flow can know: PKCE's verifier and the token's nonce."""

    verifier: str
    nonce: str


class Identity(msgspec.Struct, frozen=True):
    """Who the identity app says is there: a name that means something to this city alone.

    ``address`` is the claim of that name when it was asked for. Neither is ever stored.
    """

    subject: str
    address: Mapping[str, str] | None


class _Provider(msgspec.Struct, frozen=True):
    """What is read of the discovery document."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str
    jwks_uri: str


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str
    access_token: str = ""


class _KeySet(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class _Person(msgspec.Struct, frozen=True):
    sub: str
    address: dict[str, str] = {}


def read_key(path: Path) -> ECKey:
    """Return the private key in a PEM file. Raises ValueError when it is no P-256 private key."""
    try:
        key = ECKey.import_key(path.read_bytes())
    except (JoseError, ValueError) as error:
        message = f"{path} holds no key in PEM"
        raise ValueError(message) from error
    if not key.is_private or key.curve_name != "P-256":
        message = f"{path} holds no private key on P-256"
        raise ValueError(message)
    return key


def new_secrets() -> Secrets:
    """Return a fresh verifier (43 characters, RFC 7636 section 4.1) and nonce."""
    return Secrets(secrets.token_urlsafe(32), secrets.token_urlsafe(32))


def challenge_of(verifier: str) -> str:
    """Return PKCE's S256 challenge (RFC 7636 section 4.2)."""
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


class IdentityApp:
    """The identity app, as one process uses it; closed at its end."""

    def __init__(self, client: Client, *, seconds: Callable[[], float] = monotonic) -> None:
        self.client = client
        self.circuit = Circuit(seconds=seconds)
        self._seconds = seconds
        self._http = httpx2.AsyncClient(
            timeout=client.timeout_s,
            follow_redirects=False,
            trust_env=False,
            limits=httpx2.Limits(max_connections=UNDER_WAY_MAX),
        )
        self._under_way = asyncio.Semaphore(UNDER_WAY_MAX)
        self._provider: tuple[float, _Provider] | None = None
        self._keys: tuple[float, dict[str, dict[str, Any]]] | None = None

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def authorization_url(self, *, state: str, secret: Secrets, scope: str) -> str:
        """Return where the phone is to go. Raises :class:`IdentityAppAwayError`."""
        async with self._turn():
            provider = await self._discover()
        parameters = {
            "response_type": "code",
            "client_id": self.client.client_id,
            "redirect_uri": self.client.redirect_url,
            "scope": scope,
            "state": state,
            "nonce": secret.nonce,
            "code_challenge": challenge_of(secret.verifier),
            "code_challenge_method": "S256",
            "acr_values": self.client.acr_values,
            "max_age": str(AUTHENTICATION_AGE_S_MAX),
        }
        return f"{provider.authorization_endpoint}?{urlencode(parameters)}"

    async def redeem(
        self, *, code: str, secret: Secrets, with_address: bool, now_us: int
    ) -> Identity:
        """Return who stands behind a code that the phone has brought back.

        Takes a few seconds at most. Raises :class:`IdentityAppAwayError` and
        :class:`~wallet.people.id_tokens.IdentityNotAcceptedError`.
        """
        try:
            async with self._turn():
                return await self._redeem(code, secret, with_address=with_address, now_us=now_us)
        except IdentityNotAcceptedError as error:
            logger.warning("the identity app's answer was not accepted: %s", error.fault)
            raise

    async def _redeem(
        self, code: str, secret: Secrets, *, with_address: bool, now_us: int
    ) -> Identity:
        provider = await self._discover()
        tokens = await self._exchange(provider, code, secret, now_us)
        expected = Expected(
            issuer=provider.issuer,
            client_id=self.client.client_id,
            nonce=secret.nonce,
            acr=self.client.acr,
            now_us=now_us,
        )
        jwk = await self._find_key(provider, kid_of(tokens.id_token))
        claims = verify_id_token(tokens.id_token, jwk=jwk, expected=expected)
        if not with_address:
            return Identity(claims.sub, None)
        headers = {"Authorization": f"Bearer {tokens.access_token}"}
        body = await self._fetch("GET", provider.userinfo_endpoint, headers=headers)
        person = _decode(body, _Person)
        if person.sub != claims.sub:  # OpenID Connect Core 1.0 section 5.3.2.
            raise IdentityNotAcceptedError(IdentityFault.SUBJECT)
        return Identity(claims.sub, person.address)

    async def _exchange(
        self, provider: _Provider, code: str, secret: Secrets, now_us: int
    ) -> _Tokens:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.client.redirect_url,
            "client_id": self.client.client_id,
            "code_verifier": secret.verifier,
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": self._assertion(provider.token_endpoint, now_us),
        }
        return _decode(await self._fetch("POST", provider.token_endpoint, form=form), _Tokens)

    def _assertion(self, audience: str, now_us: int) -> str:
        """Return the JWT by which the client proves itself, good for one call (RFC 7523)."""
        now_s = now_us // MICROSECONDS
        claims = {
            "iss": self.client.client_id,
            "sub": self.client.client_id,
            "aud": audience,
            "jti": secrets.token_urlsafe(24),
            "iat": now_s,
            "exp": now_s + ASSERTION_S,
        }
        header = {"alg": ALGORITHM, "kid": self.client.key.thumbprint()}
        return jwt.encode(header, claims, self.client.key, algorithms=[ALGORITHM])

    async def _discover(self) -> _Provider:
        """Return the provider's endpoints, asked for anew once an hour."""
        if self._provider is not None and self._seconds() < self._provider[0] + KEPT_S:
            return self._provider[1]
        place = f"{self.client.issuer.rstrip('/')}/.well-known/openid-configuration"
        provider = _decode(await self._fetch("GET", place), _Provider)
        if provider.issuer != self.client.issuer:
            raise IdentityNotAcceptedError(IdentityFault.ISSUER)
        urls = (
            provider.authorization_endpoint,
            provider.token_endpoint,
            provider.userinfo_endpoint,
            provider.jwks_uri,
        )
        if not all(map(_is_private_way, urls)):
            raise IdentityNotAcceptedError(IdentityFault.ANSWER)
        self._provider = (self._seconds(), provider)
        return provider

    async def _find_key(self, provider: _Provider, kid: str) -> dict[str, Any]:
        """Return the provider's key of that name; one that is new makes us ask again, seldom."""
        now_s = self._seconds()
        kept = self._keys
        stale = kept is None or now_s >= kept[0] + KEPT_S
        if stale or (kept is not None and kid not in kept[1] and now_s >= kept[0] + KEYS_AGAIN_S):
            found = _decode(await self._fetch("GET", provider.jwks_uri), _KeySet).keys
            named = {str(key["kid"]): key for key in found if "kid" in key}
            kept = self._keys = (now_s, named)
        if kept is None or kid not in kept[1]:
            raise IdentityNotAcceptedError(IdentityFault.KEY)
        return kept[1][kid]

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Hold one of the few turns, for as long as calls may take; and learn from how it went."""
        if self._under_way.locked() or self.circuit.is_open():
            raise IdentityAppAwayError
        async with self._under_way:
            try:
                async with asyncio.timeout(self.client.timeout_s):
                    yield
            except (TimeoutError, httpx2.HTTPError, _ProviderFailedError) as error:
                self.circuit.failed()
                logger.warning("the identity app failed: %s", type(error).__name__)
                raise IdentityAppAwayError from None
            self.circuit.succeeded()

    async def _fetch(
        self,
        method: str,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        async with self._http.stream(method, url, data=form, headers=headers) as response:
            if response.status_code == _TOO_MANY_REQUESTS or response.status_code >= _SERVERS_FAULT:
                raise _ProviderFailedError
            if response.status_code != _OK:
                raise IdentityNotAcceptedError(IdentityFault.GRANT)
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > ANSWER_BYTES_MAX:
                    raise IdentityNotAcceptedError(IdentityFault.ANSWER)
            return body


class _ProviderFailedError(Exception):
    """The provider answered that it cannot answer."""


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise IdentityNotAcceptedError(IdentityFault.ANSWER) from None


def _is_private_way(url: str) -> bool:
    """Whether nobody can listen to what is sent there."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
