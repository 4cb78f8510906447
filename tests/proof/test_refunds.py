"""The proof of refunds and of purses that have ended: every planted error is found by name."""

from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from tests.factories.city import City, make_city
from tests.factories.days import check_proof, expire, go_to
from tests.factories.payments import fresh, make_payer, pay
from tests.factories.planting import failed, planted
from tests.factories.programmes import make_programme, voucher_draft
from tests.factories.refunds import refund
from tests.factories.vouchers import give
from tests.servers import Database
from wallet.core.ids import new_id
from wallet.ledger.findings import Finding
from wallet.proof.prove import prove_snapshot


@dataclass(frozen=True)
class Returned:
    """A payment of 5,600 yen out of two purses, of which 900 came back in two refunds.

    The first took all of the premium money and a little of the other. Later all purses ended.
    """

    payment: UUID
    first: UUID
    second: UUID
    holder: UUID
    other: UUID
    now_us: int

    @property
    def values(self) -> dict[str, Any]:
        """All of them by name, as parameters of SQL."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def returned(module_database: Database) -> Returned:
    """Let somebody pay and get money back."""
    async with make_city(module_database.application_url) as city:
        return await _return(city)


async def _return(city: City) -> Returned:
    await make_programme(city.teller, voucher_draft())
    holder, other = [await make_payer(city, yen=0) for _ in range(2)]
    await give(city.teller, holder, "voucher", sets=1)
    await give(city.teller, other, "voucher", sets=1)
    payment = await pay(city, await fresh(city, holder, amount_yen=5_600))
    first = await refund(city, payment.id, amount_yen=700)
    second = await refund(city, payment.id, amount_yen=200)
    go_to(city, date(2027, 4, 1))
    await expire(city)
    await check_proof(city)
    return Returned(payment.id, first.id, second.id, holder, other, city.clock())


async def findings_with(
    database: Database, returned: Returned, statement: str
) -> dict[str, list[Finding]]:
    """Return what a proof finds when the statement was committed."""
    values: dict[str, Any] = returned.values | {"nobody": new_id(now_us=returned.now_us)}
    async with planted(database.owner_url, statement, **values) as connection:
        return failed((await prove_snapshot(connection, now_us=returned.now_us)).checks)


@pytest.mark.parametrize(
    ("statement", "check", "what"),
    [
        (
            "UPDATE refund SET amount_yen = amount_yen + 1 WHERE id = :first",
            "refunds_gave_back_their_amount", "yen given back",
        ),
        (
            "DELETE FROM refund WHERE id = :second",
            "refunds_gave_back_their_amount", "refund of legs",
        ),
        (
            "UPDATE transfer SET user_data_128 = :nobody WHERE user_data_128 = :first",
            "refunds_gave_back_their_amount", "refund of legs",
        ),
        (
            "UPDATE refund SET payment_id = :nobody WHERE id = :first",
            "refunds_go_back_where_it_came_from", "leg that it gives back",
        ),
        (
            ("UPDATE transfer SET debit_account_id = (SELECT id FROM account WHERE code = 1)"
            " WHERE user_data_128 = :payment"),
            "refunds_go_back_where_it_came_from", "holder and class of money",
        ),
        (
            ("UPDATE transfer SET credit_account_id = (SELECT id FROM account WHERE code = 1)"
            " WHERE user_data_128 = :payment"),
            "refunds_go_back_where_it_came_from", "payer of the refund",
        ),
        (
            "UPDATE transfer SET user_data_32 = 1 WHERE user_data_128 = :first",
            "refunds_go_back_where_it_came_from", "programme",
        ),
        (
            ("UPDATE transfer SET credit_account_id = (SELECT account_id FROM purse"
            " WHERE wallet_id = :other AND funding = 'paid') WHERE user_data_128 = :first"),
            "refunds_go_back_where_it_came_from", "holder and class of money",
        ),
        (
            ("UPDATE transfer SET credit_account_id = (SELECT account_id FROM purse"
            " WHERE wallet_id = :holder AND funding = 'paid') WHERE user_data_128 = :first"),
            "refunds_go_back_where_it_came_from", "holder and class of money",
        ),
        (
            ("UPDATE transfer SET amount = amount - 1 WHERE user_data_128 = :payment"
            " AND amount < 1000"),
            "refunds_are_no_more_than_was_paid", "yen given back of it",
        ),
        (
            "DELETE FROM outbox WHERE event_id = :first", "refunds_are_told_once", "events",
        ),
        (
            ("UPDATE balance SET credits_posted = credits_posted + 1"
            " WHERE account_id IN (SELECT account_id FROM purse WHERE wallet_id = :holder)"),
            "ended_purses_are_empty", "yen in a purse that has ended",
        ),
        (
            "UPDATE purse SET expires_on = '2027-04-01' WHERE wallet_id = :holder",
            "ended_purses_are_empty", "that its last day was over",
        ),
        (
            ("UPDATE balance SET credits_pending = 1"
            " WHERE account_id IN (SELECT account_id FROM purse WHERE wallet_id = :holder)"),
            "ended_purses_are_empty", "holds on a purse that has ended",
        ),
    ],
)  # fmt: skip
async def test_a_refund_that_is_not_what_it_says_is_found(
    module_database: Database, returned: Returned, statement: str, check: str, what: str
) -> None:
    found = await findings_with(module_database, returned, statement)
    assert what in {finding.what for finding in found[check]}
