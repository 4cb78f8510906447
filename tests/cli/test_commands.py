"""Every command, as a person at a shell and as a script would use it."""

from typing import Any

import asyncpg

from tests.cli.shell import Shell


def test_a_seeded_city_is_found_again(shell: Shell, secrets: dict[str, Any]) -> None:
    again = shell.json("demo", "seed", DEMO_WALLETS="30", DEMO_SHOPS="8")
    assert again["seeded"] is False
    assert again["secrets"] == secrets
    assert again["wallets"] == 31


def test_the_city_says_what_to_try(shell: Shell, secrets: dict[str, Any]) -> None:
    done = shell.run("demo", "seed", DEMO_WALLETS="30", DEMO_SHOPS="8")
    assert secrets["api_key"] in done.stdout
    assert "curl -sS http://127.0.0.1:8000/v1/payments" in done.stdout


def test_a_code_is_issued_for_a_wallet(shell: Shell, secrets: dict[str, Any]) -> None:
    told = shell.json("code", "issue", secrets["wallet_id"])
    assert told["type"] == "cpm_code"
    assert told["value"].startswith("code_")


def test_a_wallet_nobody_has_gets_no_code(shell: Shell) -> None:
    for wrong in ("wal_" + "0" * 32, "somebody"):
        done = shell.run("code", "issue", wrong)
        assert done.returncode == 1
        assert done.stderr.startswith("refused: ")
        assert "Traceback" not in done.stderr


def test_a_key_is_issued_and_revoked_once(shell: Shell, secrets: dict[str, Any]) -> None:
    issued = shell.json("key", "issue", secrets["merchant_id"])
    assert issued["key"].startswith("sk_test_")
    assert shell.json("key", "revoke", issued["id"])["changed"] is True
    assert shell.json("key", "revoke", issued["id"])["changed"] is False


def test_the_ledger_is_sealed_and_verified(shell: Shell, secrets: dict[str, Any]) -> None:
    assert secrets
    shell.json("ledger", "seal")
    proof = shell.json("ledger", "verify", "--seal")
    assert proof["ok"] is True
    assert "green" in shell.run("ledger", "verify").stdout.lower()


async def test_a_yen_too_much_is_named_with_exit_status_one(
    shell: Shell, secrets: dict[str, Any]
) -> None:
    assert secrets
    owner = await asyncpg.connect(shell.owner_url)
    change = "UPDATE balance SET credits_posted = credits_posted + $2 WHERE account_id = $1"
    account_id = await owner.fetchval("SELECT account_id FROM purse ORDER BY 1 LIMIT 1")
    try:
        await owner.execute(change, account_id, 1)
        done = shell.run("ledger", "verify")
        assert done.returncode == 1
        assert str(account_id) in done.stdout
    finally:
        await owner.execute(change, account_id, -1)
        await owner.close()
    assert shell.run("ledger", "verify").returncode == 0


def test_what_cannot_be_stopped_is_refused(shell: Shell) -> None:
    done = shell.run("stop", "engage", "--scope", "everything", "--reason", "drill")
    assert done.returncode == 1
    assert "stop_scope_unknown" in done.stderr


def test_a_replay_needs_a_till_and_a_file(shell: Shell, secrets: dict[str, Any]) -> None:
    assert secrets
    missing = shell.run("replay", "no-such-file.csv")
    assert missing.returncode == 1
    assert "replay_file_invalid" in missing.stderr


def test_a_given_database_needs_a_given_pepper(shell: Shell) -> None:
    done = shell.run("ledger", "verify", WALLET_PEPPER="")
    assert done.returncode == 1
    assert "WALLET_PEPPER" in done.stderr


def test_a_given_database_is_never_reset(shell: Shell) -> None:
    done = shell.run("demo", "reset")
    assert done.returncode == 1
    assert "demo_reset_only_embedded" in done.stderr
