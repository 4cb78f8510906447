"""Problem details (RFC 9457): a refusal's code becomes a status and words for everybody at once."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from wallet.api.catalogue import CATALOGUE, NextAction, Problem
from wallet.core.refusals import Refusal
from wallet.settings import read_settings

MEDIA_TYPE: Final = "application/problem+json"

# No 0, O, 1 or I, because people read these codes to each other.
_SPEAKABLE: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_SUPPORT_CHARACTERS: Final = 6

_EXAMPLE_YEN: Final = 1_000
_EXAMPLES: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "missing_yen": _EXAMPLE_YEN,
        "available_yen": _EXAMPLE_YEN,
        "limit_yen": _EXAMPLE_YEN,
        "left_yen": _EXAMPLE_YEN,
        "bytes_max": 16_384,
    }
)

_encode = msgspec.json.Encoder().encode

Header = tuple[bytes, bytes]


class RenderedProblem(NamedTuple):
    """A whole HTTP answer, good or bad, but for the headers that every answer gets."""

    status: int
    headers: list[Header]
    body: bytes


def support_code(request_id: str) -> str:
    """Return six speakable characters of the request's random bits, such as ``K7M-3P2``.

    With the hour of the call they find the request in the logs.
    """
    bits = int(request_id[-8:], 16)
    characters = [_SPEAKABLE[bits >> 5 * place & 31] for place in range(_SUPPORT_CHARACTERS)]
    return "".join(characters[:3]) + "-" + "".join(characters[3:])


def render(
    refusal: Refusal,
    *,
    request_id: str,
    payment_id: str | None = None,
    errors: Sequence[Mapping[str, Any]] = (),
) -> RenderedProblem:
    """Return the answer that tells ``refusal``; ``errors`` are pointers to what is wrong (422).

    Raises KeyError for a code that is not in the catalogue.
    """
    problem = CATALOGUE[refusal.code]
    body: dict[str, Any] = {
        "type": type_of(problem),
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "instance": f"urn:request:{request_id}",
        "retryable": problem.retryable,
        "next_action": problem.next_action,
        "support_code": support_code(request_id),
        **words_of(problem, refusal.facts),
        **_members(refusal.facts),
    }
    if payment_id is not None:
        body["payment_id"] = payment_id
    if errors:
        body["errors"] = errors
    return RenderedProblem(problem.status, _headers(problem, refusal.facts), _encode(body))


def type_of(problem: Problem) -> str:
    """Return the URI of the problem's page."""
    return f"{read_settings().documentation_url}/{problem.code}"


def words_of(problem: Problem, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the messages for the resident and the clerk, with the facts filled in."""
    filled = {**facts, "phone": read_settings().support_phone}
    return {
        "user_message": {
            "lang": "ja",
            "title": problem.headline.format(**filled),
            "body": problem.body.format(**filled),
            "easy": problem.easy.format(**filled),
        },
        "clerk_message": problem.clerk.format(**filled),
    }


def example_words(problem: Problem) -> dict[str, Any]:
    """Return the messages with made-up facts, for the page that explains the problem."""
    return words_of(problem, _EXAMPLES)


def _members(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts as extension members; an id of the house gets the form it has outside."""
    return {
        name: f"pay_{value.hex}" if name == "payment_id" and isinstance(value, UUID) else value
        for name, value in facts.items()
    }


def _headers(problem: Problem, facts: Mapping[str, Any]) -> list[Header]:
    headers = [(b"content-type", MEDIA_TYPE.encode("ascii")), (b"cache-control", b"no-store")]
    retry_after_s = facts.get("retry_after_s", problem.retry_after_s)
    if retry_after_s is not None:
        headers.append((b"retry-after", str(retry_after_s).encode("ascii")))
    if problem.status == 401:  # noqa: PLR2004 - RFC 9110 section 15.5.2 asks for the header
        headers.append((b"www-authenticate", _challenge(problem, facts).encode("ascii")))
    return headers


def _challenge(problem: Problem, facts: Mapping[str, Any]) -> str:
    """Return how the caller shall say who they are; with what is missing, in RFC 9470's words."""
    levels = facts.get("acr_values")
    if problem.next_action is not NextAction.STEP_UP or not levels:
        return problem.scheme
    asked = [
        'error="insufficient_user_authentication"',
        f'error_description="{problem.title}"',
        f'acr_values="{" ".join(levels)}"',
    ]
    if "max_age_s" in facts:
        asked.append(f'max_age="{facts["max_age_s"]}"')
    return f"{problem.scheme}, {', '.join(asked)}"


class ProblemError(Exception):
    """A request ends here: ``refusal`` is what its caller is told."""

    def __init__(
        self, code: str, *, errors: Sequence[Mapping[str, Any]] = (), **facts: object
    ) -> None:
        super().__init__(code)
        self.refusal = Refusal(code, facts)
        self.errors = tuple(errors)
