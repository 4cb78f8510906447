"""``wallet receipts``, as somebody at a shell uses it."""

import base64

from tests.cli.shell import Shell
from tests.factories.city import open_rooms
from tests.factories.moments import PEPPER
from tests.factories.programmes import make_programme, voucher_draft
from tests.factories.receipts import make_slip, note, report
from wallet.receipts.providers import provider_key
from wallet.receipts.rules import Method


async def test_what_waits_is_told_by_its_reason(shell: Shell) -> None:
    assert "Nothing waits." in shell.run("receipts", "work").stdout
    async with open_rooms(shell.database_url) as (engine, teller):
        created = await make_programme(teller, voucher_draft())
        slip = await make_slip(engine, created.programme_id)
        await note(teller, report(slip, amount_yen=4_000))
    told = shell.json("receipts", "work")
    assert told["held"] == []
    (one,) = told["suspense"]
    assert (one["because"], one["receipts"], one["amount_yen"]) == ("under", 1, 4_000)
    assert "under: 1 receipts, 4,000円" in shell.run("receipts", "work").stdout


def test_a_providers_key_is_the_one_that_its_reports_are_checked_by(shell: Shell) -> None:
    told = shell.json("receipts", "key", "bank")
    key = base64.b64decode(told["key"].removeprefix("whsec_"))
    assert key == provider_key(Method.BANK, pepper=PEPPER)


def test_a_payment_is_pretended_in_a_rehearsal_alone(shell: Shell) -> None:
    pretended = ("receipts", "pretend", "card", "1", "5", "--to", "http://127.0.0.1:9")
    nobody = shell.run(*pretended)
    assert nobody.returncode == 1
    assert "has not noted it" in nobody.stdout
    live = shell.run(*pretended, WALLET_LIVEMODE="true")
    assert live.returncode == 1
    assert "rehearsal_only" in live.stderr
