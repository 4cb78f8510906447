"""Preparing: a wallet with the very money for each customer, a till for each terminal."""

from collections.abc import AsyncIterator

import pytest
from rich.progress import Progress

from tests.factories.city import City, make_city
from tests.factories.moments import NOW, PEPPER
from tests.factories.vouchers import purses_of
from tests.servers import Database
from wallet.core.ids import parse_public_id
from wallet.merchants.authenticate import KeyRing, Principal
from wallet.replay import prepare as room
from wallet.replay.prepare import Preparer, Scene, prepare
from wallet.replay.read_payments import RecordedPayment


@pytest.fixture
async def city(module_database: Database) -> AsyncIterator[City]:
    """Yield the module's city."""
    async with make_city(module_database.application_url) as city:
        yield city


async def prepare_for(city: City, *payments: tuple[str, str, int], short_every: int = 0) -> Scene:
    """Prepare a replay of payments, given as customer, terminal and yen."""
    progress = Progress(disable=True)
    preparer = Preparer(city.engine, city.teller, PEPPER, False, city.clock, progress)  # noqa: FBT003 - positions are the struct's
    recorded = [RecordedPayment(n, NOW, *one) for n, one in enumerate(payments, 2)]
    return await prepare(preparer, payments=recorded, short_every=short_every)


async def money_in(city: City, scene: Scene) -> dict[str, int]:
    """Return what each customer has."""
    return {
        customer: sum((await purses_of(city.engine, wallet_id)).values())
        for customer, wallet_id in scene.wallets.items()
    }


async def test_every_customer_has_exactly_what_they_will_spend(city: City) -> None:
    scene = await prepare_for(city, ("a", "t", 100), ("b", "t", 5), ("a", "u", 250_000))
    assert await money_in(city, scene) == {"a": 250_100, "b": 5}


async def test_every_nth_customer_has_half_of_it(city: City) -> None:
    payments = [(name, "t", 100) for name in "abcde"]
    scene = await prepare_for(city, *payments, short_every=2)
    assert await money_in(city, scene) == {"a": 100, "b": 50, "c": 100, "d": 50, "e": 100}


async def test_who_is_left_with_nothing_is_no_hindrance(city: City) -> None:
    scene = await prepare_for(city, ("a", "t", 1), short_every=1)
    assert await money_in(city, scene) == {"a": 0}


async def test_every_terminal_has_the_key_of_its_own_merchant(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "SHOPS_PER_MERCHANT", 2)
    scene = await prepare_for(city, *[("a", terminal, 10) for terminal in "tuvt"])
    assert len({till.terminal_id for till in scene.tills.values()}) == 3
    assert all(parse_public_id("ter", till.terminal_id) for till in scene.tills.values())
    assert scene.tills["t"].api_key == scene.tills["u"].api_key != scene.tills["v"].api_key
    ring = KeyRing(engine=city.engine, pepper=PEPPER, livemode=False, clock=city.clock, kept_s=1.0)
    principals = [
        await ring.authenticate(f"Bearer {scene.tills[terminal].api_key}") for terminal in "tv"
    ]
    merchant_ids = [one.merchant_id for one in principals if isinstance(one, Principal)]
    assert merchant_ids == scene.merchant_ids


async def test_two_replays_never_meet(city: City) -> None:
    one = await prepare_for(city, ("a", "t", 10))
    other = await prepare_for(city, ("a", "t", 20))
    assert one.wallets["a"] != other.wallets["a"]
    assert one.tills["t"] != other.tills["t"]
    assert not set(one.merchant_ids) & set(other.merchant_ids)
    assert await money_in(city, one) == {"a": 10}
