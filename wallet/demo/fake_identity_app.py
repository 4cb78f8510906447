"""An identity app for rehearsals and tests: a real OpenID Connect provider on loopback.

It does what the national one does as far as a client can tell: authorization code flow, PKCE with
S256, ``private_key_jwt`` with ES256, pairwise subjects, ES256 ID tokens, codes that work once
within a minute. Instead of reading a card it asks which of a few made-up citizens one is. And it
can be told to misbehave (:class:`Mode`), as real ones do on busy days and hostile ones always.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum
from html import escape
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import msgspec
import uvicorn
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from wallet.core.clock import MICROSECONDS, Clock, system_clock

HOST: Final = "127.0.0.1"
CODE_S: Final = 60
TOKEN_S: Final = 300
SLOW_S: Final = 20.0
WAITING_MAX: Final = 1_000
"""Codes and tokens it remembers; the oldest are forgotten."""

ACR: Final = "aal3"
_ALGORITHM: Final = "ES256"
_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_STARTS_IN_S: Final = 10.0


class Mode(StrEnum):
    """How it behaves."""

    HONEST = "honest"
    SLOW = "slow"
    BUSY = "busy"
    DOWN = "down"
    GARBLED = "garbled"
    ENDLESS = "endless"
    WRONG_ISSUER = "wrong_issuer"
    WRONG_AUDIENCE = "wrong_audience"
    WRONG_NONCE = "wrong_nonce"
    ALG_NONE = "alg_none"
    ALG_HS256 = "alg_hs256"
    OTHER_KEY = "other_key"
    OWN_JWK = "own_jwk"
    UNKNOWN_KID = "unknown_kid"
    EXPIRED = "expired"
    FROM_THE_FUTURE = "from_the_future"
    OLD_AUTHENTICATION = "old_authentication"
    LOW_LEVEL = "low_level"
    OTHER_PERSON = "other_person"


class Citizen(msgspec.Struct, frozen=True):
    """Somebody who does not exist: what a card would say of them."""

    name: str
    address: Mapping[str, str]


def _of(name: str, region: str, locality: str, street: str) -> Citizen:
    formatted = f"{region}{locality}{street}"
    return Citizen(name, {"formatted": formatted, "region": region, "locality": locality})


CITIZENS: Final[Mapping[str, Citizen]] = MappingProxyType(
    {
        "taro": _of("見本 太郎", "兵庫県", "姫路市", "安田四丁目1番地"),
        "hanako": _of("見本 花子", "兵庫県", "姫路市", "本町68番地"),
        "jiro": _of("見本 次郎", "兵庫県", "加古川市", "加古川町北在家2000番地"),
    }
)


class _Grant(msgspec.Struct):
    """What a code stands for, until it is redeemed."""

    citizen: str
    redirect_url: str
    nonce: str
    challenge: str
    scope: str
    authenticated_s: int
    expires_s: int


class FakeIdentityApp:
    """The provider: one client, a few citizens, and a mode that can be changed at any time."""

    def __init__(
        self,
        *,
        issuer: str,
        client_id: str,
        client_key: ECKey,
        redirect_urls: frozenset[str],
        clock: Clock = system_clock,
        slow_s: float = SLOW_S,
    ) -> None:
        self.issuer = issuer
        self.mode = Mode.HONEST
        self.calls: dict[str, int] = {}
        self.citizens: dict[str, Citizen] = dict(CITIZENS)
        self._client_id = client_id
        self._client_key = client_key
        self._redirect_urls = redirect_urls
        self._clock = clock
        self._slow_s = slow_s
        self._key = ECKey.generate_key("P-256")
        self._seed = secrets.token_bytes(32)
        self._grants: dict[str, _Grant] = {}
        self._tokens: dict[str, tuple[str, str]] = {}
        self._seen_assertions: dict[str, None] = {}
        self.application = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/auth", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/userinfo", self._userinfo),
                Route("/certs", self._certs),
            ]
        )

    def subject_of(self, citizen: str) -> str:
        """Return the pairwise subject: another client would be told another one."""
        named = f"{self._client_id} {citizen}".encode()
        return hmac.new(self._seed, named, hashlib.sha256).hexdigest()

    async def _discovery(self, _: Request) -> Response:
        await self._count("discovery")
        return JSONResponse(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/auth",
                "token_endpoint": f"{self.issuer}/token",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                "jwks_uri": f"{self.issuer}/certs",
                "response_types_supported": ["code"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": [_ALGORITHM],
                "token_endpoint_auth_methods_supported": ["private_key_jwt"],
                "code_challenge_methods_supported": ["S256"],
            }
        )

    async def _certs(self, _: Request) -> Response:
        await self._count("certs")
        return JSONResponse({"keys": [self._public_jwk()]})

    async def _authorize(self, request: Request) -> Response:
        """Ask who one is, or go on when the address says it already."""
        asked = dict(request.query_params)
        problem = self._problem_of(asked)
        if problem is not None:
            return HTMLResponse(_PROBLEM.format(problem=escape(problem)), 400)
        citizen = asked.pop("citizen", None)
        if citizen is None:
            return HTMLResponse(self._choice(asked))
        parameters = {"state": asked["state"], "iss": self.issuer}
        if citizen in self.citizens:
            parameters["code"] = self._grant(citizen, asked)
        else:
            parameters["error"] = "access_denied"
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(parameters)}", 303)

    def _problem_of(self, asked: Mapping[str, str]) -> str | None:
        expected = {
            "client_id": asked.get("client_id") == self._client_id,
            "redirect_uri": asked.get("redirect_uri") in self._redirect_urls,
            "response_type": asked.get("response_type") == "code",
            "scope": "openid" in asked.get("scope", "").split(),
            "state": bool(asked.get("state")),
            "nonce": bool(asked.get("nonce")),
            "code_challenge": len(asked.get("code_challenge", "")) == 43,  # noqa: PLR2004 - RFC 7636
            "code_challenge_method": asked.get("code_challenge_method") == "S256",
            "acr_values": ACR in asked.get("acr_values", "").split(),
        }
        return next((name for name, right in expected.items() if not right), None)

    def _choice(self, asked: Mapping[str, str]) -> str:
        links = "".join(
            f'<li><a href="/auth?{escape(urlencode({**asked, "citizen": key}))}">'
            f"{escape(citizen.name)} ({escape(citizen.address['formatted'])})</a></li>"
            for key, citizen in self.citizens.items()
        )
        cancel = escape(urlencode({**asked, "citizen": ""}))
        return _CHOICE.format(links=links, cancel=cancel)

    def _grant(self, citizen: str, asked: Mapping[str, str]) -> str:
        code, now_s = secrets.token_urlsafe(24), self._now_s()
        _forget_oldest(self._grants)
        self._grants[code] = _Grant(
            citizen=citizen,
            redirect_url=asked["redirect_uri"],
            nonce=asked["nonce"],
            challenge=asked["code_challenge"],
            scope=asked["scope"],
            authenticated_s=now_s,
            expires_s=now_s + CODE_S,
        )
        return code

    async def _token(self, request: Request) -> Response:
        await self._count("token")
        if self.mode in _FAILURES:
            return _FAILURES[self.mode]()
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        if not self._is_client(form):
            return JSONResponse({"error": "invalid_client"}, 401)
        grant = self._grants.pop(form.get("code", ""), None)
        if grant is None or not self._fits(grant, form):
            return JSONResponse({"error": "invalid_grant"}, 400)
        access_token = secrets.token_urlsafe(24)
        _forget_oldest(self._tokens)
        self._tokens[access_token] = (grant.citizen, grant.scope)
        return JSONResponse(
            {
                "access_token": access_token,
                "token_type": "Bearer",
                "expires_in": TOKEN_S,
                "id_token": self._id_token(grant),
            },
            headers={"cache-control": "no-store"},
        )

    def _is_client(self, form: Mapping[str, str]) -> bool:
        """Whether the assertion is the client's, of now, and new (RFC 7523 section 3)."""
        if form.get("client_assertion_type") != _ASSERTION_TYPE:
            return False
        try:
            claims = jwt.decode(
                form.get("client_assertion", ""), self._client_key, algorithms=[_ALGORITHM]
            ).claims
        except (JoseError, ValueError):
            return False
        jti = str(claims.get("jti", ""))
        right = (
            claims.get("iss") == claims.get("sub") == self._client_id == form.get("client_id")
            and claims.get("aud") in (f"{self.issuer}/token", self.issuer)
            and self._now_s() < int(claims.get("exp", 0)) <= self._now_s() + 300
            and jti
            and jti not in self._seen_assertions
        )
        _forget_oldest(self._seen_assertions)
        self._seen_assertions[jti] = None
        return bool(right)

    def _fits(self, grant: _Grant, form: Mapping[str, str]) -> bool:
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = _base64url(digest)
        return (
            form.get("grant_type") == "authorization_code"
            and form.get("redirect_uri") == grant.redirect_url
            and challenge == grant.challenge
            and self._now_s() < grant.expires_s
        )

    def _id_token(self, grant: _Grant) -> str:
        now_s = self._now_s()
        claims = {
            "iss": self.issuer,
            "sub": self.subject_of(grant.citizen),
            "aud": self._client_id,
            "iat": now_s,
            "exp": now_s + TOKEN_S,
            "auth_time": grant.authenticated_s,
            "nonce": grant.nonce,
            "acr": ACR,
            **self._wrong_claims(now_s),
        }
        header, key = self._header_and_key()
        if self.mode is Mode.ALG_NONE:
            return f"{_encoded({**header, 'alg': 'none'})}.{_encoded(claims)}."
        if self.mode is Mode.ALG_HS256:  # Signed with what everybody knows: the public key.
            signed = f"{_encoded({**header, 'alg': 'HS256'})}.{_encoded(claims)}"
            public = self._key.as_pem(private=False)
            return f"{signed}.{_base64url(hmac.digest(public, signed.encode(), 'sha256'))}"
        return jwt.encode(header, claims, key, algorithms=[_ALGORITHM])

    def _wrong_claims(self, now_s: int) -> dict[str, Any]:
        wrong: dict[Mode, dict[str, Any]] = {
            Mode.WRONG_ISSUER: {"iss": f"{self.issuer}/"},
            Mode.WRONG_AUDIENCE: {"aud": "RP99999999"},
            Mode.WRONG_NONCE: {"nonce": secrets.token_urlsafe(24)},
            Mode.EXPIRED: {"exp": now_s - 3_600},
            Mode.FROM_THE_FUTURE: {"iat": now_s + 3_600, "exp": now_s + 7_200},
            Mode.OLD_AUTHENTICATION: {"auth_time": now_s - 86_400},
            Mode.LOW_LEVEL: {"acr": "aal1"},
        }
        return wrong.get(self.mode, {})

    def _header_and_key(self) -> tuple[dict[str, Any], ECKey]:
        header: dict[str, Any] = {"alg": _ALGORITHM, "typ": "JWT", "kid": self._key.thumbprint()}
        if self.mode is Mode.OTHER_KEY:
            return header, ECKey.generate_key("P-256")
        if self.mode is Mode.OWN_JWK:
            own = ECKey.generate_key("P-256")
            return {**header, "jwk": own.as_dict(private=False)}, own
        if self.mode is Mode.UNKNOWN_KID:
            return {**header, "kid": "nobodys"}, self._key
        return header, self._key

    async def _userinfo(self, request: Request) -> Response:
        await self._count("userinfo")
        _, _, token = request.headers.get("authorization", "").partition(" ")
        known = self._tokens.get(token)
        if known is None:
            return JSONResponse({"error": "invalid_token"}, 401)
        citizen, scope = known
        other = "hanako" if citizen == "taro" else "taro"
        told = other if self.mode is Mode.OTHER_PERSON else citizen
        claims: dict[str, Any] = {"sub": self.subject_of(told)}
        if "address" in scope.split():
            claims["address"] = dict(self.citizens[told].address)
        return JSONResponse(claims)

    def _public_jwk(self) -> dict[str, Any]:
        public = {**self._key.as_dict(private=False)}
        return {**public, "kid": self._key.thumbprint(), "use": "sig", "alg": _ALGORITHM}

    async def _count(self, what: str) -> None:
        self.calls[what] = self.calls.get(what, 0) + 1
        if self.mode is Mode.SLOW:
            await asyncio.sleep(self._slow_s)

    def _now_s(self) -> int:
        return self._clock() // MICROSECONDS


@asynccontextmanager
async def serve_fake(
    *,
    client_id: str,
    client_key: ECKey,
    redirect_urls: frozenset[str],
    port: int = 0,
    **options: Any,  # noqa: ANN401 - passed on
) -> AsyncIterator[FakeIdentityApp]:
    """Serve a provider on loopback, in this event loop, until the block ends.

    On ``port``, or on any free one when it is 0.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        issuer = f"http://{HOST}:{listener.getsockname()[1]}"
        provider = FakeIdentityApp(
            issuer=issuer,
            client_id=client_id,
            client_key=client_key,
            redirect_urls=redirect_urls,
            **options,
        )
        server = _Server(
            uvicorn.Config(
                provider.application,
                log_config=None,
                lifespan="off",
                timeout_graceful_shutdown=1,
            )
        )
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            async with asyncio.timeout(_STARTS_IN_S):
                while not server.started:  # noqa: ASYNC110 - it has no event to wait for
                    await asyncio.sleep(0.01)
            yield provider
        finally:
            server.should_exit = True
            await task


class _Server(uvicorn.Server):
    """A server that leaves signals to the process it is a guest of."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def _busy() -> Response:
    return JSONResponse({"error": "slow_down"}, 429, headers={"retry-after": "60"})


def _down() -> Response:
    return JSONResponse({"error": "server_error"}, 503)


def _garbled() -> Response:
    return Response(b"{", media_type="application/json")


def _endless() -> Response:
    return Response(b" " * 10_000_000, media_type="application/json")


_FAILURES: Final = {
    Mode.BUSY: _busy,
    Mode.DOWN: _down,
    Mode.GARBLED: _garbled,
    Mode.ENDLESS: _endless,
}


def _forget_oldest(kept: dict[str, Any]) -> None:
    if len(kept) >= WAITING_MAX:
        del kept[next(iter(kept))]


def _encoded(values: Mapping[str, Any]) -> str:
    return _base64url(msgspec.json.encode(values))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


_PROBLEM: Final = """<!doctype html><html lang="ja"><meta charset="utf-8">
<title>練習用の認証アプリ</title><h1>受け付けられません</h1>
<p>依頼に誤りがあります: <code>{problem}</code></p></html>
"""

_CHOICE: Final = """<!doctype html><html lang="ja"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>練習用の認証アプリ</title>
<style>body{{font:20px/1.8 system-ui,sans-serif;max-width:36rem;margin:2rem auto;padding:0 1rem}}
a{{display:inline-block;padding:.6rem 0}}</style>
<h1>練習用の認証アプリ</h1>
<p>これは 本物の デジタル認証アプリでは ありません。実在しない 人を 1人 選んでください。</p>
<ul>{links}</ul>
<p><a href="/auth?{cancel}">やめる</a></p>
</html>
"""
