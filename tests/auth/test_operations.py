"""What a challenge is bound to, and whether one that was passed lets an operation through."""

import hashlib
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.factories.moments import NOW
from wallet.auth.proofs import base64url
from wallet.auth.rules import Acr, Requirement, StepUp, challenge_of, check_step_up, op_hash

OPERATION: dict[str, Any] = {
    "amount": 1200,
    "campaign": "shirasagi-2026",
    "currency": "JPY",
    "exp": 1767225600,
    "idempotency_key": "k-0001",
    "op": "payment",
    "payee": "mer_77",
    "payer": "wal_01",
}
HASH = "a1b6342d0b6a07fa09d3cd41c240036c7392d712b9bb8c87fbe06d3561593652"
CHALLENGE = "q7sm42J9QX67a0KuLy5G2XZq7PZKtE1715p2RvencpQ"

PRINCIPAL_ID = UUID(int=1)
PASSED = StepUp(
    id=UUID(int=2),
    principal_id=PRINCIPAL_ID,
    op_hash=op_hash(OPERATION),
    expires_at=NOW + timedelta(seconds=120),
    passed_at=NOW,
    passed_acr=Acr.PIN,
    consumed_by=None,
)
PIN = Requirement(require=(Acr.PIN,), max_age_s=300)


def test_the_known_operation_has_the_known_hash_and_challenge() -> None:
    assert op_hash(OPERATION).hex() == HASH
    challenge = challenge_of(nonce=bytes(range(32)), op_hash=op_hash(OPERATION))
    assert base64url(challenge) == CHALLENGE


def test_the_order_of_names_does_not_matter() -> None:
    assert op_hash(dict(reversed(OPERATION.items()))).hex() == HASH


@given(
    st.dictionaries(
        st.text(), st.text() | st.integers(-(2**54), 2**54) | st.booleans() | st.none(), max_size=8
    )
)
def test_whatever_an_operation_says_is_hashed_in_its_canonical_form(
    fields: dict[str, Any],
) -> None:
    try:
        canonical = rfc8785.dumps(fields)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - in whose words does not matter
            op_hash(fields)
    else:
        assert op_hash(fields) == hashlib.sha256(canonical).digest()


@pytest.mark.attack(20)
@pytest.mark.parametrize(
    "change",
    [
        {"amount": 1201},
        {"amount": "1200"},
        {"payee": "mer_78"},
        {"payer": "wal_02"},
        {"currency": "USD"},
        {"exp": 1767225601},
        {"idempotency_key": "k-0002"},
        {"campaign": None},
        {"tip": 0},
    ],
)
def test_whatever_is_changed_is_another_hash(change: dict[str, Any]) -> None:
    assert op_hash({**OPERATION, **change}).hex() != HASH


def test_another_nonce_is_another_challenge() -> None:
    challenges = {challenge_of(nonce=bytes([n] * 32), op_hash=bytes(32)) for n in range(9)}
    assert len(challenges) == 9


@pytest.mark.parametrize("amount", [2**53, -(2**53), float("nan"), object()])
def test_what_has_no_canonical_form_is_refused(amount: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        op_hash({"amount": amount})


def ask(
    step_up: StepUp | None = PASSED,
    *,
    requirement: Requirement = PIN,
    after_s: float = 1,
    **changes: Any,  # noqa: ANN401 - arguments of many types
) -> str | None:
    """Return the code of why a challenge lets nothing through, None when it does."""
    arguments = {"principal_id": PRINCIPAL_ID, "op_hash": op_hash(OPERATION), **changes}
    refusal = check_step_up(
        step_up, requirement=requirement, now=NOW + timedelta(seconds=after_s), **arguments
    )
    return None if refusal is None else refusal.code


def test_a_challenge_that_was_passed_lets_its_operation_through() -> None:
    assert ask() is None


@pytest.mark.attack(20)
def test_one_yen_more_is_another_operation() -> None:
    assert ask(op_hash=op_hash({**OPERATION, "amount": 1201})) == "step_up_mismatch"


def test_no_challenge_lets_nothing_through() -> None:
    assert ask(None) == "step_up_unknown"


def test_a_challenge_of_another_person_is_no_challenge() -> None:
    assert ask(principal_id=UUID(int=9)) == "step_up_unknown"


@pytest.mark.asvs("v5.0.0-2.3.1")
def test_a_challenge_nobody_passed_lets_nothing_through() -> None:
    assert ask(replace(PASSED, passed_at=None, passed_acr=None)) == "step_up_not_passed"


def test_a_challenge_that_was_used_lets_nothing_through_again() -> None:
    assert ask(replace(PASSED, consumed_by=UUID(int=3))) == "step_up_used"


@pytest.mark.parametrize(("after_s", "code"), [(119.9, None), (120, "step_up_expired")])
def test_a_challenge_ends_after_two_minutes(after_s: float, code: str | None) -> None:
    assert ask(after_s=after_s) == code


@pytest.mark.asvs("v5.0.0-10.3.4")
@pytest.mark.parametrize(("after_s", "code"), [(60, None), (60.1, "step_up_insufficient")])
def test_a_level_grows_old(after_s: float, code: str | None) -> None:
    short = Requirement(require=(Acr.PIN,), max_age_s=60)
    assert ask(after_s=after_s, requirement=short) == code


@pytest.mark.asvs("v5.0.0-10.3.4")
@pytest.mark.parametrize(
    ("acr", "require", "code"),
    [
        (Acr.PIN, [Acr.PIN], None),
        (Acr.PIN, [Acr.DEV], None),
        (Acr.PIN, [Acr.OTP, Acr.PIN], None),
        (Acr.PIN, [Acr.OTP], "step_up_insufficient"),
        (Acr.PIN, [Acr.PHR], "step_up_insufficient"),
        (Acr.PHR, [Acr.PIN], None),
        (Acr.JPKI, [Acr.PHR], None),
        (Acr.JPKI, [], "step_up_insufficient"),
    ],
)
def test_the_level_must_reach_what_is_required_now(
    acr: Acr, require: list[Acr], code: str | None
) -> None:
    requirement = Requirement(require=tuple(require), max_age_s=300)
    assert ask(replace(PASSED, passed_acr=acr), requirement=requirement) == code


@given(
    st.dictionaries(st.text(max_size=8), st.integers(-(2**53) + 1, 2**53 - 1), max_size=5),
    st.dictionaries(st.text(max_size=8), st.integers(-(2**53) + 1, 2**53 - 1), max_size=5),
)
def test_two_operations_have_one_hash_only_when_they_are_one(
    one: dict[str, int], other: dict[str, int]
) -> None:
    assert (op_hash(one) == op_hash(other)) == (one == other)
