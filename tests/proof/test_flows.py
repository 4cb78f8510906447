"""Every kind of transfer leads where it may, adds up, and is found where it leads astray."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import pytest
import pytest_asyncio

from tests.factories.city import open_rooms
from tests.factories.ledger import account, codes, open_accounts, transfer
from tests.factories.people import make_wallet
from tests.factories.planting import failed, planted
from tests.factories.programmes import free_draft, make_programme, voucher_draft
from tests.factories.vouchers import give
from tests.proof.conftest import LATER_US
from tests.servers import Database
from wallet.core.database import make_engine, read
from wallet.core.money import LEDGER_JPY
from wallet.ledger import chart
from wallet.ledger.rules import ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS, NIL, Transfer
from wallet.ledger.teller import Teller
from wallet.proof import prove
from wallet.proof.flows import FLOWS, FOR_A_WALLET
from wallet.proof.programmes import questions
from wallet.proof.prove import prove_snapshot

VOUCHER: Final = 1
COIN: Final = 2

_ACCOUNTS: Final = """
SELECT g.code || ' clearing' AS name, g.clearing_account_id AS account_id FROM programme AS g
UNION ALL SELECT g.code || ' budget', g.budget_account_id FROM programme AS g
UNION ALL
SELECT g.code || ' ' || p.funding || CASE WHEN p.wallet_id = :giver THEN '' ELSE ' of another' END,
       p.account_id
FROM purse AS p JOIN programme AS g ON g.id = p.programme_id
"""

# What each is, of 100 yen and the programme's number: (kind, from, to, number of the programme).
# Payments, coupons, refunds and issues have tests of their own.
BOOKED: Final[Sequence[tuple[int, str, str, int]]] = (
    (chart.TRANSFER_SHOP_TO_SHOP, "shop", "other shop", 0),
    (chart.TRANSFER_CASH_OUT, "other shop", "cash out", 0),
    (chart.TRANSFER_BONUS, "coin budget", "coin free", COIN),
    (chart.TRANSFER_BONUS_REVERSED, "coin free", "coin budget", COIN),
    (chart.TRANSFER_BONUS_RESERVED, "coin budget", "coin reserve", COIN),
    (chart.TRANSFER_BONUS_RESERVED, "coin budget", "coin reserve", COIN),
    (chart.TRANSFER_BONUS, "coin reserve", "coin free", COIN),
    (chart.TRANSFER_BONUS_REVERSED, "coin reserve", "coin budget", COIN),
    (chart.TRANSFER_GRANT, "coin budget", "coin free", COIN),
    (chart.TRANSFER_CLAW_BACK, "coin free", "coin budget", COIN),
    (chart.TRANSFER_GIFT, "voucher paid", "voucher paid of another", VOUCHER),
    (chart.TRANSFER_MOVE, "voucher premium", "voucher premium of another", VOUCHER),
    (chart.TRANSFER_EXCHANGE, "voucher paid", "voucher clearing", VOUCHER),
    (chart.TRANSFER_EXCHANGE, "voucher premium", "voucher budget", VOUCHER),
    (chart.TRANSFER_EXCHANGE, "coin budget", "coin free", COIN),
    (chart.TRANSFER_EXCHANGE, "voucher clearing", "voucher paid", VOUCHER),
    (chart.TRANSFER_RECEIPT, "receipts", "voucher clearing", VOUCHER),
    (chart.TRANSFER_SUSPENDED, "receipts", "suspense", 0),
    (chart.TRANSFER_SUSPENDED, "receipts", "suspense", 0),
    (chart.TRANSFER_SUSPENSE_SETTLED, "suspense", "voucher clearing", VOUCHER),
    (chart.TRANSFER_SUSPENSE_SETTLED, "suspense", "receipts", 0),
    (chart.TRANSFER_EXPIRY, "voucher paid", "voucher budget", VOUCHER),
    (chart.TRANSFER_EXPIRY, "coin free", "coin budget", COIN),
    (chart.TRANSFER_BUYER_REFUND, "voucher paid", "voucher clearing", VOUCHER),
    (chart.TRANSFER_BUYER_REFUND, "voucher premium", "voucher budget", VOUCHER),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def booked(module_database: Database) -> dict[str, UUID]:
    """Book every kind of transfer once, and return the accounts by name, and the giver."""
    async with open_rooms(module_database.application_url) as (engine, teller):
        await make_programme(teller, voucher_draft())
        await make_programme(teller, free_draft())
        giver, taker = [await make_wallet(engine) for _ in range(2)]
        for wallet_id in (giver, taker):
            await give(teller, wallet_id, "voucher", sets=1)
            await give(teller, wallet_id, "coin", amount_yen=1_000)
        names = await _open_others(teller)
        async with read(engine) as connection:
            rows = await connection.exec_driver_sql(_ACCOUNTS.replace(":giver", f"'{giver}'"))
            names |= {row.name: row.account_id for row in rows}
        names["giver"] = giver
        for code, left, reached, number in BOOKED:
            one = _transfer(code, left, reached, number, names=names)
            assert await codes(teller, one) == ["created"], one
    return names


async def _open_others(teller: Teller) -> dict[str, UUID]:
    """Open the accounts that no programme has yet, and a shop's, whose shop is not looked for."""
    kinds = {
        "shop": {"code": chart.ACCOUNT_PAYABLE},
        "other shop": {"code": chart.ACCOUNT_PAYABLE},
        "receipts": {"code": chart.ACCOUNT_RECEIPTS},
        "suspense": {"code": chart.ACCOUNT_SUSPENSE},
        "cash out": {"code": chart.ACCOUNT_CASH_OUT},
        "coin reserve": {
            "code": chart.ACCOUNT_BONUS_RESERVE,
            "flags": ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
            "user_data_32": COIN,
        },
    }
    ids = await open_accounts(
        teller, *(account(ledger=LEDGER_JPY, **fields) for fields in kinds.values())
    )
    return dict(zip(kinds, ids, strict=True))


def _transfer(
    code: int, left: str, reached: str, number: int, *, names: Mapping[str, UUID]
) -> Transfer:
    return transfer(
        names[left],
        names[reached],
        ledger=LEDGER_JPY,
        code=code,
        user_data_32=number,
        user_data_128=names["giver"] if code in FOR_A_WALLET else NIL,
    )


async def test_every_kind_of_transfer_is_green_and_adds_up(
    module_database: Database, booked: Mapping[str, UUID]
) -> None:
    assert booked
    engine = make_engine(module_database.application_url, pool_size=1, application_name="tests")
    proof = await prove(engine, now_us=LATER_US)
    await engine.dispose()
    # The rooms that book them ask for the rows they are written with, which are not there.
    asked = {*(question.name for question in questions()), "issued_money_is_somewhere"}
    asked.update(check.name for check in proof.ledger.checks)
    assert not asked & failed(proof.checks).keys()
    voucher, coin = proof.programmes
    assert (voucher.issued_yen, voucher.circulating_yen) == (12_600, 12_100)
    assert (voucher.redeemed_yen, voucher.expired_yen, voucher.refunded_yen) == (0, 100, 400)
    assert (coin.issued_yen, coin.circulating_yen) == (2_400, 2_100)
    assert (coin.redeemed_yen, coin.expired_yen, coin.refunded_yen) == (0, 100, 200)


def test_every_flow_without_tests_elsewhere_is_booked_here() -> None:
    others = {
        chart.TRANSFER_PAYMENT,
        chart.TRANSFER_COUPON,
        chart.TRANSFER_REFUND,
        chart.TRANSFER_ISSUE,
        chart.TRANSFER_FUNDING,
    }
    assert {code for code, *_ in BOOKED} | others == {flow[0] for flow in FLOWS}


async def findings_with(database: Database, statement: str, **values: object) -> list[str]:
    """Return what a proof finds in the transfers when the statement was committed."""
    async with planted(database.owner_url, statement, **values) as connection:
        proof = await prove_snapshot(connection, now_us=LATER_US)
    found = failed(proof.checks)
    return [finding.what for finding in found.get("transfers_carry_their_programme", [])]


@pytest.mark.parametrize("flow", sorted({flow[0] for flow in FLOWS}))
async def test_a_transfer_between_accounts_it_is_not_for_is_found(
    module_database: Database, booked: Mapping[str, UUID], flow: int
) -> None:
    from_receipts = {chart.TRANSFER_RECEIPT, chart.TRANSFER_SUSPENDED}
    # Into suspense leads one flow alone, and none between a reserve and a purse that is an issue.
    left = "coin reserve" if flow in from_receipts else "receipts"
    reached = {chart.TRANSFER_SUSPENDED: "shop"}.get(flow, "suspense")
    what = await findings_with(
        module_database,
        "UPDATE transfer SET code = :code, debit_account_id = :left, credit_account_id = :reached"
        " WHERE id = (SELECT id FROM transfer WHERE code = :known LIMIT 1)",
        code=flow,
        known=chart.TRANSFER_SHOP_TO_SHOP,
        left=booked[left],
        reached=booked[reached],
    )
    assert "kinds of accounts" in what


async def test_a_kind_of_transfer_that_the_chart_does_not_know_is_found(
    module_database: Database, booked: Mapping[str, UUID]
) -> None:
    assert booked
    what = await findings_with(
        module_database, "UPDATE transfer SET code = 99 WHERE code = :move", move=28
    )
    assert set(what) == {"kinds of accounts"}


@pytest.mark.parametrize("code", sorted({code for code, _, _, number in BOOKED if number}))
async def test_a_transfer_of_another_programme_is_found(
    module_database: Database, booked: Mapping[str, UUID], code: int
) -> None:
    assert booked
    what = await findings_with(
        module_database,
        "UPDATE transfer SET user_data_32 = 3 - user_data_32 WHERE code = :code"
        " AND user_data_32 > 0",
        code=code,
    )
    assert set(what) == {"programme"}


@pytest.mark.parametrize(
    ("code", "left", "reached"),
    [
        (chart.TRANSFER_ISSUE, "voucher clearing", "voucher premium"),
        (chart.TRANSFER_ISSUE, "voucher budget", "voucher paid"),
        (chart.TRANSFER_EXCHANGE, "voucher premium", "voucher clearing"),
        (chart.TRANSFER_EXCHANGE, "voucher paid", "voucher budget"),
        (chart.TRANSFER_BUYER_REFUND, "voucher premium", "voucher clearing"),
        (chart.TRANSFER_BUYER_REFUND, "voucher paid", "voucher budget"),
        (chart.TRANSFER_GIFT, "voucher premium", "voucher premium of another"),
        (chart.TRANSFER_MOVE, "voucher paid", "voucher premium of another"),
    ],
)
async def test_money_that_changes_its_class_is_found(
    module_database: Database, booked: Mapping[str, UUID], code: int, left: str, reached: str
) -> None:
    what = await findings_with(
        module_database,
        "UPDATE transfer SET debit_account_id = :left, credit_account_id = :reached"
        " WHERE code = :code AND user_data_32 = 1 AND user_data_128 = :giver",
        code=code,
        left=booked[left],
        reached=booked[reached],
        giver=booked["giver"],
    )
    assert set(what) == {"class of money"}


@pytest.mark.parametrize("code", sorted(FOR_A_WALLET))
async def test_a_transfer_for_a_wallet_that_is_another_s_is_found(
    module_database: Database, booked: Mapping[str, UUID], code: int
) -> None:
    assert booked
    what = await findings_with(
        module_database,
        "UPDATE transfer SET user_data_128 = gen_random_uuid() WHERE code = :code",
        code=code,
    )
    assert set(what) == {"wallet"}


@pytest.mark.parametrize(
    ("statement", "check", "what"),
    [
        (
            "UPDATE balance SET debits_posted = 201 WHERE account_id = :suspense",
            "accounts_are_on_their_side",
            "side of an account of kind 13",
        ),
        (
            "UPDATE balance SET credits_posted = 301 WHERE account_id = :receipts",
            "accounts_are_on_their_side",
            "side of an account of kind 12",
        ),
        (
            "UPDATE account SET flags = 0 WHERE id = :reserve",
            "accounts_are_what_they_stand_for",
            "guard of the reserve",
        ),
        (
            "UPDATE account SET user_data_32 = 7 WHERE id = :reserve",
            "accounts_are_what_they_stand_for",
            "programme of an account of kind 14",
        ),
        (
            "UPDATE account SET code = 11 WHERE id = :suspense",
            "accounts_are_what_they_stand_for",
            "programme of an account of kind 11",
        ),
    ],
)
async def test_an_account_that_holds_what_it_cannot_is_found(
    module_database: Database, booked: Mapping[str, UUID], statement: str, check: str, what: str
) -> None:
    values = {
        name: booked[key]
        for name, key in (
            ("suspense", "suspense"),
            ("receipts", "receipts"),
            ("reserve", "coin reserve"),
        )
    }
    async with planted(module_database.owner_url, statement, **values) as connection:
        proof = await prove_snapshot(connection, now_us=LATER_US)
    assert what in {finding.what for finding in failed(proof.checks)[check]}
