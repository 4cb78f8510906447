"""What staff send and get, in shapes that several of their doors share."""

import json
import unicodedata
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from wallet.api.problems import ProblemError
from wallet.core.ids import parse_public_id

Credential = Annotated[
    dict[str, Any], Field(description="What `navigator.credentials` gave, as JSON.")
]

PAGE_MAX: Final = 100

_NO_TEXT: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})


def _line(text: str) -> str:
    """Refuse what is no line of text: it would not print, and PostgreSQL has no zero byte."""
    if any(unicodedata.category(character) in _NO_TEXT for character in text):
        message = "one line of text, without control characters"
        raise ValueError(message)
    return text


Line = Annotated[str, AfterValidator(_line)]
Reason = Annotated[Line, Field(max_length=1_000, description="Why; kept for ever.")]
PersonId = Annotated[str, Field(pattern=r"^per_[0-9a-f]{32}$")]


class In(BaseModel):
    """A body or a query: nothing in it that is not expected."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Out(BaseModel):
    """An answer."""

    model_config = ConfigDict(frozen=True)


class WhyIn(In):
    """A reason and nothing else."""

    reason: Reason


class Page(In):
    """Which page of a list; ``cursor`` is from the page before."""

    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = 20
    cursor: Annotated[str, Field(pattern=r"^[a-z]{3}_[0-9a-f]{32}$")] | None = None

    def after(self, prefix: str) -> UUID | None:
        """Return the id that the page begins beyond; a cursor of another list is refused."""
        if self.cursor is None:
            return None
        parsed = parse_public_id(prefix, self.cursor)
        if parsed is None:
            error = {"pointer": "/query/cursor", "code": "invalid", "detail": "not of this list"}
            raise ProblemError("parameter_invalid", errors=[error])
        return parsed


def credential_text(credential: dict[str, Any]) -> str:
    """Return what a browser's authenticator said as JSON; what is none is refused further on."""
    try:
        return json.dumps(credential)
    except (RecursionError, ValueError):
        return ""


def read_id(prefix: str, text: str, unknown: str) -> UUID:
    """Return the id in a path; whatever is none belongs to nothing, as ``unknown`` says."""
    parsed = parse_public_id(prefix, text)
    if parsed is None:
        raise ProblemError(unknown)
    return parsed
