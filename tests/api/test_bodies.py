"""What a body may and may not be; nothing that is not understood to the letter moves money."""

import asyncio
import json
from typing import Any

import pytest

from tests.api.answers import payment_of, problem_of
from tests.api.ways import body_of
from tests.factories.payments import make_payer
from tests.factories.tills import PAYMENTS, Till
from tests.factories.vouchers import purses_of
from wallet.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

BYTES_MAX = Settings().body_bytes_max
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def written(till: Till, **changes: Any) -> str:  # noqa: ANN401 - JSON
    """Return a body as text, for what no JSON library would write."""
    return json.dumps(till.body("code_nobody", **changes), ensure_ascii=False)


def errors_of(body: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the pointers of what is wrong, with what is said of it."""
    return [(one["pointer"], one["detail"]) for one in body["errors"]]


@pytest.mark.asvs("v5.0.0-1.4.2")
@pytest.mark.asvs("v5.0.0-2.2.1")
@pytest.mark.asvs("v5.0.0-15.3.5")
@pytest.mark.parametrize(
    ("number", "detail"),
    [
        ("1200.0", "Expected `int`, got `float`"),
        ("1e3", "Expected `int`, got `float`"),
        ("0.1", "Expected `int`, got `float`"),
        ("1E400", "Number out of range"),
        ("0", "Expected `int` >= 1"),
        ("-0", "Expected `int` >= 1"),
        ("-1", "Expected `int` >= 1"),
        ("1000001", "Expected `int` <= 1000000"),
        (str(2**63), "Expected `int` <= 1000000"),
        (str(2**64 + 1_000), "Expected `int` <= 1000000"),
        (str(-(2**63) - 1), "Expected `int` >= 1"),
        (str(10**400), "Expected `int` <= 1000000"),
        ('"1200"', "Expected `int`, got `str`"),
        ("true", "Expected `int`, got `bool`"),
        ("null", "Expected `int`, got `null`"),
        ("[1200]", "Expected `int`, got `array`"),
        ('{"amount": 1200}', "Expected `int`, got `object`"),
    ],
)
async def test_an_amount_is_a_whole_number_of_yen_within_bounds(
    till: Till, number: str, detail: str
) -> None:
    text = written(till).replace('"amount": 1000', f'"amount": {number}')
    body = problem_of(await till.send(text.encode()), "body_invalid")
    assert errors_of(body) == [("/amount/amount", detail)]


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "01", "+1", "1_000", ".5", "1."]
)
async def test_a_number_that_json_does_not_know_is_malformed(till: Till, number: str) -> None:
    text = written(till).replace('"amount": 1000', f'"amount": {number}')
    problem_of(await till.send(text.encode()), "body_malformed")


async def test_an_amount_at_the_very_bounds_is_taken(till: Till) -> None:
    for amount_yen in (1, 1_000_000):
        body = till.body("code_nobody", amount={"amount": amount_yen, "currency": "JPY"})
        problem_of(await till.pay(body), "code_unknown")


INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown field": ({"tip": 1}, "/tip"),
    "an unknown field with a slash": ({"a/b~c": 1}, "/a~1b~0c"),
    "an unknown field inside": (
        {"amount": {"amount": 1, "currency": "JPY", "x": 1}},
        "/amount/x",
    ),
    "no currency": ({"amount": {"amount": 1}}, "/amount/currency"),
    "another currency": ({"amount": {"amount": 1, "currency": "USD"}}, "/amount/currency"),
    "small letters": ({"amount": {"amount": 1, "currency": "jpy"}}, "/amount/currency"),
    "a bare amount": ({"amount": 1_000}, "/amount"),
    "a list of amounts": ({"amount": [{"amount": 1, "currency": "JPY"}]}, "/amount"),
    "no instrument": ({"instrument": None}, "/instrument"),
    "an unknown instrument": ({"instrument": {"type": "cash", "value": "1"}}, "/instrument/type"),
    "an empty card": ({"instrument": {"type": "card", "value": ""}}, "/instrument/value"),
    "a card of 129": ({"instrument": {"type": "card", "value": "a" * 129}}, "/instrument/value"),
    "a card that is a number": ({"instrument": {"type": "card", "value": 1}}, "/instrument/value"),
    "an empty id": ({"merchant_payment_id": ""}, "/merchant_payment_id"),
    "an id of 65": ({"merchant_payment_id": "a" * 65}, "/merchant_payment_id"),
    "an id with a space": ({"merchant_payment_id": "a b"}, "/merchant_payment_id"),
    "an id with a line break": ({"merchant_payment_id": "a\n"}, "/merchant_payment_id"),
    "an id in other letters": ({"merchant_payment_id": "注文1"}, "/merchant_payment_id"),
    "digits of another script": ({"merchant_payment_id": "１２"}, "/merchant_payment_id"),
    "a terminal of nobody's": ({"terminal_id": "till 1"}, "/terminal_id"),
    "a shop for a terminal": ({"terminal_id": f"shp_{'0' * 32}"}, "/terminal_id"),
    "a terminal in capitals": ({"terminal_id": f"ter_{'A' * 32}"}, "/terminal_id"),
    "a terminal with a line break": ({"terminal_id": f"ter_{'0' * 32}\n"}, "/terminal_id"),
    "a long description": ({"order_description": "あ" * 201}, "/order_description"),
    "a line break": ({"order_description": "a\nb"}, "/order_description"),
    "a line break at the end": ({"order_description": "a\n"}, "/order_description"),
    "another line break": ({"order_description": "a\u2028b"}, "/order_description"),
    "a zero byte": ({"order_description": "a\0"}, "/order_description"),
    "an escape": ({"order_description": "\x1b[2J"}, "/order_description"),
    "a description that is a number": ({"order_description": 1}, "/order_description"),
}  # fmt: skip


@pytest.mark.attack(26)
@pytest.mark.asvs("v5.0.0-1.3.3")
@pytest.mark.asvs("v5.0.0-2.2.1")
@pytest.mark.asvs("v5.0.0-15.3.3")
@pytest.mark.parametrize("name", INVALID)
async def test_a_field_that_is_wrong_is_named(till: Till, name: str) -> None:
    changes, pointer = INVALID[name]
    body = problem_of(await till.pay(till.body("code_nobody", **changes)), "body_invalid")
    assert [one["pointer"] for one in body["errors"]] == [pointer]
    assert body["errors"][0]["code"] == "invalid"


@pytest.mark.parametrize("name", ["merchant_payment_id", "amount", "instrument", "terminal_id"])
async def test_a_field_that_is_missing_is_named(till: Till, name: str) -> None:
    whole = till.body("code_nobody")
    body = problem_of(await till.pay({k: v for k, v in whole.items() if k != name}), "body_invalid")
    assert errors_of(body) == [(f"/{name}", f"Object missing required field `{name}`")]


@pytest.mark.parametrize("description", [None, "", "あ" * 200, "🥕 " * 100, "野菜・果物"])
async def test_a_description_of_one_line_is_taken_as_it_is(
    till: Till, description: str | None
) -> None:
    body = await body_of(till)
    payment = payment_of(await till.pay({**body, "order_description": description}))
    assert payment["order_description"] == description


MALFORMED = {
    "nothing": b"",
    "spaces": b" \r\n\t",
    "half of it": b'{"merchant_payment_id": "a", ',
    "a form": b"merchant_payment_id=a&amount=1000",
    "a comment": b"/* a */ {}",
    "single quotes": b"{'a': 1}",
    "a last comma": b'{"merchant_payment_id": "a",}',
    "no UTF-8": b'{"merchant_payment_id": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "half of a pair": b'{"merchant_payment_id": "\\ud800"}',
    "a byte order mark": BYTE_ORDER_MARK + b'{"a": 1}',
    "a raw control character": b'{"merchant_payment_id": "\n"}',
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_is_not_json_is_malformed(till: Till, name: str) -> None:
    problem_of(await till.send(MALFORMED[name]), "body_malformed")


@pytest.mark.parametrize("rest", ["x", "{}", ",", "\0", "]", "//"])
async def test_nothing_may_follow_the_object(till: Till, rest: str) -> None:
    problem_of(await till.send(f"{written(till)} {rest}".encode()), "body_malformed")


@pytest.mark.parametrize("text", ["[]", "null", "true", "1", '"pay"', "[" * 8_000 + "]" * 8_000])
async def test_json_that_is_no_object_is_invalid(till: Till, text: str) -> None:
    body = problem_of(await till.send(text.encode()), "body_invalid")
    assert [one["pointer"] for one in body["errors"]] == [""]


@pytest.mark.asvs("v5.0.0-1.5.2")
async def test_nesting_without_end_does_no_harm(till: Till) -> None:
    depth = BYTES_MAX // 12
    text = '{"amount": ' * 2 + "[" * depth + "]" * depth + "}" * 2
    problem_of(await till.send(text.encode()), "body_invalid")
    unknown = '{"x":' + "[" * depth + "]" * depth + "}"
    problem_of(await till.send(unknown.encode()), "body_invalid")


@pytest.mark.asvs("v5.0.0-15.3.7")
async def test_of_two_fields_of_one_name_the_last_counts_in_everything(till: Till) -> None:
    # JSON leaves it open (RFC 8259 section 4); what counts is that all of us read it the same.
    whole = await body_of(till)
    text = json.dumps(whole).replace('"amount": 1000', '"amount": 1, "amount": 1000')
    response = await till.send(text.encode(), Idempotency_Key="twice")
    assert payment_of(response)["amount"] == {"amount": 1_000, "currency": "JPY"}
    payment_of(await till.pay(whole, Idempotency_Key="twice"))


async def test_order_and_white_space_of_the_fields_change_nothing(till: Till) -> None:
    whole = await body_of(till)
    first = payment_of(await till.pay(whole, Idempotency_Key="spaced"))
    mixed = json.dumps(dict(reversed(whole.items())), indent=4, ensure_ascii=True)
    assert payment_of(await till.send(mixed.encode(), Idempotency_Key="spaced")) == first


async def test_no_description_and_a_null_are_the_same_request(till: Till) -> None:
    whole = await body_of(till)
    first = payment_of(await till.pay(whole))
    again = payment_of(await till.pay({**whole, "order_description": None}))
    assert again == first


async def test_a_body_may_be_as_large_as_allowed_and_no_larger(till: Till) -> None:
    text = json.dumps(await body_of(till))
    problem_of(await till.send(text.ljust(BYTES_MAX + 1).encode()), "body_too_large")
    payment_of(await till.send(text.ljust(BYTES_MAX).encode()))


@pytest.mark.asvs("v5.0.0-15.2.2")
async def test_a_large_body_is_refused_before_all_of_it_has_come(till: Till) -> None:
    taken = 0

    async def endless() -> Any:  # noqa: ANN401 - an iterator of bytes
        nonlocal taken
        while True:
            taken += 1_000
            yield b" " * 1_000

    response = await till.client.post(PAYMENTS, content=endless(), headers=till.headers())
    body = problem_of(response, "body_too_large")
    assert body["bytes_max"] == BYTES_MAX
    assert taken <= BYTES_MAX + 2_000


async def test_a_body_in_pieces_is_read_whole(till: Till) -> None:
    text = json.dumps(await body_of(till)).encode()

    async def pieces() -> Any:  # noqa: ANN401 - an iterator of bytes
        for start in range(0, len(text), 7):
            await asyncio.sleep(0)
            yield text[start : start + 7]

    payment_of(await till.client.post(PAYMENTS, content=pieces(), headers=till.headers()))


@pytest.mark.asvs("v5.0.0-15.2.2")
async def test_a_body_that_never_ends_is_not_waited_for(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wallet.api.hot_door.BODY_TIMEOUT_S", 0.05)

    async def stalled() -> Any:  # noqa: ANN401 - an iterator of bytes
        yield b"{"
        await asyncio.Event().wait()

    response = await till.client.post(PAYMENTS, content=stalled(), headers=till.headers())
    problem_of(response, "body_too_slow")


async def test_who_hangs_up_before_the_end_of_the_body_pays_nothing(till: Till) -> None:
    wallet_id = await make_payer(till.city)
    (code,) = await till.city.codes(wallet_id=wallet_id)
    text = json.dumps(till.body(code)).encode()
    arriving = [
        {"type": "http.request", "body": text, "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent = []

    async def receive() -> Any:  # noqa: ANN401 - an ASGI message
        return arriving.pop(0)

    async def send(message: Any) -> None:  # noqa: ANN401 - an ASGI message
        sent.append(message)

    headers = [(k.lower().encode(), v.encode()) for k, v in till.headers().items()]
    scope = {"type": "http", "method": "POST", "path": PAYMENTS, "headers": headers}
    await till.plane(scope, receive, send)
    assert sent[0]["status"] == 400
    assert await purses_of(till.city.engine, wallet_id) == {"coin free": 10_000}


@pytest.mark.asvs("v5.0.0-3.5.2")
@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/jsonp", "application/problem+json", "json"],
)
async def test_only_json_is_taken(till: Till, content_type: str | None) -> None:
    text = written(till)
    problem_of(await till.send(text.encode(), Content_Type=content_type), "media_type_unsupported")


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "Application/JSON ;charset=UTF-8"],
)
async def test_json_by_any_of_its_spellings_is_taken(till: Till, content_type: str) -> None:
    text = json.dumps(await body_of(till))
    payment_of(await till.send(text.encode(), Content_Type=content_type))
