"""What an answer must look like, whatever it says."""

import re
from typing import Any

import httpx2 as httpx

from wallet.api.catalogue import CATALOGUE
from wallet.api.problems import MEDIA_TYPE

REQUEST_ID = re.compile(r"req_[0-9a-f]{32}")
SUPPORT_CODE = re.compile(r"[2-9A-HJ-NP-Z]{3}-[2-9A-HJ-NP-Z]{3}")
MEMBERS = {
    "type",
    "title",
    "status",
    "code",
    "instance",
    "retryable",
    "next_action",
    "support_code",
    "user_message",
    "clerk_message",
}
JAPANESE = re.compile(r"[぀-ヿ一-鿿]")


def problem_of(response: httpx.Response, code: str | None = None) -> dict[str, Any]:
    """Return the members of a problem, seen to be whole, and of the ``code`` if one is given."""
    assert response.headers["content-type"] == MEDIA_TYPE, response.text
    body: dict[str, Any] = response.json()
    assert body.keys() >= MEMBERS
    known = CATALOGUE[body["code"]]
    assert code in (None, known.code), response.text
    assert response.status_code == body["status"] == known.status
    assert body["title"] == known.title
    assert body["type"] == f"/errors/{known.code}"
    assert (body["retryable"], body["next_action"]) == (known.retryable, known.next_action)
    assert_headers(response, retry_after_s=body.get("retry_after_s", known.retry_after_s))
    assert body["instance"] == f"urn:request:{response.headers['request-id']}"
    assert SUPPORT_CODE.fullmatch(body["support_code"])
    assert_words(body)
    return body


def assert_headers(response: httpx.Response, *, retry_after_s: int | None) -> None:
    """See that a problem is not to be stored, names its request, and says when to come again."""
    assert REQUEST_ID.fullmatch(response.headers["request-id"])
    assert response.headers["cache-control"] == "no-store"
    expected = None if retry_after_s is None else str(retry_after_s)
    assert response.headers.get("retry-after") == expected
    assert ("www-authenticate" in response.headers) == (response.status_code == 401)


def assert_words(body: dict[str, Any]) -> None:
    """See that residents and clerks are told in Japanese, with every blank filled in."""
    words = body["user_message"]
    assert words.keys() == {"lang", "title", "body", "easy"}
    assert words["lang"] == "ja"
    for text in (words["title"], words["body"], words["easy"], body["clerk_message"]):
        assert JAPANESE.search(text)
        assert "{" not in text


def payment_of(response: httpx.Response) -> dict[str, Any]:
    """Return a payment that was made, now or before."""
    assert response.status_code == 201, response.text
    assert response.headers["content-type"] == "application/json"
    assert REQUEST_ID.fullmatch(response.headers["request-id"])
    body: dict[str, Any] = response.json()
    assert body["paid"] is body["final"] is True
    return body


def is_replay(response: httpx.Response) -> bool:
    """Whether the answer says that it was given before."""
    return response.headers.get("idempotent-replayed") == "true"
