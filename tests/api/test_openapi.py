"""The API's own document: valid, whole, and true."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import pytest_asyncio
import schemathesis

from tests.api import benefit_codes, card_codes, people_codes, purse_codes, staff_codes
from tests.api.answers import payment_of, problem_of
from tests.api.ways import WAYS, body_of
from tests.factories.tills import PAYMENTS, Till
from wallet.api.catalogue import CATALOGUE, DECLINES
from wallet.api.problems import MEDIA_TYPE

pytestmark = pytest.mark.asyncio(loop_scope="module")

Document = dict[str, Any]

STATUS = "/status"
OPERATIONS = {
    ("post", PAYMENTS): "create_payment",
    ("get", PAYMENTS): "list_payments",
    ("get", f"{PAYMENTS}/{{payment_id}}"): "get_payment",
    ("get", f"{PAYMENTS}/by-merchant-id/{{merchant_payment_id}}"): "get_payment_by_merchant_id",
    ("get", STATUS): "get_status",
}


@pytest_asyncio.fixture(loop_scope="module")
async def document(till: Till) -> Document:
    """Return the document as the till serves it."""
    response = await till.client.get("/openapi.json")
    served: Document = response.json()
    return served


def operations(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and description of everything in the document."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def validator(document: Document, name: str) -> jsonschema_rs.Validator:
    """Return what checks values against a schema of the document."""
    reference = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return jsonschema_rs.Draft202012Validator(reference, validate_formats=True)


async def test_the_document_is_valid_openapi(document: Document) -> None:
    assert document["openapi"].startswith("3.1")
    schemathesis.openapi.from_dict(document).validate()
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)


async def test_every_operation_is_there_and_says_who_may_call(document: Document) -> None:
    found = {(method, path): one["operationId"] for method, path, one in operations(document)}
    assert found == OPERATIONS
    for _, path, operation in operations(document):
        assert operation["security"] == ([] if path == STATUS else [{"api_key": []}])
        assert operation["summary"]
        assert operation["description"]


async def test_every_reference_leads_somewhere(document: Document) -> None:
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    text = json.dumps(document)
    referred = {part.split('"')[0] for part in text.split('"$ref": "')[1:]}
    assert referred <= known
    assert "HTTPValidationError" not in text


async def test_no_pattern_means_something_else_in_another_language(document: Document) -> None:
    text = json.dumps(document)
    for dialect in (r"\\Z", r"\\A", "(?P<"):
        assert dialect not in text


async def test_problems_are_problems_everywhere(document: Document) -> None:
    for _, _, operation in operations(document):
        for status, response in operation["responses"].items():
            assert "Request-Id" in response["headers"]
            media_type = "application/json" if status.startswith("2") else MEDIA_TYPE
            assert response["content"].keys() == {media_type}


async def test_the_statuses_of_all_codes_of_a_payment_are_documented(document: Document) -> None:
    documented = set(document["paths"][PAYMENTS]["post"]["responses"])
    elsewhere = {"error_unknown", "method_not_allowed", "not_found", "parameter_invalid",
                 "payment_unknown", *people_codes.ELSEWHERE, *staff_codes.ELSEWHERE,
                 *benefit_codes.ELSEWHERE, *card_codes.ELSEWHERE,
                 *purse_codes.ELSEWHERE}  # fmt: skip
    statuses = {str(one.status) for one in CATALOGUE.values() if one.code not in elsewhere}
    # The one code of people's that a shop can hear is that a phone was asked too often.
    assert documented == statuses | {"201", "202", str(CATALOGUE["push_too_often"].status)}


async def test_the_example_is_a_body_that_the_door_reads(document: Document, till: Till) -> None:
    content = document["paths"][PAYMENTS]["post"]["requestBody"]["content"]["application/json"]
    assert validator(document, "PayBody").is_valid(content["example"])
    problem_of(await till.pay(content["example"]), "terminal_unknown")


@pytest.mark.asvs("v5.0.0-15.3.1")
async def test_what_is_answered_fits_its_schema(document: Document, till: Till) -> None:
    body = await body_of(till)
    payment = payment_of(await till.pay({**body, "order_description": "野菜"}))
    assert validator(document, "PaymentBody").is_valid(payment)
    page = (await till.get(f"{PAYMENTS}?limit=1")).json()
    assert validator(document, "PaymentListBody").is_valid(page)


@pytest.mark.parametrize("code", WAYS)
async def test_what_is_refused_fits_its_schema(document: Document, till: Till, code: str) -> None:
    response = await WAYS[code](till)
    assert validator(document, "Problem").is_valid(response.json())
    if code in DECLINES:
        documented = document["paths"][PAYMENTS]["post"]["responses"][str(response.status_code)]
        assert "Idempotent-Replayed" in documented["headers"]
    if "retry-after" in response.headers:
        documented = document["paths"][PAYMENTS]["post"]["responses"][str(response.status_code)]
        assert "Retry-After" in documented["headers"]


@pytest.mark.asvs("v5.0.0-2.1.1")
@pytest.mark.asvs("v5.0.0-2.2.1")
async def test_the_schema_and_the_door_agree_on_what_a_body_may_be(
    document: Document, till: Till
) -> None:
    schema = validator(document, "PayBody")
    whole = till.body("code_nobody")
    for changes in (
        {},
        {"order_description": None},
        {"order_description": "a\n"},
        {"order_description": "a\u2028"},
        {"order_description": "🥕" * 200},
        {"order_description": "🥕" * 201},
        {"merchant_payment_id": "a\n"},
        {"merchant_payment_id": "a" * 64},
        {"merchant_payment_id": "１"},
        {"terminal_id": f"ter_{'0' * 32}\n"},
        {"amount": {"amount": 0, "currency": "JPY"}},
        {"amount": {"amount": 1_000_000, "currency": "JPY"}},
        {"amount": {"amount": 1_000_001, "currency": "JPY"}},
        {"amount": {"amount": 1, "currency": "JPY", "tax": 1}},
        {"tip": 1},
    ):
        body = {**whole, **changes}
        response = await till.pay({**body, "merchant_payment_id": body["merchant_payment_id"]})
        refused = problem_of(response)["code"] == "body_invalid"
        assert refused is not schema.is_valid(body), changes
