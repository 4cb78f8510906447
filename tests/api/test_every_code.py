"""Every code of the catalogue can be met, and is then a whole problem."""

import httpx2 as httpx
import pytest

from tests.api.answers import is_replay, problem_of
from tests.api.ways import WAYS
from tests.factories.tills import PAYMENTS, Till
from wallet.api.catalogue import DECLINES

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("code", WAYS)
async def test_the_code_is_told_as_a_whole_problem(till: Till, code: str) -> None:
    body = problem_of(await WAYS[code](till), code)
    # A payment that was recorded as declined can be asked for; anything else has left none.
    assert ("payment_id" in body) == (code in DECLINES or code == "idempotency_conflict")


AFTER_WAITING = {"confirmation_expired", "confirmation_failed"}


@pytest.mark.parametrize("code", sorted(DECLINES & WAYS.keys()))
async def test_a_declined_payment_can_be_read_and_says_why(till: Till, code: str) -> None:
    told = problem_of(await WAYS[code](till), code)
    response = await till.get(f"{PAYMENTS}/{told['payment_id']}")
    assert response.status_code == 200
    payment = response.json()
    assert payment["id"] == told["payment_id"]
    assert (payment["status"], payment["paid"], payment["final"]) == ("declined", False, True)
    assert payment["declined_because"] == code
    assert payment["funding"] == []


AFTER_WAITING = {"confirmation_expired", "confirmation_failed"}


@pytest.mark.parametrize("code", sorted(DECLINES & WAYS.keys()))
async def test_a_declined_payment_is_told_again_in_the_same_words(till: Till, code: str) -> None:
    first = await WAYS[code](till)
    again = httpx.Request(
        "POST", first.request.url, headers=first.request.headers, content=first.request.content
    )
    second = await till.client.send(again)
    # What waited for its payer was answered before, when it began to wait.
    assert (is_replay(first), is_replay(second)) == (code in AFTER_WAITING, True)
    told, told_again = problem_of(first, code), problem_of(second, code)
    for name in ("instance", "support_code"):  # They name the request.
        assert told.pop(name) != told_again.pop(name)
    assert told == told_again
