"""Retries at the door: one key, one payment, one answer."""

import pytest

from tests.api.answers import is_replay, payment_of, problem_of
from tests.api.ways import body_of, pay_at
from tests.factories.merchants import make_merchant
from tests.factories.payments import change, engage, release
from tests.factories.tills import PAYMENTS, Till

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.attack(19)
async def test_a_repeat_is_answered_byte_for_byte_and_says_so(till: Till) -> None:
    body = await body_of(till)
    first = await till.pay(body, Idempotency_Key="repeat")
    second = await till.pay(body, Idempotency_Key="repeat")
    assert (is_replay(first), is_replay(second)) == (False, True)
    assert second.content == first.content
    assert second.status_code == first.status_code == 201
    assert second.headers["request-id"] != first.headers["request-id"]


async def test_a_key_is_the_same_quoted_and_bare(till: Till) -> None:
    body = await body_of(till)
    first = await till.pay(body, Idempotency_Key='"quoted"')
    second = await till.pay(body, Idempotency_Key="quoted")
    assert payment_of(first) == payment_of(second)
    assert is_replay(second)


@pytest.mark.parametrize(
    "key", ["a", "a" * 255, f'"{"a" * 254}b"', "!#$%&'()*+,-./:;<=>?@[]^_`{|}~"]
)
async def test_a_key_of_visible_characters_is_taken(till: Till, key: str) -> None:
    payment_of(await till.pay(await body_of(till), Idempotency_Key=key))


@pytest.mark.parametrize(
    "key",
    ["", '""', '"', '"""', "a" * 256, f'"{"a" * 256}"', '"open', 'shut"', 'in"side', "two words",
     "\t", "a\x7f", "caf\xe9", "鍵"],
)  # fmt: skip
async def test_any_other_key_is_refused(till: Till, key: str) -> None:
    headers = [
        (name.encode(), value.encode())
        for name, value in till.headers(Idempotency_Key=None).items()
    ]
    raw = key.encode("latin-1") if key.isascii() or "\xe9" in key else key.encode()
    response = await till.client.post(
        PAYMENTS, json=till.body("code_nobody"), headers=[*headers, (b"idempotency-key", raw)]
    )
    problem_of(response, "idempotency_key_invalid")


async def test_a_missing_key_is_never_made_up(till: Till) -> None:
    response = await till.pay(till.body("code_nobody"), Idempotency_Key=None)
    problem_of(response, "idempotency_key_missing")


@pytest.mark.asvs("v5.0.0-15.3.7")
async def test_two_keys_at_once_are_none(till: Till) -> None:
    headers = [*till.headers(Idempotency_Key="one").items(), ("Idempotency-Key", "two")]
    response = await till.client.post(PAYMENTS, json=till.body("code_nobody"), headers=headers)
    problem_of(response, "idempotency_key_invalid")


async def test_a_header_that_is_not_ours_may_come_twice(till: Till) -> None:
    headers = [*till.headers().items(), ("X-Forwarded-For", "a"), ("X-Forwarded-For", "b")]
    payment_of(await till.client.post(PAYMENTS, json=await body_of(till), headers=headers))


@pytest.mark.attack(20)
async def test_a_key_with_another_body_names_the_fields_and_the_payment(till: Till) -> None:
    body = await body_of(till)
    payment = payment_of(await till.pay(body, Idempotency_Key="other"))
    changed = {
        **body,
        "amount": {"amount": 999, "currency": "JPY"},
        "instrument": {"type": "card", "value": "card_nobody"},
    }
    told = problem_of(await till.pay(changed, Idempotency_Key="other"), "idempotency_conflict")
    assert told["different"] == ["/amount/amount", "/instrument/type", "/instrument/value"]
    assert told["payment_id"] == payment["id"]


async def test_the_merchants_id_with_a_new_key_and_the_same_body_is_the_same_payment(
    till: Till,
) -> None:
    body = await body_of(till)
    first = await till.pay(body)
    second = await till.pay(body)
    assert payment_of(second) == payment_of(first)
    assert is_replay(second)


async def test_the_merchants_id_with_a_new_key_and_another_body_is_a_conflict(till: Till) -> None:
    body = await body_of(till)
    payment = payment_of(await till.pay(body))
    later = {**await body_of(till), "merchant_payment_id": body["merchant_payment_id"]}
    told = problem_of(await till.pay(later), "idempotency_conflict")
    assert told["different"] == ["/instrument/value"]
    assert told["payment_id"] == payment["id"]


async def test_a_request_that_was_refused_leaves_its_key_free(till: Till) -> None:
    body = await body_of(till)
    wrong = {**body, "amount": {"amount": 0, "currency": "JPY"}}
    problem_of(await till.pay(wrong, Idempotency_Key="free"), "body_invalid")
    await engage(till.city, "pay")
    try:
        problem_of(await till.pay(body, Idempotency_Key="free"), "service_stopped")
    finally:
        await release(till.city, "pay")
    response = await till.pay(body, Idempotency_Key="free")
    assert not is_replay(response)
    payment_of(response)


async def test_a_repeat_succeeds_while_everything_is_stopped(till: Till) -> None:
    body = await body_of(till)
    first = await till.pay(body)
    await engage(till.city, "all")
    try:
        assert payment_of(await till.pay(body)) == payment_of(first)
    finally:
        await release(till.city, "all")


async def test_a_repeat_succeeds_after_the_merchant_was_suspended(till: Till) -> None:
    merchant = await make_merchant(till.city.engine, till.city.teller)
    first = await pay_at(till, merchant)
    await change(
        till.city, "UPDATE merchant SET state = 'suspended' WHERE id = :id", id=merchant.id
    )
    again = await till.client.post(
        PAYMENTS, content=first.request.content, headers=first.request.headers
    )
    assert payment_of(again) == payment_of(first)
    assert is_replay(again)
