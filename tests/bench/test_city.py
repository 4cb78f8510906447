"""The payments that are drawn: they fit, they are the same each time, and they are whole."""

import json
from uuid import uuid4

import pytest

from bench.city import City, Purse, Register, render_request
from bench.processes import BenchError

TERMINALS = ("ter_1", "ter_2", "ter_3")


def make_city(*left_yen: int) -> City:
    """Return a city of three shops and of wallets with so much left."""
    purses = [Purse(uuid4(), f"card-{n}", yen) for n, yen in enumerate(left_yen)]
    return City([Register(terminal, f"key-of-{terminal}") for terminal in TERMINALS], purses)


def test_nobody_is_drawn_for_more_than_is_left() -> None:
    city = make_city(*[5_000] * 20)
    sales = city.draw(60, registers=city.registers)
    purses = {id(sale.purse): sale.purse for sale in sales}
    for purse in purses.values():
        spent = [sale for sale in sales if sale.purse is purse]
        assert purse.left_yen == 5_000 - sum(sale.amount_yen for sale in spent) >= 0
        by_card = sum(sale.amount_yen for sale in spent if sale.by_card)
        assert purse.card_left_yen == 30_000 - by_card >= 0
    assert {sale.register.terminal_id for sale in sales} == set(TERMINALS)
    assert {sale.by_card for sale in sales} == {True, False}
    assert [sale.number for sale in sales] == list(range(1, 61))


def test_the_same_city_draws_the_same_payments() -> None:
    first, second = (make_city(*[50_000] * 5) for _ in range(2))
    drawn = [
        [
            (sale.amount_yen, sale.by_card, sale.purse.card_value, sale.register)
            for sale in city.draw(50, registers=city.registers)
        ]
        for city in (first, second)
    ]
    assert drawn[0] == drawn[1]


def test_a_city_without_money_says_so() -> None:
    city = make_city(99)
    with pytest.raises(BenchError, match="run out of money"):
        city.draw(1, registers=city.registers)


def test_a_request_is_whole_and_has_a_key_of_its_own() -> None:
    city = make_city(50_000)
    (sale,) = city.draw(1, registers=city.registers[1:2])
    one, another = (render_request(sale, value="shown") for _ in range(2))
    head, body = one.split(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    assert lines[0] == "POST /v1/payments HTTP/1.1"
    assert headers["authorization"] == "Bearer key-of-ter_2"
    assert int(headers["content-length"]) == len(body)
    assert json.loads(body) == {
        "merchant_payment_id": "R-000000001",
        "amount": {"amount": sale.amount_yen, "currency": "JPY"},
        "instrument": {"type": "card" if sale.by_card else "cpm_code", "value": "shown"},
        "terminal_id": "ter_2",
    }
    assert one != another
