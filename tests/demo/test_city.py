"""The demonstration city is drawn from one number and is the same every time."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.moments import NOW_US
from wallet.demo.city import City
from wallet.merchants.rules import CATEGORIES


def make_city(*, seed: int = 7, wallets: int = 200, shops: int = 300) -> City:
    """Return a city founded at the moment of tests."""
    return City(seed=seed, founded_us=NOW_US, wallets=wallets, shops=shops)


def test_the_same_number_draws_the_same_city() -> None:
    one, same = make_city(), make_city()
    assert list(one.merchants()) == list(same.merchants())
    assert one.residents() == same.residents()
    assert list(one.purchases()) == list(same.purchases())


def test_another_number_draws_another_city() -> None:
    one, other = make_city(seed=7), make_city(seed=8)
    assert not {w.id for w in one.residents()} & {w.id for w in other.residents()}
    assert [m.name for m in one.merchants()] != [m.name for m in other.merchants()]


@given(number=st.integers(0, 10**9), founded_us=st.integers(0, 2**48 * 1000 - 1))
def test_every_id_is_a_uuid_of_version_7_at_the_moment_of_foundation(
    number: int, founded_us: int
) -> None:
    city = City(seed=1, founded_us=founded_us, wallets=1, shops=1)
    identifier = city.id_of("wallet", number)
    assert (identifier.version, identifier.variant) == (7, "specified in RFC 4122")
    assert identifier.int >> 80 == founded_us // 1000


def test_no_two_things_share_an_id() -> None:
    city = make_city()
    merchants = list(city.merchants())
    shops = [shop for merchant in merchants for shop in merchant.shops]
    ids = [
        *(merchant.id for merchant in merchants),
        *(shop.id for shop in shops),
        *(terminal_id for shop in shops for terminal_id in shop.terminal_ids),
        *(wallet.id for wallet in city.residents()),
        *(purchase.issue_id for purchase in city.purchases()),
    ]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("shops", [1, 7, 300])
def test_a_city_has_exactly_its_shops(shops: int) -> None:
    drawn = [shop for merchant in make_city(shops=shops).merchants() for shop in merchant.shops]
    assert len(drawn) == shops
    assert {shop.category for shop in drawn} <= set(CATEGORIES)
    assert all(shop.terminal_ids for shop in drawn)


def test_chains_are_no_small_shops() -> None:
    merchants = list(make_city(shops=2_000).merchants())
    chains = [merchant for merchant in merchants if len(merchant.shops) > 3]
    assert chains
    assert not any(shop.small for chain in chains for shop in chain.shops)


def test_everybody_buys_the_general_frame_and_nobody_two_of_the_others() -> None:
    city = make_city(wallets=400)
    purchases = list(city.purchases())
    frames = Counter(purchase.programme for purchase in purchases)
    assert frames["shirasagi-general"] == 400
    assert 60 < frames["shirasagi-silver"] < 140
    assert 40 < frames["shirasagi-child"] < 110
    assert max(Counter(purchase.wallet_id for purchase in purchases).values()) == 2
    assert {purchase.sets for purchase in purchases} == set(range(1, 11))
