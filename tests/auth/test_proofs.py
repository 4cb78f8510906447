"""Proofs: the honest one holds, and each way to bend one is refused for its own reason."""

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.moments import NOW_US
from tests.soft_device import ORIGIN, SoftDevice, SoftKey, digest
from wallet.auth.proofs import (
    PROOF_CHARACTERS_MAX,
    Proof,
    ProofFault,
    ProofRefusedError,
    base64url,
    decode_base64url,
    is_signed,
    key_named_by,
    load_key,
    thumbprint_of,
    verify_proof,
)
from wallet.core.clock import MICROSECONDS, to_datetime

PATH = "/app/v1/payments"
TOKEN = "at_token"
BODY = b'{"amount":1200}'

# RFC 9449 section 4.1 and, of the same key, the thumbprint in section 6.1.
RFC_PROOF = (
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNo"
    "UklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERW"
    "clUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh"
    "0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8"
    "v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
)
RFC_THUMBPRINT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
RFC_NOW_US = 1_562_262_616 * MICROSECONDS

PHONE = SoftDevice()


def verify(proof: str, **changes: Any) -> Proof:  # noqa: ANN401 - arguments of many types
    """Verify a proof as of a write with a session."""
    arguments: dict[str, Any] = {
        "method": "POST",
        "url_path": PATH,
        "public_key": PHONE.key.public_key,
        "access_token": TOKEN,
        "body": BODY,
        "now_us": NOW_US,
    }
    return verify_proof(proof, **{**arguments, **changes})


def prove(**changes: Any) -> str:  # noqa: ANN401 - as above
    """Return an honest phone's proof of that write, or what ``changes`` make of it."""
    arguments: dict[str, Any] = {"now_us": NOW_US, "access_token": TOKEN, "body": BODY, **changes}
    method, path = arguments.pop("method", "POST"), arguments.pop("path", PATH)
    return PHONE.proof(method, path, **arguments)


def fault_of(proof: str, **changes: Any) -> ProofFault:  # noqa: ANN401 - as above
    """Return why a proof is refused, or fail the test."""
    with pytest.raises(ProofRefusedError) as refused:
        verify(proof, **changes)
    assert refused.value.refusal.code == "unauthenticated"
    assert refused.value.refusal.facts == {}
    return refused.value.fault


@pytest.mark.asvs("v5.0.0-4.1.5")
def test_an_honest_proof_holds() -> None:
    proof = verify(prove())
    assert len(proof.jti_hash) == 32
    assert proof.expires_at == to_datetime(NOW_US + 120 * MICROSECONDS)


def test_the_proof_of_the_standard_holds_for_its_key_and_its_moment() -> None:
    key = key_named_by(RFC_PROOF)
    assert base64url(thumbprint_of(key)) == RFC_THUMBPRINT
    arguments: dict[str, Any] = {
        "url_path": "/token", "public_key": key, "access_token": None, "body": None
    }  # fmt: skip
    verify(RFC_PROOF, **arguments, now_us=RFC_NOW_US)
    assert fault_of(RFC_PROOF, **arguments) is ProofFault.MOMENT


@pytest.mark.attack(5)
@pytest.mark.asvs("v5.0.0-10.3.5")
def test_a_proof_by_another_key_is_refused() -> None:
    thief = SoftDevice()
    foreign = thief.proof("POST", PATH, now_us=NOW_US, access_token=TOKEN, body=BODY)
    assert fault_of(foreign) is ProofFault.KEY


@pytest.mark.attack(24)
def test_a_proof_that_names_the_right_key_and_is_signed_by_another_is_refused() -> None:
    assert fault_of(prove(signer=SoftKey())) is ProofFault.SIGNATURE


@pytest.mark.attack(24)
def test_a_key_swapped_in_after_signing_is_refused() -> None:
    _, claims, signature = prove().split(".")
    thief = {"typ": "dpop+jwt", "alg": "ES256", "jwk": SoftKey().jwk}
    swapped = f"{base64url(json.dumps(thief).encode())}.{claims}.{signature}"
    assert fault_of(swapped) is ProofFault.KEY


@pytest.mark.attack(24)
@pytest.mark.asvs("v5.0.0-9.1.1")
@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_proof_with_one_letter_changed_is_refused(part: int) -> None:
    parts = prove().split(".")
    middle = len(parts[part]) // 2
    other = "A" if parts[part][middle] != "A" else "B"
    parts[part] = f"{parts[part][:middle]}{other}{parts[part][middle + 1 :]}"
    fault_of(".".join(parts))


@pytest.mark.attack(24)
@pytest.mark.asvs("v5.0.0-9.1.2")
@pytest.mark.asvs("v5.0.0-11.6.1")
@pytest.mark.parametrize("alg", ["none", "None", "HS256", "RS256", "ES384", "ES256K", "EdDSA", ""])
def test_any_other_algorithm_is_refused(alg: str) -> None:
    assert fault_of(prove(header={"alg": alg})) is ProofFault.HEADER


@pytest.mark.attack(24)
def test_no_signature_at_all_is_refused() -> None:
    head, claims, _ = prove(header={"alg": "none"}).split(".")
    assert fault_of(f"{head}.{claims}.") is ProofFault.MALFORMED
    assert fault_of(f"{head}.{claims}") is ProofFault.MALFORMED


@pytest.mark.attack(24)
@pytest.mark.parametrize("alg", ["HS256", "ES256"])
def test_a_mac_under_the_public_key_is_no_signature(alg: str) -> None:
    head, claims, _ = prove(header={"alg": alg}).split(".")
    mac = hmac.digest(PHONE.key.public_key, f"{head}.{claims}".encode(), "sha256")
    fault = fault_of(f"{head}.{claims}.{base64url(mac + mac)}")
    assert fault is (ProofFault.HEADER if alg == "HS256" else ProofFault.SIGNATURE)


@pytest.mark.attack(24)
def test_a_proof_by_an_rsa_key_is_refused() -> None:
    private = rsa.generate_private_key(public_exponent=65_537, key_size=1_024)  # noqa: S505 - forged
    jwk = {"kty": "RSA", "n": "AQAB", "e": "AQAB"}
    head, claims, _ = prove(header={"alg": "RS256", "jwk": jwk}).split(".")
    signature = private.sign(f"{head}.{claims}".encode(), PKCS1v15(), SHA256())[:64]
    assert fault_of(f"{head}.{claims}.{base64url(signature)}") is ProofFault.HEADER


@pytest.mark.attack(24)
@pytest.mark.asvs("v5.0.0-9.1.3")
@pytest.mark.parametrize(
    "header",
    [
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/cert"},
        {"x5c": ["MIIB"]},
        {"kid": "0"},
        {"crit": ["exp"]},
        {"zip": "DEF"},
        {"jwk": None},
        {"typ": None},
        {"typ": "JWT"},
        {"typ": "at+jwt"},
        {"jwk": {**PHONE.key.jwk, "d": "AAAA"}},
        {"jwk": {**PHONE.key.jwk, "crv": "P-384"}},
        {"jwk": {**PHONE.key.jwk, "kty": "oct"}},
        {"jwk": {**PHONE.key.jwk, "x": "AAAA"}},
        {"jwk": {"kty": "EC", "crv": "P-256"}},
    ],
)
def test_a_header_that_says_more_or_less_is_refused(header: dict[str, Any]) -> None:
    assert fault_of(prove(header=header)) is ProofFault.HEADER


@pytest.mark.parametrize("method", ["GET", "PUT", "post", ""])
def test_a_proof_of_another_method_is_refused(method: str) -> None:
    assert fault_of(prove(method=method)) is ProofFault.METHOD


@pytest.mark.parametrize(
    "htu",
    [
        f"{ORIGIN}/app/v1/payment",
        f"{ORIGIN}{PATH}/",
        f"{ORIGIN}{PATH}?amount=1",
        f"{ORIGIN}{PATH}#x",
        f"{ORIGIN}/app/v1/./payments",
        f"{ORIGIN}/app/v1/%70ayments",
        f"{ORIGIN}/APP/v1/payments",
        PATH,
        f"file://{PATH}",
        f"https://{PATH}",
        "https://[",
        "",
    ],
)
def test_a_proof_of_another_path_is_refused(htu: str) -> None:
    assert urlsplit(f"{ORIGIN}{PATH}").path == PATH
    assert fault_of(prove(claims={"htu": htu})) is ProofFault.PATH


@pytest.mark.attack(19)
@pytest.mark.asvs("v5.0.0-9.2.1")
@pytest.mark.parametrize("seconds", [-60, 0, 60])
def test_a_clock_a_minute_off_is_forgiven(seconds: int) -> None:
    verify(prove(now_us=NOW_US + seconds * MICROSECONDS))


@pytest.mark.attack(19)
@pytest.mark.asvs("v5.0.0-9.2.1")
@pytest.mark.parametrize("seconds", [-86_400, -61, 61, 86_400])
def test_a_proof_from_the_past_or_the_future_is_refused(seconds: int) -> None:
    assert fault_of(prove(now_us=NOW_US + seconds * MICROSECONDS)) is ProofFault.MOMENT


@pytest.mark.attack(5)
@pytest.mark.parametrize("ath", [None, "", digest(b"at_another"), TOKEN, "\u3042"])
def test_a_proof_of_another_token_is_refused(ath: str | None) -> None:
    assert fault_of(prove(claims={"ath": ath})) is ProofFault.TOKEN


@pytest.mark.attack(20)
@pytest.mark.asvs("v5.0.0-4.1.5")
@pytest.mark.parametrize("bh", [None, "", digest(b'{"amount":1201}'), digest(b"")])
def test_a_write_whose_body_was_changed_is_refused(bh: str | None) -> None:
    assert fault_of(prove(claims={"bh": bh})) is ProofFault.BODY


def test_a_write_without_a_body_is_bound_to_having_none() -> None:
    verify(prove(body=b""), body=b"")
    assert fault_of(prove(body=b""), body=b"{}") is ProofFault.BODY
    assert fault_of(prove(body=None), body=b"") is ProofFault.BODY


def test_a_read_needs_no_hash_of_a_body() -> None:
    verify(prove(method="GET", body=None), method="GET", body=None)


@pytest.mark.parametrize(
    "claims",
    [
        {"jti": None},
        {"jti": "short"},
        {"jti": "x" * 129},
        {"jti": "has a space in it"},
        {"jti": "ひらがなのなまえをもつしょうめい"},
        {"jti": 12345678901234567},
        {"htm": None},
        {"htu": None},
        {"htu": ORIGIN + "/" + "x" * 1_024},
        {"iat": None},
        {"iat": "1764000000"},
        {"iat": -1},
        {"iat": 1e300},
        {"iat": True},
    ],
)
def test_claims_that_are_missing_or_of_another_type_are_refused(claims: dict[str, Any]) -> None:
    assert fault_of(prove(claims=claims)) is ProofFault.CLAIMS


def test_a_moment_with_a_fraction_is_a_moment() -> None:
    verify(prove(claims={"iat": NOW_US / MICROSECONDS}))


@pytest.mark.parametrize(
    "proof",
    ["", ".", "..", "a.b.c", "a.b", f"{'e30'}.e30.{'A' * 85}", f"e30.e30.{'A' * 87}",
     f"é.e30.{'A' * 86}", f"e30=.e30.{'A' * 86}", f" e30.e30.{'A' * 86}", "\x00" * 200],
)  # fmt: skip
def test_what_has_not_the_form_of_a_proof_is_refused(proof: str) -> None:
    assert fault_of(proof) is ProofFault.MALFORMED


def test_a_proof_that_is_too_long_is_refused_before_it_is_read() -> None:
    at_most = prove(claims={"pad": "x" * 1_000})
    assert len(at_most) <= PROOF_CHARACTERS_MAX
    verify(at_most)
    assert fault_of(prove(claims={"pad": "x" * 1_500})) is ProofFault.MALFORMED


def test_nothing_is_read_from_what_is_base64_of_no_json() -> None:
    assert fault_of(f"AAAA.AAAA.{'A' * 86}") is ProofFault.HEADER
    head, _, signature = prove().split(".")
    assert fault_of(f"{head}.AAAA.{signature}") is ProofFault.CLAIMS
    assert fault_of(f"{head}.AAAAA.{signature}") is ProofFault.CLAIMS


def test_one_proof_is_the_same_however_its_signature_is_written() -> None:
    # A second valid signature over the same words (n - s) must not make it a second proof.
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    head, claims, signature = prove().split(".")
    raw = decode_base64url(signature)
    mirrored = raw[:32] + (order - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    other = f"{head}.{claims}.{base64url(mirrored)}"
    assert verify(other).jti_hash == verify(f"{head}.{claims}.{signature}").jti_hash


def test_two_phones_that_choose_one_name_do_not_use_up_each_others_proofs() -> None:
    claims = {"jti": "the-same-name-for-both"}
    other = SoftDevice()
    theirs = other.proof("POST", PATH, now_us=NOW_US, access_token=TOKEN, body=BODY, claims=claims)
    hashes = {
        verify(prove(claims=claims)).jti_hash,
        verify(theirs, public_key=other.key.public_key).jti_hash,
    }
    assert len(hashes) == 2


@pytest.mark.parametrize(
    "signature", [b"", bytes(63), bytes(64), bytes(65), b"\xff" * 64, bytes(32) + b"\x01" * 32]
)
def test_what_is_no_signature_is_told_from_one(signature: bytes) -> None:
    assert not is_signed(b"message", signature=signature, public_key=PHONE.key.public_key)


@pytest.mark.parametrize(
    "public_key",
    [
        b"",
        bytes(65),
        b"\x04" + bytes(64),
        b"\x02" + PHONE.key.public_key[1:33],
        b"\x04" + b"x" * 64,
    ],
)
def test_what_is_no_point_on_the_curve_is_no_key(public_key: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        load_key(public_key)
    assert not is_signed(b"message", signature=b"\x01" * 64, public_key=public_key)


def test_a_thumbprint_is_of_the_canonical_form() -> None:
    jwk = PHONE.key.jwk
    canonical = json.dumps(dict(sorted(jwk.items())), separators=(",", ":"))
    assert thumbprint_of(PHONE.key.public_key) == hashlib.sha256(canonical.encode()).digest()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.attack(24)
@given(
    name=st.sampled_from(["typ", "alg", "jwk", "jti", "htm", "htu", "iat", "ath", "bh"]),
    value=json_values,
)
def test_no_value_of_any_claim_is_anything_but_refused(name: str, value: object) -> None:
    place = "header" if name in {"typ", "alg", "jwk"} else "claims"
    genuine = {"typ": "dpop+jwt", "alg": "ES256", "htm": "POST"}.get(name)
    if value == genuine or (name == "jti" and isinstance(value, str)):
        return
    fault_of(prove(**{place: {name: value}}))


@given(st.text(alphabet="AZaz09-_.", max_size=300))
def test_no_text_is_anything_but_refused(text: str) -> None:
    fault_of(text)
