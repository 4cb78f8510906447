"""Who judges crashes must see what is wrong: each answer that may not be is planted once."""

import msgspec
import pytest

from tests.reliability.judge import contradictions
from tests.reliability.load import Answer, Entry, Ticket

TICKET = Ticket("payment-1", 100, "card", "card_of_nobody", {}, b"")


def told(status: int, *, again: bool = False, **body: object) -> Answer:
    """Return an answer, told anew or again."""
    return Answer(status=status, replayed=again, body=msgspec.json.encode(body))


PAID = told(201, id="pay_1")
DECLINED = told(409, code="code_used", payment_id="pay_1", instance="first")


def found(*answers: Answer, given_up: bool = False) -> list[str]:
    """Return what is wrong with the answers to one key."""
    entry = Entry(TICKET)
    entry.answers += answers
    entry.given_up = given_up
    return list(contradictions(entry))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (PAID, told(201, again=True, id="pay_1")),
        (DECLINED, told(409, again=True, code="code_used", payment_id="pay_1", instance="second")),
    ],
)
def test_the_same_answer_again_is_right(first: Answer, second: Answer) -> None:
    assert not found(first, second)


def test_only_who_gave_up_may_go_without_an_answer() -> None:
    assert not found(given_up=True)
    assert found() == ["payment-1 was never answered"]


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ((PAID, PAID), "was paid anew when it was asked for again"),
        ((PAID, told(201, again=True, id="pay_2")), "or not in one way"),
        ((PAID, told(201, again=True, id="pay_1", paid=True)), "or not in one way"),
        ((PAID, DECLINED), "or not in one way"),
        ((told(500, code="internal_error"),), "was answered 500 internal_error"),
        ((told(402, code="limit_daily"),), "was answered 402 limit_daily"),
    ],
)
def test_a_planted_answer_is_found(answers: tuple[Answer, ...], sentence: str) -> None:
    assert any(sentence in problem for problem in found(*answers))
