"""Tokens and proofs of the wrong kind, at the doors: one answer to all of them."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.api.answers import problem_of
from tests.factories.apps import App
from tests.factories.offices import Counter
from tests.factories.phones import Phone
from tests.factories.residents import make_resident
from tests.soft_device import SoftKey
from wallet.auth.proofs import base64url

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH: Final = "/app/v1/me"


def jwt(header: dict[str, Any], claims: dict[str, Any], signature: bytes) -> str:
    """Return a JWT that says whatever it likes."""
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(map(base64url, parts))


def as_mac(proof: str, alg: str, key: bytes) -> str:
    """Return a proof with a MAC under the public key in the place of the signature."""
    head, claims, _ = proof.split(".")
    header = json.loads(base64.urlsafe_b64decode(head + "==")) | {"alg": alg}
    signed = f"{base64url(json.dumps(header).encode())}.{claims}"
    return f"{signed}.{base64url(hmac.digest(key, signed.encode(), hashlib.sha256))}"


Forge = Callable[[Phone, int], tuple[str, str | None]]
"""Makes the headers ``Authorization`` and ``DPoP`` of a request."""


def proved(phone: Phone, now_us: int, **changes: Any) -> tuple[str, str]:  # noqa: ANN401 - of many types
    """Return an honest request's headers, but for the changes to its proof."""
    token = phone.tokens.access_token
    proof = phone.soft.proof("GET", PATH, now_us=now_us, access_token=token, **changes)
    return f"DPoP {token}", proof


def bent(alg: str) -> Forge:
    """Return a forger that names another algorithm and leaves the signature as it is."""
    return lambda phone, now_us: proved(phone, now_us, header={"alg": alg})


def mac(phone: Phone, now_us: int) -> tuple[str, str]:
    """Sign with the public key, as a verifier that takes any algorithm would allow."""
    authorization, proof = proved(phone, now_us)
    return authorization, as_mac(proof, "HS256", phone.soft.key.public_key)


def unsigned(phone: Phone, now_us: int) -> tuple[str, str]:
    """Sign nothing."""
    authorization, proof = proved(phone, now_us, header={"alg": "none"})
    return authorization, proof.rpartition(".")[0] + "."


def own_key(phone: Phone, now_us: int) -> tuple[str, str]:
    """Sign with a key of one's own, and name it in the header."""
    key = SoftKey()
    return proved(phone, now_us, header={"jwk": key.jwk}, signer=key)


def self_made(phone: Phone, now_us: int) -> tuple[str, str]:
    """Bring a JWT of one's own as the token, with a proof that fits it."""
    claims = {"sub": phone.principal_id.hex, "acr": "jpki", "exp": now_us // 10**6 + 600}
    token = jwt({"alg": "none", "typ": "at+jwt"}, claims, b"")
    return f"DPoP {token}", phone.soft.proof("GET", PATH, now_us=now_us, access_token=token)


def refresh_token(phone: Phone, now_us: int) -> tuple[str, str]:
    """Bring the refresh token in the place of the access token."""
    token = phone.tokens.refresh_token
    return f"DPoP {token}", phone.soft.proof("GET", PATH, now_us=now_us, access_token=token)


FORGED: Final[dict[str, Forge]] = {
    "no algorithm": unsigned,
    "a MAC under the public key": mac,
    "a key of one's own": own_key,
    "a token of one's own": self_made,
    "a refresh token": refresh_token,
    "another signature's name": bent("RS256"),
    "an algorithm in other letters": bent("es256"),
    "another type": lambda phone, now_us: proved(phone, now_us, header={"typ": "JWT"}),
    "a token's type": lambda phone, now_us: proved(phone, now_us, header={"typ": "at+jwt"}),
    "a key by its name": lambda phone, now_us: proved(phone, now_us, header={"kid": "1"}),
    "a key from elsewhere": lambda phone, now_us: proved(
        phone, now_us, header={"jku": "https://evil.example/keys"}
    ),
    "a certificate": lambda phone, now_us: proved(
        phone, now_us, header={"x5u": "https://evil.example/x5u"}
    ),
    "something critical": lambda phone, now_us: proved(phone, now_us, header={"crit": ["exp"]}),
    "another method": lambda phone, now_us: proved(phone, now_us, claims={"htm": "POST"}),
    "another path": lambda phone, now_us: proved(
        phone, now_us, claims={"htu": "https://wallet.example.jp/app/v1/helpers"}
    ),
    "another token": lambda phone, now_us: proved(phone, now_us, claims={"ath": "A" * 43}),
    "an hour ago": lambda phone, now_us: proved(phone, now_us - 3_600 * 10**6),
    "an hour ahead": lambda phone, now_us: proved(phone, now_us + 3_600 * 10**6),
    "a bearer": lambda phone, _: (f"Bearer {phone.tokens.access_token}", None),
    "no proof": lambda phone, _: (f"DPoP {phone.tokens.access_token}", None),
}


@pytest.mark.attack(24)
@pytest.mark.asvs("v5.0.0-9.1.2")
@pytest.mark.asvs("v5.0.0-9.1.3")
@pytest.mark.asvs("v5.0.0-9.2.2")
async def test_every_confused_request_is_told_the_same(app: App) -> None:
    phone, told = (await make_resident(app.engine)).phone, set()
    for name, forge in FORGED.items():
        authorization, proof = forge(phone, app.clock())
        headers = {"authorization": authorization} | ({} if proof is None else {"dpop": proof})
        answer = await app.client.get(PATH, headers=headers)
        assert answer.status_code == 401, name
        body = problem_of(answer, "signed_out")
        names = [body.pop("instance"), body.pop("support_code")]
        assert all(names)
        told.add((str(body), answer.headers["www-authenticate"]))
    assert len(told) == 1
    assert (await app.call(phone, "GET", PATH)).status_code == 200


@pytest.mark.attack(24)
@pytest.mark.asvs("v5.0.0-9.2.2")
async def test_at_the_doors_of_staff_nothing_but_their_own_token_counts(
    app: App, counter: Counter
) -> None:
    desk, phone = await counter.seat("auditor"), (await make_resident(app.engine)).phone
    claims = {"sub": desk.staff_id, "roles": ["chief"], "exp": 4_000_000_000}
    tokens = {
        "a JWT without a signature": jwt({"alg": "none", "typ": "JWT"}, claims, b""),
        "a JWT with some signature": jwt({"alg": "HS256", "typ": "JWT"}, claims, b"s" * 32),
        "their refresh token": desk.tokens["refresh_token"],
        "a resident's token": phone.tokens.access_token,
        "a shop's key": f"sk_test_{'a' * 32}",
        "a session's name": desk.tokens["access_token"].rpartition("_")[0] + "_",
    }
    for name, token in tokens.items():
        answer = await counter.client.get(
            "/office/v1/me", headers={"authorization": f"Bearer {token}"}
        )
        problem_of(answer, "sign_in_required")
        assert answer.status_code == 401, name
    assert (await desk.get("/office/v1/me")).status_code == 200
