"""Who may come through the door, and what everybody else is told."""

import pytest

from tests.api.answers import payment_of, problem_of
from tests.api.ways import body_of
from tests.factories.merchants import make_merchant
from tests.factories.moments import NOW_US, PEPPER
from tests.factories.tills import PAYMENTS, Till, open_till
from wallet.core.clock import TestClock
from wallet.core.ids import public_id
from wallet.merchants.authenticate import KEY_CHARACTERS_MAX
from wallet.merchants.issue_api_key import issue_api_key
from wallet.merchants.revoke_api_key import revoke_api_key
from wallet.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

READ = (f"{PAYMENTS}", f"{PAYMENTS}/pay_{'0' * 32}", f"{PAYMENTS}/by-merchant-id/a")


async def revoked_key(till: Till) -> str:
    """Return a key that was good once."""
    merchant = await make_merchant(till.city.engine, till.city.teller)
    await revoke_api_key(till.city.engine, key_id=merchant.key_id, now_us=NOW_US)
    return merchant.api_key


async def strangers(till: Till) -> dict[str, str | None]:
    """Return headers that open nothing, each wrong in another way."""
    key = till.city.merchant.api_key
    return {
        "nothing": None,
        "empty": "",
        "scheme only": "Bearer",
        "empty key": "Bearer ",
        "another scheme": f"Basic {key}",
        "no scheme": key,
        "two spaces": f"Bearer  {key}",
        "something after it": f"Bearer {key} x",
        "unknown": f"Bearer sk_test_{'a' * 32}",
        "one letter short": f"Bearer {key[:-1]}",
        "in capitals": f"Bearer {key.upper()}",
        "too long": f"Bearer {'a' * (KEY_CHARACTERS_MAX + 1)}",
        "revoked": f"Bearer {await revoked_key(till)}",
        "a key's id": f"Bearer {public_id('key', till.city.merchant.key_id)}",
    }


@pytest.mark.attack(4)
@pytest.mark.asvs("v5.0.0-6.3.8")
async def test_every_stranger_is_told_the_same_at_the_till(till: Till) -> None:
    told = set()
    for header in (await strangers(till)).values():
        response = await till.pay(till.body("code_nobody"), Authorization=header)
        body = problem_of(response, "unauthenticated")
        names = [body.pop("instance"), body.pop("support_code")]
        assert all(names)
        kept = [one for one in response.headers.items() if one[0] != "request-id"]
        told.add((str(body), str(kept)))
    assert len(told) == 1


@pytest.mark.attack(4)
@pytest.mark.asvs("v5.0.0-6.3.8")
@pytest.mark.parametrize("path", READ)
async def test_every_stranger_is_told_the_same_about_payments(till: Till, path: str) -> None:
    told = set()
    for header in (await strangers(till)).values():
        response = await till.get(path, Authorization=header)
        body = problem_of(response, "unauthenticated")
        names = [body.pop("instance"), body.pop("support_code")]
        assert all(names)
        kept = [one for one in response.headers.items() if one[0] != "request-id"]
        told.add((str(body), str(kept)))
    assert len(told) == 1


async def test_a_stranger_hears_of_nothing_else_that_is_wrong(till: Till) -> None:
    response = await till.client.post(PAYMENTS, content=b"\xff" * 99_999)
    problem_of(response, "unauthenticated")


@pytest.mark.asvs("v5.0.0-15.3.7")
async def test_two_keys_at_once_open_nothing(till: Till) -> None:
    other = await make_merchant(till.city.engine, till.city.teller)
    headers = [*till.headers().items(), ("Authorization", f"Bearer {other.api_key}")]
    response = await till.client.post(PAYMENTS, json=till.body("code_nobody"), headers=headers)
    problem_of(response, "unauthenticated")
    problem_of(await till.client.get(PAYMENTS, headers=headers), "unauthenticated")


async def test_a_key_opens_by_any_spelling_of_bearer(till: Till) -> None:
    key = till.city.merchant.api_key
    payment_of(await till.pay(await body_of(till), Authorization=f"bearer {key}"))


async def test_a_key_of_the_wrong_mode_is_refused_by_name(till: Till) -> None:
    key = await issue_api_key(
        till.city.engine,
        merchant_id=till.city.merchant.id,
        livemode=True,
        pepper=PEPPER,
        now_us=NOW_US,
    )
    header = f"Bearer {key.key}"
    response = await till.pay(till.body("code_nobody"), Authorization=header)
    problem_of(response, "key_wrong_mode")
    for path in READ:
        problem_of(await till.get(path, Authorization=header), "key_wrong_mode")


@pytest.mark.asvs("v5.0.0-8.4.1")
async def test_a_rehearsals_key_does_not_open_a_live_till(till: Till) -> None:
    async with open_till(till.city, settings=Settings(livemode=True)) as live:
        problem_of(await live.pay(await body_of(till)), "key_wrong_mode")


async def test_a_new_key_opens_beside_the_old_one(till: Till) -> None:
    key = await issue_api_key(
        till.city.engine,
        merchant_id=till.city.merchant.id,
        livemode=False,
        pepper=PEPPER,
        now_us=NOW_US,
    )
    body = await body_of(till)
    first = await till.pay(body, Authorization=f"Bearer {key.key}", Idempotency_Key="shared")
    # Keys of one merchant share its idempotency keys and its payments.
    assert payment_of(await till.pay(body, Idempotency_Key="shared")) == payment_of(first)


@pytest.mark.asvs("v5.0.0-8.3.2")
async def test_a_revoked_key_is_shut_out_within_five_seconds(till: Till) -> None:
    merchant = await make_merchant(till.city.engine, till.city.teller)
    clock = TestClock(NOW_US)
    header = f"Bearer {merchant.api_key}"
    async with open_till(till.city, clock=clock) as other:
        assert (await other.get(PAYMENTS, Authorization=header)).status_code == 200
        await revoke_api_key(till.city.engine, key_id=merchant.key_id, now_us=NOW_US)
        clock.advance(seconds=5)
        problem_of(await other.get(PAYMENTS, Authorization=header), "unauthenticated")
        response = await other.pay(till.body("code_nobody"), Authorization=header)
        problem_of(response, "unauthenticated")
