"""The document of the app's doors: who may call, and the two hot doors that FastAPI does not know.

Those are :mod:`wallet.api.resident_pay`; their schemas come from the types they decode.
"""

from collections.abc import Collection
from typing import Any, Final

import msgspec
from fastapi import FastAPI

from wallet.api.openapi import (
    IDEMPOTENCY_KEY,
    PROBLEM_SCHEMA,
    REF,
    Responses,
    by_status,
    component,
    document_with,
    portable,
    problems,
)
from wallet.api.render import ReceiptBody
from wallet.api.render_status import StatusBody
from wallet.api.resident import documented
from wallet.api.resident_asking import STEP_UP
from wallet.api.resident_identity import PUBLIC
from wallet.api.resident_pay import (
    PAY_PATH,
    RESPOND_PATH,
    PayByPhoneBody,
    RespondBody,
    RespondedBody,
)

_STRING: Final = {"type": "string"}
_CHALLENGE_ID: Final = {"type": "string", "pattern": "^chl_[0-9a-f]{32}$"}

_SIGNED_IN: Final[list[dict[str, list[str]]]] = [{"session": [], "proof": []}]
_BY_KEY_ALONE: Final[list[dict[str, list[str]]]] = [{"proof": []}]
_SCHEMES: Final = {
    "session": {"type": "http", "scheme": "DPoP", "description": "at_…, for ten minutes"},
    "proof": {
        "type": "apiKey",
        "in": "header",
        "name": "DPoP",
        "description": "A JWT by the phone's key, of this method, this address, this body, once"
        " (RFC 9449).",
    },
}

_REPLAYED: Final = {"Idempotent-Replayed": {"schema": _STRING, "description": "true for a repeat"}}
_REFUSED: Final = (400, 403, 404, 408, 413, 415, 429)
_DECLINED: Final = (402, 409, 410, 423)


def describe_resident(application: FastAPI) -> None:
    """Have the application's document name every door, and who may come through it."""
    document_with(application, _complete)


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    paths = document["paths"]
    paths[PAY_PATH] = {"post": _pay_operation()}
    paths[RESPOND_PATH] = {"post": _respond_operation()}
    for path, item in paths.items():
        for operation in item.values():
            operation.setdefault("security", _BY_KEY_ALONE if path in PUBLIC else _SIGNED_IN)
    _, schemas = msgspec.json.schema_components(
        [PayByPhoneBody, RespondBody, RespondedBody, ReceiptBody, StatusBody], ref_template=REF
    )
    components = document.setdefault("components", {})
    components["schemas"] = {
        **components.get("schemas", {}),
        **portable(schemas),
        "Problem": PROBLEM_SCHEMA,
    }
    components["securitySchemes"] = _SCHEMES
    return document


def _pay_operation() -> dict[str, Any]:
    paid = component("ReceiptBody", "Paid, now or when this was first asked")
    return {
        "tags": ["payments"],
        "summary": "Pay a shop",
        "description": "The money moves at once and for good. An amount that takes more than the"
        " phone is answered with 401 (RFC 9470): `challenge` is what to sign, `acr_values` what"
        " will do. Pass it at `/challenges/{challenge_id}/respond`, then send the same again with"
        " the challenge in `Step-Up`. A repeat gets the same answer, a declined one too.",
        "operationId": "pay_shop",
        "parameters": [IDEMPOTENCY_KEY, STEP_UP],
        "requestBody": _body({"$ref": REF.format(name="PayByPhoneBody")}),
        "responses": _responses({201: {**paid, "headers": _REPLAYED}}, _DECLINED),
    }


def _respond_operation() -> dict[str, Any]:
    passed = component("RespondedBody", "Passed; with the payment that waited for it, if one did")
    union, _ = msgspec.json.schema_components([RespondBody], ref_template=REF)
    return {
        "tags": ["payments"],
        "summary": "Approve what waits for my answer",
        "description": "By the phone's second key, the PIN, a code or a passkey; `number` is what"
        " the shop's screen shows, when `asks_number`. Money that waited for it moves in the same"
        " transaction. A repeat is answered with what came of it.",
        "operationId": "respond_to_challenge",
        "parameters": [
            {"name": "challenge_id", "in": "path", "required": True, "schema": _CHALLENGE_ID}
        ],
        "requestBody": _body(union[0]),
        "responses": _responses({200: passed}, _DECLINED),
    }


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": portable(schema)}}}


def _responses(answered: Responses, declined: Collection[int]) -> dict[str, Any]:
    replayed: Responses = {
        status: {**told, "headers": {**told["headers"], **_REPLAYED}}
        for status, told in problems(*declined).items()
    }
    return by_status({**documented(*_REFUSED), **answered, **replayed})
