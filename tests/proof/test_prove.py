"""The proof of a city: green where all is well, and every planted error found by name."""

import json
from typing import Any
from uuid import UUID

import pytest

from tests.factories.planting import failed, planted, shown
from tests.proof.conftest import LATER_US, Trade
from tests.servers import Database
from wallet.core.database import make_engine
from wallet.ledger.findings import Finding
from wallet.ledger.seal import seal
from wallet.proof import Proof, prove
from wallet.proof.prove import prove_snapshot

NOBODY = UUID(int=0xFF)

ISSUE = "UPDATE transfer SET {} WHERE user_data_128 = :wallet_id"
PLACE = "UPDATE payment SET {} = :nobody WHERE id = :by_code"
"""Changes that are planted."""


async def findings_with(
    database: Database, trade: Trade, *statements: str
) -> dict[str, list[Finding]]:
    """Return what a proof finds when the statements were committed."""
    values: dict[str, Any] = trade.values | {"nobody": NOBODY}
    async with planted(database.owner_url, *statements, **values) as connection:
        proof = await prove_snapshot(connection, now_us=LATER_US)
        return failed(proof.checks)


async def green(database: Database, **options: Any) -> Proof:  # noqa: ANN401 - passed on
    """Prove as the application does."""
    engine = make_engine(database.application_url, pool_size=1, application_name="tests")
    try:
        return await prove(engine, now_us=LATER_US, **options)
    finally:
        await engine.dispose()


@pytest.mark.usefixtures("trade")
async def test_a_city_that_has_traded_is_green(module_database: Database) -> None:
    proof = await green(module_database)
    assert proof.ok, failed(proof.checks)
    assert proof.payments == 6
    assert proof.seals is None
    assert [(one.code, one.issued_yen, one.circulating_yen) for one in proof.programmes] == [
        ("coin", 10_000, 7_000),
        ("voucher", 12_500, 500),
    ]
    assert [one.redeemed_yen for one in proof.programmes] == [3_000, 12_000]
    assert {one.expired_yen + one.refunded_yen for one in proof.programmes} == {0}


async def test_an_empty_city_is_green(database: Database) -> None:
    proof = await green(database, seals=True)
    assert proof.ok, failed(proof.checks)
    assert proof.seals is not None
    assert proof.seals.head is None


@pytest.mark.usefixtures("trade")
async def test_the_seals_are_proved_when_asked_for(module_database: Database) -> None:
    engine = make_engine(module_database.application_url, pool_size=2, application_name="tests")
    made = await seal(engine, now_us=LATER_US, wait_s=20)
    await engine.dispose()
    assert made is not None
    proof = await green(module_database, seals=True, published={1: made.hash})
    assert proof.ok
    assert proof.seals is not None
    assert (proof.seals.transfers, proof.seals.head) == (proof.ledger.transfers, made)
    forged = await green(module_database, seals=True, published={1: bytes(32)})
    assert [check.name for check in forged.checks if not check.ok] == ["seals_form_one_chain"]


async def test_a_proof_is_json(module_database: Database, trade: Trade) -> None:
    values = trade.values
    change = "UPDATE balance SET credits_posted = credits_posted + 1 WHERE account_id IN"
    shops = "(SELECT payable_account_id FROM shop WHERE id = :shop_id)"
    async with planted(module_database.owner_url, f"{change} {shops}", **values) as connection:
        proof = await prove_snapshot(connection, now_us=LATER_US, seals=True)
    told = json.loads(json.dumps(proof.as_dict()))
    assert told["ok"] is False
    checks = {check["name"]: check for check in told["ledger"]["checks"]}
    (finding,) = checks["balances_equal_their_transfers"]["findings"]
    assert (finding["kind"], finding["stored"], finding["computed"]) == ("account", 15_001, 15_000)
    assert told["programmes"][1]["redeemed_yen"] == 12_000


@pytest.mark.parametrize(
    ("statement", "code", "stored", "computed"),
    [
        (
            ("UPDATE balance SET credits_posted = credits_posted + 1 WHERE account_id IN"
            " (SELECT account_id FROM purse WHERE wallet_id = :wallet_id)"),
            "coin", 7_001, 7_000,
        ),
        (
            "UPDATE transfer SET amount = amount + 5 WHERE user_data_128 = :by_card",
            "coin", 7_000, 6_995,
        ),
        ("DELETE FROM transfer WHERE user_data_128 = :by_card", "coin", 7_000, 9_000),
        (
            "UPDATE transfer SET amount = amount - 3 WHERE user_data_128 = :wallet_id",
            "coin", 7_000, 6_997,
        ),
    ],
)  # fmt: skip
async def test_money_that_is_nowhere_is_found(
    module_database: Database, trade: Trade, statement: str, code: str, stored: int, computed: int
) -> None:
    found = await findings_with(module_database, trade, statement)
    assert [(f.id, f.stored, f.computed) for f in found["issued_money_is_somewhere"]] == [
        (code, stored, computed)
    ]


async def test_money_spent_under_another_programme_is_found_in_both(
    module_database: Database, trade: Trade
) -> None:
    found = await findings_with(
        module_database,
        trade,
        "UPDATE transfer SET user_data_32 = 2 WHERE user_data_128 = :by_card",
    )
    assert {f.id for f in found["issued_money_is_somewhere"]} == {"coin", "voucher"}
    (finding,) = found["transfers_carry_their_programme"]
    assert (finding.what, finding.stored, finding.computed) == ("programme", "2", "1")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            "debit_account_id = (SELECT clearing_account_id FROM programme WHERE number = 2)",
            "programme",
        ),
        (
            "debit_account_id = (SELECT id FROM account WHERE code = 1)",
            "kinds of accounts",
        ),
        (
            (
                "debit_account_id = (SELECT min(account_id::text)::uuid FROM purse"
                " WHERE wallet_id = :holder_id)"
            ),
            "kinds of accounts",
        ),
    ],
)
async def test_money_issued_from_elsewhere_is_found(
    module_database: Database, trade: Trade, change: str, what: str
) -> None:
    found = await findings_with(
        module_database,
        trade,
        ISSUE.format(change),
    )
    assert what in {finding.what for finding in found["transfers_carry_their_programme"]}


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("DELETE FROM purse WHERE wallet_id = :wallet_id", "purse"),
        (
            "UPDATE account SET flags = 0 WHERE user_data_128 = :wallet_id",
            "guard against overdraft",
        ),
        ("UPDATE purse SET wallet_id = :holder_id WHERE wallet_id = :wallet_id", "wallet"),
        ("UPDATE account SET user_data_32 = 9 WHERE user_data_128 = :wallet_id", "programme"),
        ("UPDATE account SET code = 30 WHERE user_data_128 = :wallet_id", "account of a purse"),
    ],
)
async def test_a_purse_that_is_not_guarded_or_not_its_wallets_is_found(
    module_database: Database, trade: Trade, statement: str, what: str
) -> None:
    found = await findings_with(module_database, trade, statement)
    assert what in {finding.what for finding in found["purses_are_guarded"]}


@pytest.mark.parametrize(
    ("statement", "kind", "what"),
    [
        (
            (
                "UPDATE account SET code = 10 WHERE id IN"
                " (SELECT payable_account_id FROM shop WHERE id = :shop_id)"
            ),
            "shop",
            "payable account",
        ),
        (
            "UPDATE programme SET budget_account_id = clearing_account_id WHERE number = 2",
            "programme",
            "budget account",
        ),
        (
            "UPDATE account SET flags = 0 WHERE code = 11",
            "programme",
            "guard of the budget",
        ),
    ],
)
async def test_an_account_that_is_not_what_it_stands_for_is_found(
    module_database: Database, trade: Trade, statement: str, kind: str, what: str
) -> None:
    found = await findings_with(module_database, trade, statement)
    kinds = {f.kind for f in found["accounts_are_what_they_stand_for"] if f.what.startswith(what)}
    assert kinds == {kind}


@pytest.mark.parametrize(
    ("statement", "payment", "stored", "computed"),
    [
        ("UPDATE payment SET amount_yen = 999 WHERE id = :by_code", "by_code", 1_000, 999),
        ("DELETE FROM transfer WHERE user_data_128 = :by_card", "by_card", 0, 2_000),
        (
            "DELETE FROM transfer WHERE user_data_128 = :by_two_purses AND amount = 2000",
            "by_two_purses", 10_000, 12_000,
        ),
        (
            "UPDATE payment SET state = 'declined', refusal = '{}' WHERE id = :by_code",
            "by_code", 1_000, 0,
        ),
        (
            "UPDATE transfer SET user_data_128 = :declined WHERE user_data_128 = :by_code",
            "declined", 1_000, 0,
        ),
        ("DELETE FROM payment WHERE id = :by_code", "by_code", 1_000, 0),
    ],
)  # fmt: skip
async def test_a_payment_that_moved_another_amount_is_found(
    module_database: Database,
    trade: Trade,
    statement: str,
    payment: str,
    stored: int,
    computed: int,
) -> None:
    found = await findings_with(module_database, trade, statement)
    amounts = {f.id: (f.stored, f.computed) for f in found["payments_moved_their_amount"]}
    assert amounts[str(trade.values[payment])] == (stored, computed)


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        (
            (
                "UPDATE transfer SET credit_account_id = (SELECT id FROM account WHERE code = 1)"
                " WHERE user_data_128 = :by_code"
            ),
            "payee",
        ),
        (
            "UPDATE payment SET wallet_id = :holder_id WHERE id = :by_code",
            "wallet of the purse",
        ),
        (
            "UPDATE transfer SET id = gen_random_uuid() WHERE user_data_128 = :by_code",
            "id under its payment",
        ),
    ],
)
async def test_a_leg_that_leads_astray_is_found(
    module_database: Database, trade: Trade, statement: str, what: str
) -> None:
    found = await findings_with(module_database, trade, statement)
    assert {f.what for f in found["legs_lead_from_the_wallet_to_the_shop"]} == {what}


@pytest.mark.parametrize("column", ["merchant_id", "shop_id", "terminal_id"])
async def test_a_payment_of_another_place_is_found(
    module_database: Database, trade: Trade, column: str
) -> None:
    found = await findings_with(module_database, trade, PLACE.format(column))
    assert {f.id for f in found["payments_are_of_their_terminal"]} == {str(trade.by_code)}


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM idempotency_key WHERE payment_id = :by_card",
        "UPDATE idempotency_key SET principal_id = :nobody WHERE payment_id = :by_card",
    ],
)
async def test_a_payment_without_its_key_is_found(
    module_database: Database, trade: Trade, statement: str
) -> None:
    found = await findings_with(module_database, trade, statement)
    assert {f.id for f in found["payments_have_their_keys"]} == {str(trade.by_card)}


async def test_a_key_that_leads_nowhere_is_found(module_database: Database, trade: Trade) -> None:
    found = await findings_with(
        module_database,
        trade,
        "UPDATE idempotency_key SET payment_id = :nobody WHERE key = 'another key'",
    )
    (finding,) = found["payments_have_their_keys"]
    assert finding.id == str(NOBODY)


TOLD_TWICE = """
INSERT INTO outbox (event_id, kind, body, created_at)
SELECT event_id, kind, body, created_at FROM outbox WHERE event_id = :{}
"""


@pytest.mark.parametrize(
    ("statement", "stored"),
    [
        ("DELETE FROM outbox WHERE event_id = :by_code", 0),
        (TOLD_TWICE.format("by_code"), 2),
        ("UPDATE outbox SET kind = 'payment.declined' WHERE event_id = :by_code", 1),
    ],
)
async def test_a_payment_not_told_exactly_once_is_found(
    module_database: Database, trade: Trade, statement: str, stored: int
) -> None:
    found = await findings_with(module_database, trade, statement)
    (finding,) = found["payments_are_told_once"]
    assert (finding.id, finding.stored) == (str(trade.by_code), stored)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM outbox WHERE kind = 'voucher.issued' AND body->>'programme' = 'coin'",
        (
            "UPDATE outbox SET event_id = :nobody WHERE kind = 'voucher.issued'"
            " AND body->>'programme' = 'coin'"
        ),
    ],
)
async def test_an_issue_that_was_not_told_is_found(
    module_database: Database, trade: Trade, statement: str
) -> None:
    found = await findings_with(module_database, trade, statement)
    issues = {f.id: (f.stored, f.computed) for f in found["issues_are_told_once"]}
    assert (0, 1) in issues.values()
    assert issues.get(str(NOBODY), (1, 0)) == (1, 0)


@pytest.mark.parametrize(
    ("statement", "payment", "what"),
    [
        (
            "UPDATE one_time_code SET burnt_by = NULL WHERE burnt_by = :by_code",
            "by_code",
            "code that it was paid with",
        ),
        (
            "UPDATE one_time_code SET burnt_by = :by_card WHERE burnt_by = :by_code",
            "by_card",
            "code of the payment",
        ),
        (
            "UPDATE one_time_code SET wallet_id = :holder_id WHERE burnt_by = :by_code",
            "by_code",
            "wallet of the code",
        ),
        ("DELETE FROM payment WHERE id = :by_code", "by_code", "payment that burnt a code"),
        (
            (
                "UPDATE payment SET instrument_hash = (SELECT instrument_hash FROM payment"
                " WHERE id = :by_code) WHERE id = :by_two_purses"
            ),
            "by_two_purses",
            "code that it was paid with",
        ),
    ],
)
async def test_a_code_that_does_not_agree_with_its_payment_is_found(
    module_database: Database, trade: Trade, statement: str, payment: str, what: str
) -> None:
    found = await findings_with(module_database, trade, statement)
    pairs = {(f.id, f.what) for f in found["codes_pay_once"]}
    assert (str(trade.values[payment]), what) in pairs


@pytest.mark.parametrize(
    ("statement", "kind", "holder", "what", "stored", "computed"),
    [
        (
            "UPDATE spending SET spent_yen = spent_yen - 1 WHERE holder_id = :wallet_id",
            "wallet", "wallet_id", "spent_yen on 2026-11-25", "2999", "3000",
        ),
        (
            "UPDATE spending SET spent_yen = 0 WHERE holder_id = :card_id",
            "card", "card_id", "spent_yen on 2026-11-25", "0", "2000",
        ),
        (
            "UPDATE spending SET spent_on = spent_on - 1 WHERE holder_id = :card_id",
            "card", "card_id", "spent_on", "2026-11-24", "2026-11-25",
        ),
        (
            "DELETE FROM spending WHERE holder_id = :holder_id",
            "wallet", "holder_id", "counter of spending", "false", "true",
        ),
        (
            "UPDATE spending SET holder_id = :nobody WHERE holder_id = :holder_id",
            "holder", "nobody", "holder of a counter", "false", "true",
        ),
        (
            ("UPDATE payment SET created_at = created_at + interval '11 hours 59 minutes'"
            " WHERE id = :by_two_purses"),
            "wallet", "holder_id", None, "", "",
        ),
        (
            ("UPDATE payment SET created_at = created_at + interval '12 hours'"
            " WHERE id = :by_two_purses"),
            "wallet", "holder_id", "spent_on", "2026-11-25", "2026-11-26",
        ),
    ],
)  # fmt: skip
async def test_a_counter_that_is_not_the_days_payments_is_found(
    module_database: Database,
    trade: Trade,
    statement: str,
    kind: str,
    holder: str,
    what: str | None,
    stored: str,
    computed: str,
) -> None:
    findings = await findings_with(module_database, trade, statement)
    found = shown(findings.get("spending_counts_the_day", []))
    if what is None:
        assert not found
    else:
        holder_id = str((trade.values | {"nobody": NOBODY})[holder])
        assert (kind, holder_id, what, stored, computed) in found


@pytest.mark.usefixtures("trade")
async def test_a_record_that_may_be_changed_is_found(module_database: Database) -> None:
    async with planted(module_database.owner_url) as connection:
        await connection.exec_driver_sql("GRANT UPDATE (state) ON payment TO wallet_app")
        proof = await prove_snapshot(connection, now_us=LATER_US)
    (finding,) = failed(proof.checks)["records_cannot_change"]
    assert (finding.kind, finding.id) == ("table", "payment")
