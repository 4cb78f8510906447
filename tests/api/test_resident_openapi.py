"""The document of the app's doors: valid, whole, and true of the doors of money."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import jsonschema_rs
import pytest
import pytest_asyncio
import schemathesis

from tests.api.answers import problem_of
from tests.api.test_openapi import operations, validator
from tests.factories.approvals import ABOVE, code_of, make_rich
from tests.factories.city import City
from tests.factories.pockets import Pocket, open_pocket
from wallet.api.problems import MEDIA_TYPE
from wallet.api.resident_identity import PUBLIC
from wallet.api.resident_pay import PAY_PATH, RESPOND_PATH
from wallet.core.ids import public_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

Document = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pocket(city: City) -> AsyncIterator[Pocket]:
    """Yield the app's doors in the module's city."""
    async with open_pocket(city) as pocket:
        yield pocket


@pytest_asyncio.fixture(loop_scope="module")
async def document(pocket: Pocket) -> Document:
    """Return the document as the app's plane serves it."""
    response = await pocket.app.client.get("/openapi.json")
    served: Document = response.json()
    return served


async def test_the_document_is_valid_and_every_reference_leads_somewhere(
    document: Document,
) -> None:
    assert document["openapi"].startswith("3.1")
    schemathesis.openapi.from_dict(document).validate()
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    text = json.dumps(document)
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert {part.split('"')[0] for part in text.split('"$ref": "')[1:]} <= known
    for dialect in (r"\\Z", r"\\A", "(?P<", "HTTPValidationError", "wallet__"):
        assert dialect not in text


async def test_every_door_says_who_may_come_through_it(document: Document) -> None:
    for _, path, operation in operations(document):
        asked = {name for one in operation["security"] for name in one}
        if path == "/status":
            assert asked == set()
        else:
            assert asked == ({"proof"} if path in PUBLIC else {"proof", "session"}), path
        for status, response in operation["responses"].items():
            if not status.startswith("2") and "content" in response:
                assert response["content"].keys() == {MEDIA_TYPE}, path
    assert {PAY_PATH, RESPOND_PATH} <= document["paths"].keys()


def documented(document: Document, path: str) -> set[str]:
    """Return the statuses that a door may answer with."""
    return set(document["paths"][path]["post"]["responses"])


async def test_what_the_doors_of_money_answer_fits_their_schemas(
    document: Document, pocket: Pocket
) -> None:
    payer = await make_rich(pocket.city)
    receipt, problem = validator(document, "ReceiptBody"), validator(document, "Problem")
    for amount, status in ((1_000, 201), (ABOVE, 401), (999_999, 402)):
        answer = await pocket.pay(payer.phone, amount_yen=amount)
        assert answer.status_code == status, answer.text
        assert (receipt if status == 201 else problem).is_valid(answer.json())
        assert str(status) in documented(document, PAY_PATH)
    body = pocket.till.body(
        await code_of(pocket.city, payer), amount={"amount": ABOVE, "currency": "JPY"}
    )
    told = (await pocket.till.pay(body)).json()
    challenge = await pocket.challenge(payer.phone)
    wrong = await pocket.sign(payer.phone, challenge, number="x")
    problem_of(wrong, "request_invalid")
    right = await pocket.sign(payer.phone, challenge, number=told["step_up"]["number"])
    assert validator(document, "RespondedBody").is_valid(right.json()), right.text
    assert {str(wrong.status_code), str(right.status_code)} <= documented(document, RESPOND_PATH)


ANSWERS = [
    {"type": "pin", "pin": "274915"},
    {"type": "pin", "pin": "274915", "number": "07"},
    {"type": "pin", "pin": "274915", "number": "7"},
    {"type": "pin", "pin": "274915", "number": "07\n"},
    {"type": "pin", "pin": "2" * 17},
    {"type": "pin"},
    {"type": "totp", "code": "123456"},
    {"type": "verified_key", "signature": "A" * 86},
    {"type": "verified_key", "signature": "A" * 85},
    {"type": "passkey", "credential": {"id": "a"}},
    {"type": "passkey", "credential": "a"},
    {"type": "passed"},
    {"type": "passed", "number": "07"},
    {"type": "nothing"},
    {"pin": "274915"},
]


@pytest.mark.parametrize("body", ANSWERS, ids=json.dumps)
async def test_the_schema_and_the_door_agree_on_what_an_answer_may_be(
    document: Document, pocket: Pocket, body: dict[str, Any]
) -> None:
    payer = await make_rich(pocket.city)
    content = document["paths"][RESPOND_PATH]["post"]["requestBody"]["content"]
    schema = {**content["application/json"]["schema"], "components": document["components"]}
    challenge_id = public_id("chl", uuid4())
    answer = await pocket.app.call(
        payer.phone, "POST", RESPOND_PATH.format(challenge_id=challenge_id), body
    )
    valid = jsonschema_rs.Draft202012Validator(schema).is_valid(body)
    problem_of(answer, "step_up_unknown" if valid else "request_invalid")


@pytest.mark.asvs("v5.0.0-4.1.4")
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
async def test_the_doors_of_money_know_one_method(pocket: Pocket, method: str) -> None:
    for path in (PAY_PATH, RESPOND_PATH.format(challenge_id=public_id("chl", uuid4()))):
        answer = await pocket.app.client.request(method, path)
        problem_of(answer, "method_not_allowed")
        assert answer.headers["allow"] == "POST"
