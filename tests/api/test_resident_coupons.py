"""The app's doors of coupons: which there are, choosing one, and paying with it."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx2 as httpx
import pytest
import pytest_asyncio

from tests.api.answers import problem_of
from tests.factories.bonuses import bonus, coupon, make_giving
from tests.factories.city import City
from tests.factories.pockets import V1, Pocket, open_pocket
from tests.factories.residents import Resident, make_resident
from tests.factories.vouchers import give
from wallet.core.ids import public_id

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pocket(city: City) -> AsyncIterator[Pocket]:
    """Yield the app's doors in the module's city, in which there are two coupons."""
    await make_giving(
        city,
        "sale",
        bonus(percent=1),
        coupons=[coupon(), coupon("secret", off_yen=100, entry_code="HIMEJI2026")],
    )
    async with open_pocket(city) as pocket:
        yield pocket


async def ask(
    pocket: Pocket,
    resident: Resident,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    *,
    wallet_id: UUID | None = None,
) -> httpx.Response:
    """Call a door of a wallet, one's own by default."""
    name = public_id("wal", wallet_id or resident.wallet_id)
    return await pocket.app.call(resident.phone, method, f"{V1}/wallets/{name}/{path}", body)


async def listed(pocket: Pocket, resident: Resident) -> list[tuple[str, bool]]:
    """Return the coupons that somebody sees, and whether each is chosen."""
    answered = (await ask(pocket, resident, "GET", "coupons")).json()
    return [(one["coupon"], one["chosen"]) for one in answered["data"]]


async def test_a_coupon_is_chosen_used_and_gone(pocket: Pocket, city: City) -> None:
    resident = await make_resident(city.engine)
    await give(city.teller, resident.wallet_id, "sale", amount_yen=5_000)
    assert await listed(pocket, resident) == [("spring", False)]
    answered = await ask(
        pocket, resident, "PUT", "coupon", {"programme": "sale", "coupon": "spring"}
    )
    assert (answered.status_code, answered.json()["off_yen"]) == (200, 300)
    assert await listed(pocket, resident) == [("spring", True)]
    paid = (await pocket.pay(resident.phone, amount_yen=1_000)).json()
    assert paid["coupon"] == {
        "coupon": "sale:spring",
        "amount": {"amount": 300, "currency": "JPY"},
    }
    assert [(one["programme"], one["amount"]["amount"]) for one in paid["bonus"]] == [("sale", 7)]
    assert sum(one["amount"]["amount"] for one in paid["funding"]) == 700
    assert await listed(pocket, resident) == []
    again = await ask(pocket, resident, "PUT", "coupon", {"programme": "sale", "coupon": "spring"})
    assert problem_of(again, "coupon_over")


async def test_a_code_opens_a_coupon_that_nobody_else_sees(pocket: Pocket, city: City) -> None:
    resident = await make_resident(city.engine)
    unseen = await ask(pocket, resident, "PUT", "coupon", {"programme": "sale", "coupon": "secret"})
    assert problem_of(unseen, "coupon_unknown")
    wrong = await ask(pocket, resident, "PUT", "coupon", {"entry_code": "HIMEJI2025"})
    assert problem_of(wrong, "coupon_unknown")
    opened = await ask(pocket, resident, "PUT", "coupon", {"entry_code": "HIMEJI2026"})
    assert opened.json()["coupon"] == "secret"
    assert sorted(await listed(pocket, resident)) == [("secret", True), ("spring", False)]
    assert (await ask(pocket, resident, "DELETE", "coupon")).status_code == 204
    assert await listed(pocket, resident) == [("spring", False)]


async def test_somebody_elses_wallet_is_none(pocket: Pocket, city: City) -> None:
    resident, other = [await make_resident(city.engine) for _ in range(2)]
    for method, path in (("GET", "coupons"), ("DELETE", "coupon")):
        refused = await ask(pocket, resident, method, path, wallet_id=other.wallet_id)
        assert problem_of(refused, "wallet_unknown")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"programme": "sale"},
        {"programme": "sale", "coupon": "spring", "entry_code": "HIMEJI2026"},
        {"entry_code": "himeji"},
    ],
)
async def test_a_coupon_is_named_in_one_way(
    pocket: Pocket, city: City, body: dict[str, str]
) -> None:
    resident = await make_resident(city.engine)
    refused = await ask(pocket, resident, "PUT", "coupon", body)
    assert problem_of(refused, "request_invalid")
