"""The doors of the end of money: two people decide, the worker does it, and no door moves money."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.api.answers import problem_of
from tests.factories.city import City, make_city
from tests.factories.days import check_proof, purse_of
from tests.factories.offices import Counter, Desk, open_counter
from tests.factories.payments import make_payer
from tests.factories.programmes import frame, make_programme, spending, voucher_draft
from tests.factories.vouchers import give, purses_of
from tests.servers import Database
from wallet.core.ids import public_id
from wallet.programmes.extend import extend_due
from wallet.programmes.terms import IssuerKind, ProgrammeDraft
from wallet.vouchers.refund_buyers import run_due

V1 = "/office/v1"
LAST_DAY = date(2027, 3, 31)
LATER = date(2027, 5, 31)


async def buyer_in(city: City, code: str = "voucher", **terms: Any) -> UUID:  # noqa: ANN401 - fields of many types
    """Sell a set of a new voucher to somebody and return their wallet."""
    draft = voucher_draft(code)
    if terms:
        fields = {"code": code, "name": "商品券", "spending": spending(), "frame": frame()}
        draft = ProgrammeDraft(**{**fields, **terms})
    await make_programme(city.teller, draft)
    wallet_id = await make_payer(city, yen=0)
    await give(city.teller, wallet_id, code, sets=1)
    return wallet_id


def extension(programme: str = "voucher", **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return a body that asks for a later last day."""
    return {
        "programme": programme,
        "from_day": str(LAST_DAY),
        "to_day": str(LATER),
        "reason": "大雪で店が閉まったため",
        **changes,
    }


async def agree(counter: Counter, desk: Desk, asked: dict[str, Any]) -> dict[str, Any]:
    """Have a lead approve what was asked for and whoever asked carry it out."""
    lead = await counter.seat("programme_lead")
    path = f"{V1}/approvals/{asked['id']}"
    approved = await lead.post(f"{path}/approve", {"payload_hash": asked["payload_hash"]})
    assert approved.status_code == 200, approved.text
    executed = await desk.post(f"{path}/execute", {})
    assert executed.status_code == 200, executed.text
    done: dict[str, Any] = executed.json()
    return done


async def test_an_extension_takes_two_and_then_the_worker(database: Database) -> None:
    async with (
        make_city(database.application_url) as city,
        open_counter(database.application_url) as counter,
    ):
        wallet_id = await buyer_in(city)
        desk = await counter.seat("programme_clerk")
        asked = await desk.post(f"{V1}/purse-extensions", extension())
        assert asked.status_code == 202, asked.text
        assert asked.json()["payload"] == {
            "programme": "voucher",
            "from_day": "2027-03-31",
            "to_day": "2027-05-31",
            "purses": 2,
        }
        done = await agree(counter, desk, asked.json())
        assert (await purse_of(city, wallet_id, "paid"))[1] == LAST_DAY
        (listed,) = (await desk.get(f"{V1}/purse-extensions")).json()["data"]
        assert (listed["id"], listed["extended"]) == (done["result"]["extension"], 0)
        assert listed["done_at"] is None
        again = await desk.post(f"{V1}/purse-extensions", extension())
        lead = await counter.seat("programme_lead")
        path = f"{V1}/approvals/{again.json()['id']}"
        await lead.post(f"{path}/approve", {"payload_hash": again.json()["payload_hash"]})
        problem_of(await desk.post(f"{path}/execute", {}), "extension_under_way")
        await extend_due(city.engine, database_url=city.database_url, clock=city.clock)
        assert (await purse_of(city, wallet_id, "paid"))[1] == LATER
        (listed,) = (await desk.get(f"{V1}/purse-extensions")).json()["data"]
        assert listed["extended"] == 2
        assert listed["done_at"] is not None
        await check_proof(city)


async def test_what_could_never_be_extended_is_refused_at_once(database: Database) -> None:
    async with (
        make_city(database.application_url) as city,
        open_counter(database.application_url) as counter,
    ):
        await buyer_in(city)
        await buyer_in(city, "company", issuer_kind=IssuerKind.COMPANY)
        desk = await counter.seat("programme_clerk")
        past = {"from_day": "2026-11-24"}
        too_long = {"to_day": str(LAST_DAY + timedelta(days=367))}
        nobody = {"from_day": "2027-03-30"}
        for body, code in (
            (extension("nothing"), "programme_unknown"),
            (extension("company"), "extension_unlawful"),
            (extension(**past), "extension_too_late"),
            (extension(**too_long), "extension_day_invalid"),
            (extension(**nobody), "extension_reaches_nobody"),
        ):
            problem_of(await desk.post(f"{V1}/purse-extensions", body), code)
        entry = (await counter.trail())[-1]
        assert (entry["action"], entry["outcome"]) == ("purse.extend", "refused")


async def test_buyers_are_refunded_by_two_and_the_worker(database: Database) -> None:
    async with (
        make_city(database.application_url) as city,
        open_counter(database.application_url) as counter,
    ):
        wallet_id = await buyer_in(city)
        desk = await counter.seat("programme_clerk")
        body = {
            "programme": "voucher",
            "because": "moving_away",
            "wallets": [public_id("wal", wallet_id)],
            "reason": "市外へ転出",
        }
        asked = await desk.post(f"{V1}/buyer-refunds", body)
        assert asked.status_code == 202, asked.text
        assert (await agree(counter, desk, asked.json()))["result"] == {"refunds": "1"}
        (listed,) = (await desk.get(f"{V1}/buyer-refunds")).json()["data"]
        assert (listed["state"], listed["paid_yen"]) == ("decided", None)
        assert await run_due(city.engine, city.database_url, city.clock) == 1
        (listed,) = (await desk.get(f"{V1}/buyer-refunds")).json()["data"]
        assert (listed["state"], listed["paid_yen"], listed["premium_yen"]) == (
            "done",
            5_000,
            1_250,
        )
        assert listed["wallet_id"] == public_id("wal", wallet_id)
        assert set((await purses_of(city.engine, wallet_id)).values()) == {0}
        unknown = {**body, "wallets": [public_id("wal", uuid4())]}
        problem_of(await desk.post(f"{V1}/buyer-refunds", unknown), "wallet_unknown")
        elsewhere = {**body, "programme": "nothing"}
        problem_of(await desk.post(f"{V1}/buyer-refunds", elsewhere), "programme_unknown")
        await check_proof(city)


@pytest.mark.parametrize("path", ["purse-extensions", "buyer-refunds"])
async def test_a_cursor_of_another_list_is_refused(database: Database, path: str) -> None:
    async with open_counter(database.application_url) as counter:
        desk = await counter.seat("programme_clerk")
        cursor = public_id("per", uuid4())
        response = await desk.get(f"{V1}/{path}", params={"cursor": cursor})
        problem_of(response, "parameter_invalid")
