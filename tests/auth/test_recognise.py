"""What a request says of its sender before any look-up, and what a signature makes of a challenge.

How phones are recognised inside a batch is tried where money moves, in
``tests/payments/test_by_phone.py``.
"""

from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from tests.factories.moments import NOW, NOW_US, PEPPER
from tests.soft_device import SoftDevice, SoftKey
from wallet.auth.authenticate import Caller
from wallet.auth.pass_challenge import FAILURES_MAX, Passed
from wallet.auth.recognise import Claim, read_claim, weigh_signature
from wallet.auth.rules import Acr, FactorClass, Method, StepUp, challenge_of, op_hash, show
from wallet.auth.tokens import TokenKind, make_token
from wallet.core.clock import MICROSECONDS
from wallet.core.refusals import Refusal

PATH: Final = "/app/v1/payments"
BODY: Final = b'{"amount":1}'
PHONE: Final = SoftDevice()
SALT: Final = bytes(16)
NUMBER: Final = "07"
CALLER: Final = Caller(
    principal_id=uuid4(),
    device_id=uuid4(),
    session_id=uuid4(),
    classes=tuple(show(Method.DEVICE_KEY, at_us=NOW_US)),
    app_version="1.0.0",
    cooling_until_us=None,
)


def token(kind: TokenKind = TokenKind.ACCESS) -> str:
    """Return a token of a session."""
    return make_token(kind, session_id=uuid4(), generation=1, salt=SALT, pepper=PEPPER)


def claim(**changes: Any) -> Claim | None:  # noqa: ANN401 - arguments of many types
    """Return what an honest phone's request says, or what the changes make of it."""
    access_token = changes.pop("access_token", token())
    headers = PHONE.headers("POST", PATH, access_token=access_token, now_us=NOW_US, body=BODY)
    arguments: dict[str, Any] = {
        "authorization": headers["authorization"],
        "proof": headers["dpop"],
        "method": "POST",
        "path": PATH,
        "body": BODY,
        "pepper": PEPPER,
        "now_us": NOW_US,
    }
    return read_claim(**{**arguments, **changes})


def test_an_honest_request_names_its_session_and_its_key() -> None:
    said = claim()
    assert said is not None
    assert said.proof.public_key == PHONE.key.public_key


UNTRUE: Final[dict[str, dict[str, Any]]] = {
    "no session": {"authorization": None},
    "no token": {"authorization": "DPoP"},
    "a token of another scheme": {"authorization": f"Bearer {token()}"},
    "a token that the proof is not of": {"authorization": f"DPoP {token()}"},
    "a refresh token": {"access_token": token(TokenKind.REFRESH)},
    "no token's form": {"access_token": "at_nothing"},
    "no proof": {"proof": None},
    "an empty proof": {"proof": ""},
    "no proof's form": {"proof": "a.b.c"},
    "another method": {"method": "GET"},
    "another address": {"path": f"{PATH}/"},
    "another body": {"body": BODY + b" "},
    "an hour old": {"now_us": NOW_US + 3_600 * MICROSECONDS},
    "an hour ahead": {"now_us": NOW_US - 3_600 * MICROSECONDS},
}


@pytest.mark.attack(12)
@pytest.mark.parametrize("why", UNTRUE)
def test_a_request_that_cannot_be_true_says_nothing(why: str) -> None:
    assert claim(**UNTRUE[why]) is None


def step_up(**changes: Any) -> StepUp:  # noqa: ANN401 - fields of many types
    """Return a challenge that waits for a PIN or a finger, with a number on a screen."""
    fields: dict[str, Any] = {
        "id": uuid4(),
        "principal_id": CALLER.principal_id,
        "op_hash": op_hash({"op": "payment"}),
        "expires_at": NOW + timedelta(seconds=120),
        "passed_at": None,
        "passed_acr": None,
        "consumed_by": None,
        "device_id": CALLER.device_id,
        "nonce": bytes(32),
        "required": (Acr.PIN,),
        "max_age_s": 300,
        "number_match": NUMBER,
        **changes,
    }
    return StepUp(**fields)


def weigh(asked: StepUp, **changes: Any) -> Passed | Refusal:  # noqa: ANN401 - as above
    """Weigh the right signature, or what the changes make of it."""
    challenge = challenge_of(nonce=asked.nonce, op_hash=asked.op_hash)
    arguments: dict[str, Any] = {
        "caller": CALLER,
        "verified_key": PHONE.verified_key.public_key,
        "signature": PHONE.sign_challenge(challenge),
        "number": NUMBER,
        "now_us": NOW_US,
    }
    return weigh_signature(asked, **{**arguments, **changes})


def test_a_finger_reaches_the_level_of_a_pin() -> None:
    asked = step_up()
    classes = (FactorClass.INHERENCE, FactorClass.POSSESSION)
    assert weigh(asked) == Passed(asked.id, Acr.PIN, classes)
    assert isinstance(weigh(step_up(number_match=None), number=None), Passed)


@pytest.mark.attack(19)
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"principal_id": UUID(int=1)}, "step_up_unknown"),
        ({"device_id": UUID(int=1)}, "step_up_unknown"),
        ({"passed_at": NOW}, "step_up_passed"),
        ({"failures": FAILURES_MAX}, "step_up_dead"),
        ({"expires_at": NOW}, "step_up_expired"),
        ({"required": (Acr.PHR,)}, "step_up_insufficient"),
    ],
)
def test_a_challenge_that_is_not_open_to_it_takes_no_signature(
    changes: dict[str, Any], code: str
) -> None:
    refusal = weigh(step_up(**changes))
    assert isinstance(refusal, Refusal)
    assert refusal.code == code


WRONG: Final[dict[str, dict[str, Any]]] = {
    "no signature": {"signature": b""},
    "a signature of nothing": {"signature": bytes(64)},
    "of another challenge": {"signature": PHONE.sign_challenge(b"another challenge")},
    "no second key": {"verified_key": None},
    "of another second key": {"verified_key": SoftKey().public_key},
    "of the first key": {"verified_key": PHONE.key.public_key},
    "no number": {"number": None},
    "another number": {"number": "08"},
    "other digits": {"number": "０７"},
}


@pytest.mark.attack(19)
@pytest.mark.parametrize("why", WRONG)
def test_a_wrong_signature_or_number_is_a_failure_and_which_is_not_told(why: str) -> None:
    refusal = Refusal("step_up_failed", {"tries_left": FAILURES_MAX - 1})
    assert weigh(step_up(), **WRONG[why]) == refusal
    last = replace(step_up(), failures=FAILURES_MAX - 1)
    assert weigh(last, **WRONG[why]) == Refusal("step_up_failed", {"tries_left": 0})
