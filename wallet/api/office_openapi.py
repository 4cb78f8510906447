"""The document of staff's doors: who may call, and what any of them may refuse with."""

from typing import Any, Final

from fastapi import FastAPI

from wallet.api.openapi import PROBLEM_SCHEMA, Responses, document_with
from wallet.api.problems import MEDIA_TYPE

_MEANINGS: Final = {
    401: "Not signed in, or the passkey was shown too long ago (RFC 9470)",
    403: "No role of the caller's permits it, or it takes somebody else",
    404: "There is no such thing",
    409: "It stands otherwise by now",
    410: "Too old",
    422: "A field is missing, unknown or out of its range",
    429: "Too much was asked for; see Retry-After",
    500: "Our fault",
    503: "Away; ask again after Retry-After",
}
_SCHEME: Final = "staff_session"


def _problem(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}


REFUSALS: Final[Responses] = {
    status: _problem(description) for status, description in _MEANINGS.items()
}
"""What any door of staff may answer but for what it is asked for."""

ANYBODY: Final[dict[str, Any]] = {"security": []}
"""Of the few doors that nobody has to be signed in for."""


def describe_office(application: FastAPI) -> None:
    """Have the application's document name the problems and the session that its doors ask for."""
    document_with(application, _complete)


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    for path in document["paths"].values():
        for operation in path.values():
            operation.setdefault("security", [{_SCHEME: []}])
    components = document.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = PROBLEM_SCHEMA
    components["securitySchemes"] = {
        _SCHEME: {"type": "http", "scheme": "bearer", "description": "at_…, for ten minutes"}
    }
    return document
