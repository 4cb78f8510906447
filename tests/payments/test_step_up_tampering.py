"""What was approved is what is paid: any other operation finds the challenge of no use."""

from typing import Any

import pytest

from tests.factories.approvals import (
    by_phone,
    left_of,
    make_rich,
    shown_by,
    signed_answer,
    told,
    waiting,
)
from tests.factories.city import make_city
from tests.factories.merchants import make_merchant
from tests.factories.planting import as_owner
from tests.servers import Database
from wallet.auth.rules import Acr

pytestmark = pytest.mark.attack(20)

CHANGE = "UPDATE pending_payment SET {} WHERE id = :id"


@pytest.mark.parametrize(
    "changed",
    [
        "amount_yen = amount_yen + 1",
        "amount_yen = amount_yen - 1",
        "terminal_id = :terminal_id, merchant_id = :merchant_id",
        "idempotency_key = idempotency_key || '2'",
    ],
    ids=["a yen more", "a yen less", "another payee", "another key"],
)
async def test_a_row_changed_while_it_waits_is_not_paid(database: Database, changed: str) -> None:
    async with make_city(database.application_url, lanes=1) as city:
        other, payer = await make_merchant(city.engine, city.teller), await make_rich(city)
        payment = await waiting(city, await shown_by(city, payer))
        values: dict[str, Any] = {"id": payment.id}
        if ":terminal_id" in changed:
            values |= {"terminal_id": other.terminal_id, "merchant_id": other.id}
        await as_owner(database.owner_url, CHANGE.format(changed), **values)
        refusal = await told(city, await signed_answer(city, payer.phone, payment))
        assert refusal.code == "step_up_mismatch"
        assert refusal.facts == {"acr_values": [Acr.PIN], "max_age_s": 300}
        assert await left_of(city, payer) == 30_000


async def test_a_wallet_changed_while_it_waits_does_not_pay(database: Database) -> None:
    async with make_city(database.application_url, lanes=1) as city:
        payer, victim = await make_rich(city), await make_rich(city)
        payment = await waiting(city, await shown_by(city, payer))
        statement = "UPDATE pending_payment SET wallet_id = :victim WHERE id = :id"
        await as_owner(database.owner_url, statement, victim=victim.wallet_id, id=payment.id)
        refusal = await told(city, await signed_answer(city, payer.phone, payment))
        assert refusal.code == "step_up_mismatch"
        assert await left_of(city, victim) == await left_of(city, payer) == 30_000


async def test_a_challenge_lent_by_another_person_is_unknown(database: Database) -> None:
    async with make_city(database.application_url, lanes=1) as city:
        payer, thief = await make_rich(city), await make_rich(city)
        payment = await waiting(city, await shown_by(city, payer))
        stolen = by_phone(city, thief.phone, step_up_id=payment.id)
        assert (await told(city, stolen)).code == "step_up_unknown"
        assert await left_of(city, thief) == 30_000
