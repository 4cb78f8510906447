"""What one device proof costs: the CPU time of verifying a write's, each proof seen once.

The proofs are made by joserfc, which shares no code with what is measured.
"""

import base64
import hashlib
import json
import secrets
import time
from typing import Any, Final

from joserfc import jws
from joserfc.jwk import ECKey

from wallet.auth.proofs import key_named_by, verify_proof
from wallet.core.clock import MICROSECONDS, system_clock

PROOFS: Final = 2_000
TARGET_MS: Final = 0.15

METHOD: Final = "POST"
PATH: Final = "/app/v1/payments"
ACCESS_TOKEN: Final = f"at_{'0' * 32}_1_{'A' * 43}"
BODY: Final = b'{"amount":{"amount":1200,"currency":"JPY"},"shop_id":"shp_0193"}'


def measure_proof_ms(*, count: int = PROOFS) -> float:
    """Return the milliseconds of CPU that verifying a proof takes, the mean over ``count``."""
    key = ECKey.generate_key("P-256")
    now_us = system_clock()
    proofs = [
        make_proof(key, path=PATH, body=BODY, access_token=ACCESS_TOKEN, now_us=now_us)
        for _ in range(count)
    ]
    public_key = key_named_by(proofs[0])
    started_at = time.process_time()
    for proof in proofs:
        verify_proof(
            proof,
            method=METHOD,
            url_path=PATH,
            public_key=public_key,
            access_token=ACCESS_TOKEN,
            body=BODY,
            now_us=now_us,
        )
    return (time.process_time() - started_at) / count * 1_000


def make_proof(key: ECKey, *, path: str, body: bytes, access_token: str | None, now_us: int) -> str:
    """Return the proof of one POST, as a phone that is no part of the product would make it."""
    header: dict[str, Any] = {"typ": "dpop+jwt", "alg": "ES256"}
    public = key.as_dict(private=False)
    header["jwk"] = {name: public[name] for name in ("kty", "crv", "x", "y")}
    claims = {
        "jti": secrets.token_urlsafe(16),
        "htm": METHOD,
        "htu": f"https://wallet.example.jp{path}",
        "iat": now_us // MICROSECONDS,
        "bh": _digest(body),
    }
    if access_token is not None:
        claims["ath"] = _digest(access_token.encode())
    registry = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
    return jws.serialize_compact(header, json.dumps(claims).encode(), key, registry=registry)


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


if __name__ == "__main__":
    print(f"{measure_proof_ms():.3f} ms of CPU per proof (target {TARGET_MS})")
