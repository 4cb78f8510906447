"""The ledger's proof: green where all is well, and every planted error found by name."""

from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from tests.factories.planting import failed, planted, shown
from tests.ledger.history import LATER_US, History, make_history
from tests.servers import Database
from wallet.core.database import make_engine
from wallet.ledger.findings import FINDINGS_MAX
from wallet.ledger.verify import LedgerReport, verify, verify_snapshot


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def history(module_database: Database) -> History:
    """Return the ids of a ledger in which everything has happened once."""
    return await make_history(module_database.application_url)


async def verify_with(owner_url: str, *statements: str, **values: object) -> LedgerReport:
    """Verify the ledger as it would be had the statements been committed."""
    async with planted(owner_url, *statements, **values) as connection:
        return await verify_snapshot(connection, now_us=LATER_US)


@pytest.mark.usefixtures("history")
async def test_a_ledger_with_every_kind_of_transfer_is_green(module_database: Database) -> None:
    engine = make_engine(module_database.application_url, pool_size=1, application_name="tests")
    report = await verify(engine, LATER_US)
    await engine.dispose()
    assert report.ok, failed(report.checks)
    assert (report.accounts, report.transfers) == (7, 14)
    looked_at = {check.name: check.looked_at for check in report.checks}
    assert looked_at["holds_are_resolved_once"] == 5
    assert looked_at["burnt_ids_are_not_booked"] == 1
    assert 0 not in looked_at.values()


async def test_an_empty_ledger_is_green(database: Database) -> None:
    engine = make_engine(database.application_url, pool_size=1, application_name="tests")
    report = await verify(engine, LATER_US)
    await engine.dispose()
    assert report.ok, failed(report.checks)


ACCOUNT = "UPDATE account SET {} WHERE id = :{}"
BALANCE = "UPDATE balance SET {} WHERE account_id = :{}"
TRANSFER = "UPDATE transfer SET {} WHERE id = :{}"
HOLD = "UPDATE pending_transfer SET {} WHERE transfer_id = :{}"
"""Changes that are planted, to be filled with what and which."""


@pytest.mark.parametrize(
    ("change", "account", "what", "stored", "computed"),
    [
        ("debits_posted = debits_posted + 1", "payer", "debits_posted", 6_501, 6_500),
        ("credits_posted = credits_posted + 1", "payee", "credits_posted", 1_751, 1_750),
        ("debits_pending = debits_pending - 1", "payer", "debits_pending", 999, 1_000),
        ("credits_pending = 7", "mirror", "credits_pending", 7, 0),
        ("transfer_count = transfer_count + 1", "payer", "transfer_count", 12, 11),
        ("closed = true", "payee", "closed", True, False),
        ("closed = false", "closed", "closed", False, True),
    ],
)
async def test_a_changed_balance_is_found(
    module_database: Database,
    history: History,
    change: str,
    account: str,
    what: str,
    stored: object,
    computed: object,
) -> None:
    report = await verify_with(
        module_database.owner_url, BALANCE.format(change, account), **history.values
    )
    findings = failed(report.checks)
    account_id = str(history.values[account])
    assert shown(findings.pop("balances_equal_their_transfers")) == [
        ("account", account_id, what, stored, computed)
    ]
    assert set(findings) <= {"ledgers_balance"}


async def test_a_last_timestamp_that_is_wrong_is_found(
    module_database: Database, history: History
) -> None:
    report = await verify_with(
        module_database.owner_url, BALANCE.format("last_timestamp = 1", "payee"), **history.values
    )
    (finding,) = failed(report.checks)["balances_equal_their_transfers"]
    assert (finding.id, finding.what, finding.stored) == (str(history.payee), "last_timestamp", 1)


async def test_a_yen_on_one_side_only_unbalances_the_ledger(
    module_database: Database, history: History
) -> None:
    statement = BALANCE.format("credits_posted = credits_posted + 1", "payee")
    report = await verify_with(module_database.owner_url, statement, **history.values)
    (finding,) = failed(report.checks)["ledgers_balance"]
    assert (finding.kind, finding.id) == ("ledger", "1")
    assert (finding.stored, finding.computed) == (16_950, 16_951)


async def test_a_removed_transfer_is_found_in_both_accounts(
    module_database: Database, history: History
) -> None:
    report = await verify_with(
        module_database.owner_url, "DELETE FROM transfer WHERE id = :plain", **history.values
    )
    found = shown(failed(report.checks)["balances_equal_their_transfers"])
    assert ("account", str(history.payer), "debits_posted", 6_500, 5_800) in found
    assert ("account", str(history.payee), "credits_posted", 1_750, 1_050) in found


async def test_a_changed_amount_is_found_in_both_accounts(
    module_database: Database, history: History
) -> None:
    report = await verify_with(
        module_database.owner_url, TRANSFER.format("amount = amount + 1", "plain"), **history.values
    )
    found = shown(failed(report.checks)["balances_equal_their_transfers"])
    assert sorted(found) == sorted(
        [
            ("account", str(history.payer), "debits_posted", 6_500, 6_501),
            ("account", str(history.payee), "credits_posted", 1_750, 1_751),
        ]
    )


@pytest.mark.parametrize(
    ("change", "account", "limit", "stored", "computed"),
    [
        ("min_available = -399", "overdraft", "min_available", -399, -400),
        ("max_balance = 199", "capped", "max_balance", 199, 200),
        ("flags = 2", "source", "debits_must_not_exceed_credits", 0, -10_000),
        ("flags = 4", "payee", "credits_must_not_exceed_debits", 0, 700),
    ],
)
async def test_a_limit_that_was_broken_once_is_found(
    module_database: Database,
    history: History,
    change: str,
    account: str,
    limit: str,
    stored: int,
    computed: int,
) -> None:
    report = await verify_with(
        module_database.owner_url, ACCOUNT.format(change, account), **history.values
    )
    (finding,) = failed(report.checks)["limits_hold_at_every_transfer"]
    assert finding.id == str(history.values[account])
    assert finding.what.startswith(f"{limit} at ")
    assert (finding.stored, finding.computed) == (stored, computed)


async def test_money_spent_before_it_was_there_is_found_though_the_sums_agree(
    module_database: Database, history: History
) -> None:
    late = "UPDATE transfer SET timestamp = timestamp + 1000000 WHERE credit_account_id = :payer"
    report = await verify_with(module_database.owner_url, late, **history.values)
    (finding,) = failed(report.checks)["limits_hold_at_every_transfer"]
    assert finding.id == str(history.payer)
    assert finding.what.startswith("debits_must_not_exceed_credits at ")
    assert (finding.stored, finding.computed) == (0, -700)


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        (
            (
                "UPDATE transfer SET timestamp = (SELECT timestamp FROM transfer WHERE id = :first)"
                " WHERE id = :plain"
            ),
            "timestamp after the one before",
        ),
        (
            "UPDATE account SET timestamp = timestamp + 1000000 WHERE id = :payer",
            "timestamp after the creation",
        ),
    ],
)
async def test_transfers_out_of_order_are_found(
    module_database: Database, history: History, statement: str, what: str
) -> None:
    report = await verify_with(module_database.owner_url, statement, **history.values)
    (finding,) = failed(report.checks)["limits_hold_at_every_transfer"]
    assert finding.id == str(history.payer)
    assert finding.what.startswith(what)


@pytest.mark.parametrize(
    ("statement", "what", "stored", "computed"),
    [
        ("DELETE FROM balance WHERE account_id = :closed", "balance", False, True),
        ("UPDATE balance SET code = 2 WHERE account_id = :closed", "code", 2, 1),
        ("UPDATE balance SET ledger = 2 WHERE account_id = :closed", "ledger", 2, 1),
        ("UPDATE balance SET flags = 8 WHERE account_id = :closed", "flags", 8, 0),
        ("UPDATE balance SET max_balance = 9 WHERE account_id = :closed", "max_balance", 9, None),
        ("UPDATE account SET min_available = 0 WHERE id = :closed", "min_available", None, 0),
    ],
)
async def test_an_account_that_differs_from_its_balance_is_found(
    module_database: Database,
    history: History,
    statement: str,
    what: str,
    stored: object,
    computed: object,
) -> None:
    report = await verify_with(module_database.owner_url, statement, **history.values)
    found = shown(failed(report.checks)["accounts_have_one_balance"])
    assert ("account", str(history.closed), what, stored, computed) in found


async def test_a_balance_without_an_account_is_found(
    module_database: Database, history: History
) -> None:
    report = await verify_with(
        module_database.owner_url,
        "ALTER TABLE balance DROP CONSTRAINT fk_balance_account_id_account",
        "ALTER TABLE purse DROP CONSTRAINT fk_purse_account_id_account",
        "ALTER TABLE shop DROP CONSTRAINT fk_shop_payable_account_id_account",
        "DELETE FROM account WHERE id = :capped",
        **history.values,
    )
    findings = failed(report.checks)
    found = shown(findings["accounts_have_one_balance"])
    assert ("account", str(history.capped), "account", False, True) in found
    touched = {
        f.id for f in findings["transfers_are_well_formed"] if f.what.endswith(str(history.capped))
    }
    assert touched == {str(history.chain[1]), str(history.expired_hold)}


NOBODY = UUID(int=0xFF)


@pytest.mark.parametrize(
    ("change", "transfer", "what", "stored", "computed"),
    [
        ("credit_account_id = :nobody", "plain", f"credit account {NOBODY}", "unknown", "known"),
        ("debit_account_id = :nobody", "plain", f"debit account {NOBODY}", "unknown", "known"),
        ("ledger = 2", "plain", "ledger of the debit account", "2", "1"),
        ("flags = 12", "posting", "flags", "12", "fitting together"),
        ("flags = 64", "plain", "flags", "64", "fitting together"),
        ("pending_id = :plain", "first", "pending_id", None, "only of a post or void"),
        ("timeout_s = 5", "plain", "timeout_s", "5", "only of a hold"),
    ],
)
async def test_a_transfer_that_cannot_be_is_found(
    module_database: Database,
    history: History,
    change: str,
    transfer: str,
    what: str,
    stored: str | None,
    computed: str,
) -> None:
    values: dict[str, Any] = history.values | {"nobody": NOBODY}
    report = await verify_with(
        module_database.owner_url, TRANSFER.format(change, transfer), **values
    )
    found = failed(report.checks)["transfers_are_well_formed"]
    (finding,) = (f for f in found if f.what == what)
    assert (finding.id, finding.computed) == (str(history.values[transfer]), computed)
    assert stored is None or finding.stored == stored


async def test_a_chain_that_was_cut_off_is_found(
    module_database: Database, history: History
) -> None:
    report = await verify_with(
        module_database.owner_url, "DELETE FROM transfer WHERE id = :second", **history.values
    )
    (finding,) = failed(report.checks)["chains_are_whole"]
    assert finding.id == str(history.chain[0])


@pytest.mark.parametrize(
    ("statement", "transfer", "what"),
    [
        ("DELETE FROM pending_transfer WHERE transfer_id = :open_hold", "open_hold", "hold"),
        ("DELETE FROM transfer WHERE id = :open_hold", "open_hold", "pending transfer"),
        (HOLD.format("expires_at = 5", "open_hold"), "open_hold", "expires_at"),
        (HOLD.format("expires_at = NULL", "posted_hold"), "posted_hold", "expires_at"),
    ],
)
async def test_a_hold_without_its_transfer_or_its_time_is_found(
    module_database: Database, history: History, statement: str, transfer: str, what: str
) -> None:
    report = await verify_with(module_database.owner_url, statement, **history.values)
    (finding,) = failed(report.checks)["holds_have_one_transfer"]
    assert (finding.id, finding.what) == (str(history.values[transfer]), what)


SECOND_POST = """
INSERT INTO transfer
SELECT :nobody, debit_account_id, credit_account_id, 1, ledger, code, flags, pending_id,
       user_data_128, user_data_64, user_data_32, timeout_s, timestamp + 1000000
FROM transfer WHERE id = :posting
"""


@pytest.mark.parametrize(
    ("statement", "transfer", "what", "stored", "computed"),
    [
        (SECOND_POST, "posted_hold", "posts of a hold that is posted", 2, 1),
        (
            HOLD.format("state = 'posted'", "voided_hold"),
            "voided_hold",
            "posts of a hold that is posted",
            0,
            1,
        ),
        (
            HOLD.format("state = 'pending', resolved_at = NULL", "voided_hold"),
            "voided_hold",
            "voids of a hold that is pending",
            1,
            0,
        ),
        (
            "DELETE FROM transfer WHERE id = :voiding",
            "voided_hold",
            "voids of a hold that is voided",
            0,
            1,
        ),
        (
            TRANSFER.format("amount = 801", "posting"),
            "posting",
            "amount against the held",
            801,
            800,
        ),
        (TRANSFER.format("amount = 29", "voiding"), "voiding", "amount against the held", 29, 30),
        (TRANSFER.format("code = 9", "voiding"), "voiding", "code", 9, 1),
    ],
)
async def test_a_hold_resolved_otherwise_than_it_says_is_found(
    module_database: Database,
    history: History,
    statement: str,
    transfer: str,
    what: str,
    stored: object,
    computed: object,
) -> None:
    values: dict[str, Any] = history.values | {"nobody": NOBODY}
    report = await verify_with(module_database.owner_url, statement, **values)
    found = shown(failed(report.checks)["holds_are_resolved_once"])
    assert ("transfer", str(history.values[transfer]), what, stored, computed) in found


@pytest.mark.parametrize(
    ("statement", "transfer", "what"),
    [
        (
            HOLD.format("resolved_at = expires_at", "posted_hold"),
            "posted_hold",
            "resolved before expires_at",
        ),
        (
            HOLD.format("resolved_at = expires_at - 1", "expired_hold"),
            "expired_hold",
            "expired at expires_at",
        ),
        (
            HOLD.format("resolved_at = resolved_at + 1000", "voided_hold"),
            "voided_hold",
            "resolved_at by the transfer at",
        ),
    ],
)
async def test_a_hold_resolved_at_the_wrong_time_is_found(
    module_database: Database, history: History, statement: str, transfer: str, what: str
) -> None:
    report = await verify_with(module_database.owner_url, statement, **history.values)
    found = failed(report.checks)["holds_are_resolved_once"]
    assert {f.id for f in found} == {str(history.values[transfer])}
    assert any(f.what.startswith(what) for f in found)


async def test_a_post_of_an_unknown_hold_is_found(
    module_database: Database, history: History
) -> None:
    values: dict[str, Any] = history.values | {"nobody": NOBODY}
    report = await verify_with(
        module_database.owner_url, TRANSFER.format("pending_id = :nobody", "posting"), **values
    )
    found = failed(report.checks)["holds_are_resolved_once"]
    assert (str(history.posting), f"hold {NOBODY}") in {(f.id, f.what) for f in found}


async def test_a_hold_that_money_moved_past_is_overdue(
    module_database: Database, history: History
) -> None:
    """The last transfer was 61 seconds after the holds; the grace is 60."""
    timed = (
        "UPDATE transfer SET timeout_s = 1 WHERE id = :open_hold",
        (
            "UPDATE pending_transfer SET expires_at = (SELECT timestamp + 500000 FROM transfer"
            " WHERE id = :open_hold) WHERE transfer_id = :open_hold"
        ),
    )
    report = await verify_with(module_database.owner_url, *timed, **history.values)
    (finding,) = failed(report.checks)["expired_holds_are_released"]
    assert finding.id == str(history.open_hold)


async def test_a_hold_that_ran_out_while_nothing_moved_is_not_overdue(
    module_database: Database, history: History
) -> None:
    timed = (
        "UPDATE transfer SET timeout_s = 2 WHERE id = :open_hold",
        (
            "UPDATE pending_transfer SET expires_at = (SELECT timestamp + 2000000 FROM transfer"
            " WHERE id = :open_hold) WHERE transfer_id = :open_hold"
        ),
    )
    report = await verify_with(module_database.owner_url, *timed, **history.values)
    assert "expired_holds_are_released" not in failed(report.checks)


async def test_a_burnt_id_that_was_booked_is_found(
    module_database: Database, history: History
) -> None:
    report = await verify_with(
        module_database.owner_url,
        "UPDATE burnt_transfer SET id = :plain WHERE id = :burnt",
        **history.values,
    )
    (finding,) = failed(report.checks)["burnt_ids_are_not_booked"]
    assert (finding.id, finding.stored) == (str(history.plain), "booked")


@pytest.mark.parametrize(
    ("statement", "table", "what"),
    [
        ("DROP TRIGGER transfer_stays ON transfer", "transfer", "trigger against UPDATE"),
        (
            "ALTER TABLE seal DISABLE TRIGGER seal_is_not_emptied",
            "seal",
            "trigger against TRUNCATE",
        ),
        ("GRANT DELETE ON account TO wallet_app", "account", "wallet_app may UPDATE, DELETE"),
        (
            "GRANT UPDATE (amount) ON transfer_y2026m11 TO wallet_app",
            "transfer_y2026m11",
            "wallet_app may UPDATE, DELETE",
        ),
    ],
)
@pytest.mark.usefixtures("history")
async def test_a_table_that_lost_its_guard_is_found(
    module_database: Database, statement: str, table: str, what: str
) -> None:
    async with planted(module_database.owner_url) as connection:
        await connection.exec_driver_sql(statement)
        report = await verify_snapshot(connection, now_us=LATER_US)
    found = failed(report.checks)["rows_cannot_change"]
    assert any(f.id == table and f.what.startswith(what) for f in found)


async def test_many_findings_are_counted_and_the_first_are_named(
    module_database: Database, history: History
) -> None:
    values: dict[str, Any] = history.values | {"many": FINDINGS_MAX + 10}
    many = """
        INSERT INTO burnt_transfer
        SELECT gen_random_uuid(), 'exceeds_credits', 1 FROM generate_series(1, :many)
    """
    booked = """
        INSERT INTO transfer
        SELECT id, :payee, :source, 0, 1, 1, 0, NULL, NULL, 0, 0, 0, 1
        FROM burnt_transfer WHERE timestamp = 1
    """
    report = await verify_with(module_database.owner_url, many, booked, **values)
    (check,) = (c for c in report.checks if c.name == "burnt_ids_are_not_booked")
    assert (check.problems, len(check.findings)) == (FINDINGS_MAX + 10, FINDINGS_MAX)
    assert check.as_dict()["problems"] == FINDINGS_MAX + 10
