"""The API's document: OpenAPI 3.1 for the hot door and every other, from their own types."""

from collections.abc import Callable
from inspect import cleandoc
from typing import Any, Final

import msgspec
from fastapi import FastAPI

from wallet.api.catalogue import CATALOGUE, NextAction
from wallet.api.problems import MEDIA_TYPE
from wallet.api.render import PaymentBody, PaymentListBody
from wallet.api.render_status import StatusBody
from wallet.api.till import PATH, PayBody

REF: Final = "#/components/schemas/{name}"

_STRING: Final = {"type": "string"}
_WORDS: Final = {
    "type": "object",
    "properties": dict.fromkeys(("lang", "title", "body", "easy"), _STRING),
    "required": ["lang", "title", "body", "easy"],
}
_ERROR: Final = {
    "type": "object",
    "properties": {
        "pointer": {"type": "string", "description": "JSON pointer (RFC 6901)."},
        "code": _STRING,
        "detail": _STRING,
    },
    "required": ["pointer", "code", "detail"],
}
PROBLEM_SCHEMA: Final = {
    "type": "object",
    "title": "Problem",
    "description": "Problem details (RFC 9457). Facts of the refusal, such as `available_yen`,"
    " are further members.",
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": _STRING,
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable for ever; see /errors."},
        "instance": {"type": "string", "format": "uri"},
        "retryable": {"type": "boolean"},
        "next_action": {"enum": [str(action) for action in NextAction]},
        "support_code": {"type": "string", "description": "What to tell the help desk."},
        "user_message": _WORDS,
        "clerk_message": _STRING,
        "payment_id": {"type": "string", "description": "The payment this is about."},
        "different": {
            "type": "array",
            "items": _STRING,
            "description": "JSON pointers to what differs from the first request.",
        },
        "errors": {"type": "array", "items": _ERROR},
    },
    "required": ["type", "title", "status", "code", "instance", "retryable", "next_action",
                 "support_code", "user_message", "clerk_message"],
}  # fmt: skip

_MEANINGS: Final = {
    400: "Malformed, or the Idempotency-Key is missing",
    401: "Nobody known: no key or session, or one that is unknown or over",
    402: "Declined: balance, limit or rule",
    403: "A key of the wrong mode, or the merchant is suspended",
    404: "There is no such thing, or none of the caller's",
    408: "The body did not arrive in time",
    409: "The code has been used before",
    410: "The code has expired",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "A field is invalid, or the key was used for another request",
    423: "Frozen, blocked or stopped",
    429: "Too many; ask again after Retry-After",
    500: "Our fault; asking again with the same key tells the outcome",
    503: "Overloaded or away; ask again after Retry-After, with the same key",
}

Responses = dict[int | str, dict[str, Any]]


def problems(*statuses: int) -> Responses:
    """Return the responses that are problems, for these statuses."""
    content = {MEDIA_TYPE: {"schema": {"$ref": REF.format(name="Problem")}}}
    return {
        status: {
            "description": _MEANINGS[status],
            "headers": _headers_of(status),
            "content": content,
        }
        for status in statuses
    }


def _headers_of(status: int) -> dict[str, Any]:
    """Return the headers that some or all problems of this status bring."""
    headers: dict[str, Any] = {}
    if status == 401:  # noqa: PLR2004 - the one status that has a header of its own
        headers["WWW-Authenticate"] = {"schema": _STRING}
    if any(one.status == status and one.retry_after_s for one in CATALOGUE.values()):
        headers["Retry-After"] = {"schema": {"type": "integer"}, "description": "Seconds to wait."}
    return headers


def component(name: str, description: str) -> dict[str, Any]:
    """Return a JSON response of the named schema."""
    schema = {"$ref": REF.format(name=name)}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


AUTHENTICATED_PROBLEMS: Final = problems(401, 403, 500, 503)
"""What any door for merchants may answer."""

IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "Made by the caller for each intent, kept for ever, the same in every retry."
    " Quoted or bare, it is the same key.",
    "schema": {"type": "string", "pattern": '^([!#-~]{1,255}|"[!#-~]{1,255}")$'},
}
_REQUEST_ID: Final = {"schema": _STRING, "description": "Names this request in our logs."}
_FRAMEWORK_SCHEMAS: Final = ("HTTPValidationError", "ValidationError")
_EXAMPLE: Final = {
    "merchant_payment_id": "2026-11-25-0001",
    "amount": {"amount": 1200, "currency": "JPY"},
    "instrument": {"type": "cpm_code", "value": "code_mfrggzdfmztwq2lknnwg23tpobyxe43u"},
    "terminal_id": "ter_0199b2c4d5e67f8091a2b3c4d5e6f708",
}


def _pay_operation() -> dict[str, Any]:
    replayed = {"Idempotent-Replayed": {"schema": _STRING, "description": "true for a repeat"}}
    body = {"schema": {"$ref": REF.format(name="PayBody")}, "example": _EXAMPLE}
    created = component("PaymentBody", "Paid, now or when this was first asked")
    waits = component("PaymentBody", "Not final: the payer is asked to approve it on their phone")
    return {
        "tags": ["payments"],
        "summary": "Take a payment",
        "description": "The customer shows a one-time code or a card; the money moves at once and"
        " for good. A repeat of the same request gets the same answer, a declined one too. An"
        " amount that takes more than the code or the card is answered with 202: the payer approves"
        " it on their phone within three minutes, with the number on the shop's screen. Ask again,"
        " with the same key or by the payment's address, until it is final.",
        "operationId": "create_payment",
        "parameters": [IDEMPOTENCY_KEY],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": by_status(
            {
                201: {**created, "headers": replayed},
                202: {**waits, "headers": replayed},
                **problems(400, 404, 408, 413, 415, 422, 429),
                **{
                    status: {**declined, "headers": {**declined["headers"], **replayed}}
                    for status, declined in problems(402, 409, 410, 423).items()
                },
                **AUTHENTICATED_PROBLEMS,
            }
        ),
        "security": [{"api_key": []}],
    }


def by_status(responses: Responses) -> dict[str, Any]:
    """Return responses as a document written by hand has them."""
    return {str(status): responses[status] for status in sorted(responses, key=str)}


def describe(application: FastAPI) -> None:
    """Have the application serve the whole document, the hot door included."""
    document_with(application, complete)


def document_with(
    application: FastAPI, complete: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Have the application serve the document that ``complete`` makes of FastAPI's, made once."""
    generated: Callable[[], dict[str, Any]] = application.openapi

    def document() -> dict[str, Any]:
        if application.openapi_schema is None:
            application.openapi_schema = complete(generated())
        return application.openapi_schema

    application.openapi = document  # type: ignore[method-assign] # FastAPI documents this way


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with the hot door, the schemas of its bodies, and who may call."""
    document["paths"].setdefault(PATH, {})["post"] = _pay_operation()
    for path in document["paths"].values():
        for operation in path.values():
            _correct(operation)
    _, schemas = msgspec.json.schema_components(
        [PayBody, PaymentBody, PaymentListBody, StatusBody], ref_template=REF
    )
    components = document.setdefault("components", {})
    known = {k: v for k, v in components.get("schemas", {}).items() if k not in _FRAMEWORK_SCHEMAS}
    components["schemas"] = {**known, **portable(schemas), "Problem": PROBLEM_SCHEMA}
    components["securitySchemes"] = {
        "api_key": {"type": "http", "scheme": "bearer", "description": "sk_test_… or sk_live_…"}
    }
    return document


def _correct(operation: dict[str, Any]) -> None:
    """Say who may call and what comes with every answer, and drop what FastAPI only supposes."""
    operation.setdefault("security", [{"api_key": []}])
    responses = operation["responses"]
    if _FRAMEWORK_SCHEMAS[0] in str(responses.get("422")):
        del responses["422"]  # Its handlers take any text, and find nothing by most of it.
    for response in responses.values():
        response["headers"] = {**response.get("headers", {}), "Request-Id": _REQUEST_ID}
    # A handler that answers in bytes gets an empty schema beside its own.
    for content in (response.get("content", {}) for response in responses.values()):
        if "application/json" in content:
            content["application/json"] = {"schema": content["application/json"]["schema"]}


def portable(node: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a schema as other languages read it.

    JSON Schema has ECMA-262's patterns, where the end is ``$`` and never before a line break; and
    a docstring is Markdown without its indentation.
    """
    if isinstance(node, list):
        return [portable(one) for one in node]
    if not isinstance(node, dict):
        return node
    made = {name: portable(one) for name, one in node.items()}
    if isinstance(pattern := made.get("pattern"), str):
        made["pattern"] = pattern.replace(r"\Z", "$")
    if isinstance(description := made.get("description"), str):
        made["description"] = cleandoc(description).replace("``", "`")
    return made
