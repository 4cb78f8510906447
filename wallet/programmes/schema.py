"""The JSON Schema of a programme's draft, for editors and for whoever writes drafts by program."""

import json
from typing import Any

import msgspec

from wallet.programmes.terms import ProgrammeDraft


def schema() -> dict[str, Any]:
    """Return the schema (JSON Schema 2020-12) of one draft."""
    made = msgspec.json.schema(ProgrammeDraft)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def schema_text() -> str:
    """Return the schema as it stands in ``docs/programme.schema.json``."""
    return json.dumps(_sorted(schema()), ensure_ascii=False, indent=2) + "\n"


def _sorted(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return JSON with its keys and its enumerations in order, the same in every process."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        inner = [_sorted(one) for one in value]
        return sorted(inner) if all(isinstance(one, str) for one in inner) else inner
    return value
