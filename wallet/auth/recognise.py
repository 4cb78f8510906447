"""Recognise phones inside a batch of money: many requests at once, in one look-up.

What :func:`~wallet.auth.authenticate.authenticate` does for one request, in transactions of its
own, is done here in the transaction that moves the money. So a phone that was revoked a moment ago
moves none, and a payment by phone costs no transaction more than one by card.

Before the batch, :func:`read_claim` has seen that the proof is of this very request and signed by
the key that it names. The batch sees whose key that is.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from wallet.auth.authenticate import Caller, caller_from, is_current
from wallet.auth.pass_challenge import (
    FAILURES_MAX,
    Passed,
    check_open,
    has_number,
    reach_of,
)
from wallet.auth.proofs import (
    PROOF_REPLAYED,
    UNAUTHENTICATED,
    Proof,
    ProofRefusedError,
    is_signed,
    verify_proof,
)
from wallet.auth.rules import Method, StepUp, challenge_of, show
from wallet.auth.tokens import Token, TokenKind, parse_token
from wallet.core.refusals import Refusal

SESSIONS: Final = """
SELECT s.id, s.principal_id, s.device_id, s.salt, s.generation, s.rotated_at,
       s.authenticated::text, d.public_key, d.verified_key, d.app_version, d.cooling_until
FROM unnest($1::uuid[]) AS asked (id)
CROSS JOIN LATERAL (SELECT * FROM session WHERE session.id = asked.id OFFSET 0) AS s
JOIN device AS d ON d.id = ANY (ARRAY[s.device_id])
WHERE s.revoked_at IS NULL AND d.revoked_at IS NULL AND s.expires_at > $2
"""
"""The sessions that are open, of the ids ``$1`` at the moment ``$2``: for a batch that asks for
more in the same round trip. OFFSET 0 and ANY (ARRAY[…]) leave nothing but a look-up by key, as
everywhere on the money path."""

USED_PROOFS: Final = "SELECT jti_hash FROM used_proof WHERE jti_hash = ANY($3::bytea[])"
"""Those of the proofs ``$3`` that were used before."""

BURN: Final = """
swept AS (
    DELETE FROM used_proof WHERE jti_hash = ANY (ARRAY(
        SELECT jti_hash FROM used_proof WHERE expires_at < {now}
        ORDER BY expires_at LIMIT 2 * cardinality({hashes}::bytea[]) FOR UPDATE SKIP LOCKED))
), burnt_proofs AS (
    INSERT INTO used_proof (jti_hash, expires_at)
    SELECT * FROM unnest({hashes}::bytea[], {ends}::timestamptz[])
)
"""
"""Uses proofs up, beside whatever else a batch writes. Another process may have used one since the
batch looked; then this fails, and the batch runs again and finds it. Each row written takes two
away that are over, as everywhere."""

_SESSION_COLUMNS: Final = (
    *("id", "principal_id", "device_id", "salt", "generation", "rotated_at", "authenticated"),
    *("public_key", "verified_key", "app_version", "cooling_until"),
)
_SCHEME: Final = "dpop"
_decode_shown: Final = msgspec.json.Decoder(list[Any]).decode


class Claim(msgspec.Struct, frozen=True, gc=False):
    """Who a request says it is from; its proof holds for the key it names, whosever that is."""

    token: Token
    proof: Proof
    pepper: bytes


class Phones:
    """What a batch found of the phones that ask in it, and the proofs it has used up."""

    def __init__(self, sessions: Mapping[UUID, Mapping[str, Any]], used: Collection[bytes]) -> None:
        self._sessions = sessions
        self._used = set(used)
        self.newly_used: list[Proof] = []

    def recognise(self, claim: Claim, *, now_us: int) -> Caller | Refusal:
        """Return who a request comes from, and use its proof up; at most once for each request.

        Refuses as :func:`~wallet.auth.authenticate.authenticate` does.
        """
        row = self._sessions.get(claim.token.session_id)
        if (
            row is None
            or row["public_key"] != claim.proof.public_key
            or not is_current(row, claim.token, pepper=claim.pepper, now_us=now_us)
        ):
            return UNAUTHENTICATED
        if claim.proof.jti_hash in self._used:
            return PROOF_REPLAYED
        self._used.add(claim.proof.jti_hash)
        self.newly_used.append(claim.proof)
        return caller_from(row, show(Method.DEVICE_KEY, at_us=now_us), now_us)

    def named_by(self, claim: Claim) -> tuple[UUID | None, UUID | None]:
        """Return whose session and device a claim names, whether or not it holds."""
        row = self._sessions.get(claim.token.session_id)
        return (None, None) if row is None else (row["principal_id"], row["device_id"])

    def verified_key_of(self, caller: Caller) -> bytes | None:
        """Return the second key of the phone that asks, None when it has none."""
        row = self._sessions.get(caller.session_id)
        key: bytes | None = None if row is None else row["verified_key"]
        return key


NO_PHONES: Final = Phones({}, ())


def read_claim(
    *,
    authorization: str | None,
    proof: str | None,
    method: str,
    path: str,
    body: bytes,
    pepper: bytes,
    now_us: int,
) -> Claim | None:
    """Return what a request says of its sender, None when it cannot be true whoever it is.

    The arguments are as for :func:`~wallet.auth.authenticate.authenticate`.
    """
    scheme, _, credential = (authorization or "").partition(" ")
    token = parse_token(credential, kind=TokenKind.ACCESS)
    if token is None or scheme.lower() != _SCHEME or proof is None:
        return None
    try:
        verified = verify_proof(
            proof,
            method=method,
            url_path=path,
            public_key=None,
            access_token=credential,
            body=body,
            now_us=now_us,
        )
    except ProofRefusedError:
        return None
    return Claim(token, verified, pepper)


def session_from(row: Sequence[Any]) -> dict[str, Any]:
    """Return a session by the names of its columns; ``row`` is one of :data:`SESSIONS`."""
    session = dict(zip(_SESSION_COLUMNS, row, strict=True))
    session["authenticated"] = _decode_shown(session["authenticated"])
    return session


def weigh_signature(
    step_up: StepUp,
    *,
    caller: Caller,
    verified_key: bytes | None,
    signature: bytes,
    number: str | None,
    now_us: int,
) -> Passed | Refusal:
    """Return what a signature of the phone's second key makes of a challenge that is locked.

    Refuses as :func:`~wallet.auth.pass_challenge.pass_challenge` does; whoever is told
    ``step_up_failed`` must see one more failure written (:func:`~wallet.auth.step_up_storage
    .note_answers`).
    """
    refusal = check_open(step_up, caller, now_us)
    if refusal is not None:
        return refusal
    reach = reach_of(step_up, caller, Method.VERIFIED_KEY, now_us)
    if isinstance(reach, Refusal):
        return reach
    challenge = challenge_of(nonce=step_up.nonce, op_hash=step_up.op_hash)
    signed = verified_key is not None and is_signed(
        challenge, signature=signature, public_key=verified_key
    )
    if signed and has_number(step_up, number):
        return reach
    return Refusal("step_up_failed", {"tries_left": FAILURES_MAX - step_up.failures - 1})
