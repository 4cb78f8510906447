"""``wallet refund``, as somebody at a shell uses it."""

from tests.cli.shell import Shell
from tests.factories.city import make_city
from tests.factories.days import check_proof, rows_of
from tests.factories.payments import by_card, pay
from tests.factories.vouchers import purses_of
from wallet.core.ids import public_id


async def test_a_payment_is_given_back_once_and_stands_in_the_trail(shell: Shell) -> None:
    async with make_city(shell.database_url) as city:
        payment = await pay(city, by_card(city, city.card.qr_value))
        named = (public_id("pay", payment.id), "--name", "r-1", "--reason", "店の端末の故障")
        told = shell.json("refund", "give", *named, "--amount-yen", "400")
        assert (told["amount_yen"], told["payment"]) == (400, named[0])
        assert told["parts"] == [
            {"programme": "coin", "funding": "free", "amount_yen": 400, "to": "purse"}
        ]
        again = shell.json("refund", "give", *named, "--amount-yen", "400")
        assert again["refund"] == told["refund"]
        assert shell.run("refund", "give", *named).returncode == 1, "that asks for all of it"
        assert await purses_of(city.engine, city.wallet_id) == {"coin free": 9_400}
        over = shell.run(
            *("refund", "give", named[0], "--name", "r-2", "--reason", "ー"),
            *("--amount-yen", "601"),
        )
        assert over.returncode == 1
        assert "refund_exceeds_payment (left_yen=600)" in over.stderr
        trail = await rows_of(
            city,
            "SELECT outcome, reason FROM audit_entry WHERE action = 'payment.refund' ORDER BY seq",
        )
        assert trail[0] == ("done", "店の端末の故障")
        assert trail[-1][0] == "refused"
        await check_proof(city)


def test_a_payment_nobody_made_is_refused(shell: Shell) -> None:
    unknown = shell.run("refund", "give", "pay_" + "0" * 32, "--name", "r", "--reason", "ー")
    assert unknown.returncode == 1
    assert "payment_unknown" in unknown.stderr
