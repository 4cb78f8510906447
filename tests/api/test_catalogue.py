"""The catalogue of problems: every code has a status and words that suit it."""

import re
from string import Formatter
from uuid import uuid4

import msgspec
import pytest

from tests.api import (
    benefit_codes,
    campaign_codes,
    card_codes,
    coupon_codes,
    people_codes,
    points_codes,
    programme_codes,
    purse_codes,
    receipt_codes,
    staff_codes,
)
from tests.api.answers import JAPANESE, MEMBERS, SUPPORT_CODE, assert_words
from tests.api.ways import ELSEWHERE, WAYS
from wallet.api.catalogue import CATALOGUE, DECLINES, NextAction, Problem
from wallet.api.problems import ProblemError, example_words, render, support_code
from wallet.core.refusals import Refusal

CODES = sorted(CATALOGUE)
REQUEST_ID = "req_01a210a553807000b9d93a4bbe3c1f07"

FACTS = {
    "available_yen": 1_234,
    "missing_yen": 5,
    "limit_yen": 3_000,
    "left_yen": 0,
    "bytes_max": 9,
}

# What each code is answered with, and so what a client may rely on.
STATUSES = {
    400: {"body_malformed", "idempotency_key_invalid", "idempotency_key_missing"},
    401: {"unauthenticated"},
    402: {
        "balance_insufficient",
        "card_unknown",
        "code_unknown",
        "confirmation_expired",
        "confirmation_failed",
        "confirmation_unavailable",
        "counter_only",
        "limit_cooling_off",
        "limit_daily",
        "limit_payment",
        "merchant_not_eligible",
        "outside_period",
        "payment_not_allowed",
    },
    403: {"key_wrong_mode", "merchant_suspended"},
    404: {"error_unknown", "not_found", "payment_unknown", "terminal_unknown"},
    405: {"method_not_allowed"},
    408: {"body_too_slow"},
    409: {"code_used"},
    410: {"code_expired"},
    413: {"body_too_large"},
    415: {"media_type_unsupported"},
    422: {"body_invalid", "idempotency_conflict", "parameter_invalid"},
    423: {"card_blocked", "service_stopped", "wallet_frozen"},
    500: {"internal_error"},
    503: {"overloaded", "result_unknown", "unavailable"},
}


def blanks_of(problem: Problem) -> set[str]:
    """Return the names of the facts that a problem's words need."""
    texts = (problem.headline, problem.body, problem.easy, problem.clerk)
    return {name for text in texts for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("code", CODES)
def test_every_message_can_be_said_with_its_facts(code: str) -> None:
    rendered = render(Refusal(code, FACTS), request_id=REQUEST_ID)
    body = msgspec.json.decode(rendered.body)
    assert body.keys() >= MEMBERS
    assert_words(body)
    assert rendered.status == body["status"] == CATALOGUE[code].status


@pytest.mark.parametrize("code", CODES)
def test_every_message_can_be_shown_as_an_example(code: str) -> None:
    assert_words(example_words(CATALOGUE[code]))


def test_a_code_keeps_the_status_it_once_had() -> None:
    statuses: dict[int, set[str]] = {}
    for problem in CATALOGUE.values():
        statuses.setdefault(problem.status, set()).add(problem.code)
    expected: dict[int, set[str]] = {}
    for part in (
        STATUSES,
        people_codes.STATUSES,
        points_codes.STATUSES,
        staff_codes.STATUSES,
        programme_codes.STATUSES,
        receipt_codes.STATUSES,
        purse_codes.STATUSES,
        benefit_codes.STATUSES,
        card_codes.STATUSES,
        coupon_codes.STATUSES,
        campaign_codes.STATUSES,
    ):
        for status, codes in part.items():
            expected.setdefault(status, set()).update(codes)
    assert statuses == expected


@pytest.mark.parametrize("code", CODES)
def test_who_may_retry_is_told_to(code: str) -> None:
    problem = CATALOGUE[code]
    told = {NextAction.RETRY_SAME_KEY, NextAction.WAIT}
    assert problem.retryable == (problem.next_action in told)
    # Only a problem of ours, or a request that never arrived, is worth the same request again.
    worth_it = problem.status >= 500 or problem.status == 408
    assert worth_it == (problem.next_action is NextAction.RETRY_SAME_KEY)
    if problem.status == 503:
        assert problem.retry_after_s is not None


@pytest.mark.parametrize("code", CODES)
def test_who_must_call_is_told_where(code: str) -> None:
    problem = CATALOGUE[code]
    if problem.next_action is NextAction.CALL_SUPPORT:
        assert "{phone}" in problem.body + problem.clerk


@pytest.mark.parametrize("code", CODES)
def test_easy_japanese_has_short_sentences_and_spaces_between_words(code: str) -> None:
    easy = example_words(CATALOGUE[code])["user_message"]["easy"]
    parts = re.sub(r"\([ぁ-ん]+\)", "", easy).split("。")
    sentences = [part for part in parts if JAPANESE.search(part)]
    assert all(len(sentence.replace(" ", "")) <= 20 for sentence in sentences), easy
    assert all(" " in sentence for sentence in sentences), easy


@pytest.mark.parametrize("code", CODES)
def test_no_message_shows_a_bare_code_or_blames(code: str) -> None:
    words = example_words(CATALOGUE[code])
    told = " ".join([*words["user_message"].values(), words["clerk_message"]])
    assert code not in told
    assert "エラーが発生しました" not in told


@pytest.mark.asvs("v5.0.0-1.3.10")
def test_only_amounts_and_the_phone_fill_in_the_words() -> None:
    assert {name for one in CATALOGUE.values() for name in blanks_of(one)} <= {*FACTS, "phone"}


@pytest.mark.parametrize("code", sorted(DECLINES))
def test_a_declined_payment_says_that_the_money_is_safe_or_where_to_ask(code: str) -> None:
    body = CATALOGUE[code].body
    assert "お金は減っていません" in body or "残高はそのまま" in body


def test_a_code_that_is_not_in_the_catalogue_cannot_be_told() -> None:
    with pytest.raises(KeyError):
        render(Refusal("unheard_of"), request_id=REQUEST_ID)


def test_facts_are_members_and_ids_have_the_form_they_have_outside() -> None:
    payment_id = uuid4()
    facts = {"different": ["/amount/amount"], "payment_id": payment_id}
    rendered = render(Refusal("idempotency_conflict", facts), request_id=REQUEST_ID)
    body = msgspec.json.decode(rendered.body)
    assert body["payment_id"] == f"pay_{payment_id.hex}"
    assert body["different"] == ["/amount/amount"]


def test_there_is_a_way_to_every_code_or_a_reason_why_not() -> None:
    assert WAYS.keys() | ELSEWHERE.keys() == CATALOGUE.keys()
    assert not WAYS.keys() & ELSEWHERE.keys()


def test_a_problem_that_waits_says_how_long() -> None:
    rendered = render(Refusal("overloaded"), request_id=REQUEST_ID)
    assert (b"retry-after", b"1") in rendered.headers


def test_who_is_not_known_is_told_how_to_authenticate() -> None:
    rendered = render(Refusal("unauthenticated"), request_id=REQUEST_ID)
    assert (b"www-authenticate", b'Bearer realm="wallet"') in rendered.headers


def test_a_support_code_is_speakable_and_of_its_request() -> None:
    codes = {support_code(f"req_{'0' * 24}{number:08x}") for number in range(0, 2**30, 999_983)}
    assert len(codes) == len(range(0, 2**30, 999_983))
    assert all(SUPPORT_CODE.fullmatch(code) for code in codes)
    assert support_code(REQUEST_ID) == support_code(REQUEST_ID)


def test_an_error_carries_its_refusal_to_the_door() -> None:
    error = ProblemError("body_too_large", bytes_max=9)
    assert error.refusal == Refusal("body_too_large", {"bytes_max": 9})
    assert str(error) == "body_too_large"
