"""Cards through the doors of staff: two have them printed, one blocks them, and the trail knows."""

import csv
import io
from functools import partial
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest

from tests.api.answers import problem_of
from tests.factories.card_batches import activated_card, make_cards
from tests.factories.offices import Counter, Desk, Resident, make_resident
from tests.factories.people import make_wallet
from wallet.core.database import write
from wallet.core.ids import public_id
from wallet.core.scrub import contains_personal
from wallet.people.activate_cards import assign_card

pytestmark = pytest.mark.asyncio(loop_scope="module")

BATCHES = "/office/v1/card-batches"
CARDS = "/office/v1/cards"
APPROVALS = "/office/v1/approvals"
_numbers = iter(range(7_000, 9_000))


async def agreed(counter: Counter, clerk: Desk, asked: httpx.Response) -> dict[str, Any]:
    """Return what came of something that a colleague has approved."""
    assert asked.status_code == 202, asked.text
    lead = await counter.seat("programme_lead")
    seen = {"payload_hash": asked.json()["payload_hash"]}
    path = f"{APPROVALS}/{asked.json()['id']}"
    assert (await lead.post(f"{path}/approve", seen)).status_code == 200
    done = await clerk.post(f"{path}/execute", {})
    assert done.status_code == 200, done.text
    result: dict[str, Any] = done.json()["result"]
    return result


async def resident_of(counter: Counter) -> Resident:
    """Return a resident nobody else has."""
    return await make_resident(counter.engine, number=next(_numbers))


def read_csv(response: httpx.Response) -> list[dict[str, str]]:
    """Return the rows of a file, as a spreadsheet would open it."""
    assert response.status_code == 200, response.text
    assert response.content.startswith(b"\xef\xbb\xbf")
    assert response.headers["cache-control"] == "no-store"
    return list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"), newline="")))


async def test_cards_go_from_the_printer_to_the_holder(counter: Counter) -> None:
    clerk = await counter.seat("programme_clerk")
    asked = await clerk.post(BATCHES, cards=3, destination="網干支所")
    result = await agreed(counter, clerk, asked)
    path = f"{BATCHES}/{result['batch_id']}"
    printed = read_csv(await clerk.post(f"{path}/print-file"))
    assert [row["番号"] for row in printed] == ["1", "2", "3"]
    shipped = read_csv(await clerk.get(f"{path}/shipping-list"))
    assert [row["カード番号"] for row in shipped] == [row["カード番号"] for row in printed]
    assert {row["送り先"] for row in shipped} == {"網干支所"}
    problem_of(await activate(clerk, printed[0]), "card_pin_wrong")
    assert (await clerk.post(f"{path}/ship")).json() == {"cards": 3}
    problem_of(await clerk.post(f"{path}/print-file"), "batch_shipped")
    activated = await activate(clerk, printed[0])
    assert activated.status_code == 200, activated.text
    batch = (await clerk.get(path)).json()
    assert (batch["state"], batch["cards"], batch["activated"]) == ("shipped", 3, 1)
    assert path.endswith((await clerk.get(BATCHES)).json()["data"][0]["id"])
    assert (await clerk.post(f"{path}/cancel")).json() == {"cards": 2}
    problem_of(await activate(clerk, printed[1]), "card_pin_wrong")
    problem_of(await clerk.post(f"{path}/cancel"), "batch_cancelled")


async def activate(desk: Desk, row: dict[str, str]) -> httpx.Response:
    """Activate a card of a print file."""
    return await desk.post(f"{CARDS}/activate", {"card": row["QR"], "pin": row["暗証番号"]})


@pytest.mark.attack(28)
async def test_that_a_print_file_was_taken_is_kept_and_what_it_said_is_not(
    counter: Counter,
) -> None:
    clerk = await counter.seat("programme_clerk")
    result = await agreed(counter, clerk, await clerk.post(BATCHES, cards=1))
    (row,) = read_csv(await clerk.post(f"{BATCHES}/{result['batch_id']}/print-file"))
    entry = (await counter.trail())[-1]
    assert (entry["action"], entry["subject"]) == ("card_batch.print", result["batch_id"])
    assert entry["details"] == {"cards": 1}
    trail = str(await counter.trail())
    assert row["QR"] not in trail
    assert not contains_personal(trail)


async def test_cards_can_be_printed_for_wallets(counter: Counter) -> None:
    clerk = await counter.seat("benefit_clerk")
    lead = await counter.seat("benefit_lead")
    wallet_id = public_id("wal", await make_wallet(counter.engine))
    asked = (await clerk.post(BATCHES, wallet_ids=[wallet_id])).json()
    path = f"{APPROVALS}/{asked['id']}"
    await lead.post(f"{path}/approve", {"payload_hash": asked["payload_hash"]})
    done = (await clerk.post(f"{path}/execute", {})).json()["result"]
    (row,) = read_csv(await clerk.get(f"{BATCHES}/{done['batch_id']}/shipping-list"))
    assert row["ウォレット"] == wallet_id


@pytest.mark.parametrize("fields", [{}, {"cards": 1, "payment_limit_yen": 50_000}])
async def test_an_order_that_cannot_be_is_not_asked_for(
    counter: Counter, fields: dict[str, Any]
) -> None:
    clerk = await counter.seat("programme_clerk")
    problem_of(await clerk.post(BATCHES, **fields), "card_order_invalid")


async def test_no_number_of_a_person_is_a_destination(counter: Counter) -> None:
    clerk = await counter.seat("programme_clerk")
    asked = await clerk.post(BATCHES, cards=1, destination="1234567890123")
    problem_of(asked, "parameter_invalid")


async def test_nobody_has_cards_printed_alone(counter: Counter) -> None:
    lead = await counter.seat("programme_lead")
    asked = (await lead.post(BATCHES, cards=1)).json()
    path = f"{APPROVALS}/{asked['id']}"
    approved = await lead.post(f"{path}/approve", {"payload_hash": asked["payload_hash"]})
    problem_of(approved, "four_eyes")
    problem_of(await lead.post(f"{path}/execute", {}), "approval_missing")


async def test_a_card_is_found_by_its_whole_number_and_blocked_at_once(counter: Counter) -> None:
    clerk = await counter.seat("programme_clerk")
    card, activated = await activated_card(counter.engine)
    (found,) = (await clerk.post(f"{CARDS}/search", {"number": card.printed_number})).json()["data"]
    assert found["id"] == public_id("crd", activated.card_id)
    assert (found["state"], found["person_id"]) == ("active", None)
    nobody = await clerk.post(f"{CARDS}/search", {"number": "0000 0000 0000"})
    assert nobody.json() == {"data": []}
    for changed in (True, False):
        blocked = await clerk.post(f"{CARDS}/block", number=card.printed_number)
        assert blocked.json() == {"card_id": found["id"], "changed": changed}
    (found,) = (await clerk.post(f"{CARDS}/search", {"number": card.printed_number})).json()["data"]
    assert found["state"] == "blocked"
    problem_of(await clerk.post(f"{CARDS}/block", number="000000000000"), "card_number_unknown")


async def test_a_card_that_is_nobodys_yet_is_void_when_it_is_blocked(counter: Counter) -> None:
    clerk = await counter.seat("programme_clerk")
    (card,) = (await make_cards(counter.engine)).cards
    blocked = await clerk.post(f"{CARDS}/block", number=card.printed_number)
    assert blocked.json()["changed"] is True
    row = {"QR": card.qr_value, "暗証番号": card.pin}
    problem_of(await activate(clerk, row), "card_pin_wrong")


@pytest.mark.attack(4)
async def test_who_tries_numbers_out_is_stopped(counter: Counter) -> None:
    clerk = await counter.seat("programme_clerk")
    for number in range(30):
        await clerk.post(f"{CARDS}/search", {"number": f"{number:012}"})
    response = await clerk.post(f"{CARDS}/search", {"number": "000000000099"})
    problem_of(response, "lookups_too_many")


async def test_two_may_give_a_card_to_somebody_without_its_pin(counter: Counter) -> None:
    clerk, resident = await counter.seat("programme_clerk"), await resident_of(counter)
    (card,) = (await make_cards(counter.engine)).cards
    wallet_id = public_id("wal", resident.wallet_id)
    fields: dict[str, Any] = {"number": card.printed_number, "wallet_id": wallet_id}
    asked = await clerk.post(f"{CARDS}/assign", **fields)
    assert asked.json()["subject"] == resident.person_id
    result = await agreed(counter, clerk, asked)
    (found,) = (await clerk.post(f"{CARDS}/search", {"number": card.printed_number})).json()["data"]
    assert (found["id"], found["wallet_id"]) == (result["card_id"], wallet_id)
    for number in ("123456789018", "1234 5678 9018"):  # Well formed, and could be a person's.
        typed: dict[str, Any] = {**fields, "number": number}
        problem_of(await clerk.post(f"{CARDS}/assign", **typed), "card_number_unknown")
    stranger: dict[str, Any] = {**fields, "wallet_id": public_id("wal", uuid4())}
    problem_of(await clerk.post(f"{CARDS}/assign", **stranger), "wallet_unknown")


async def test_two_may_replace_a_card_and_its_money_follows(counter: Counter) -> None:
    clerk = await counter.seat("programme_clerk")
    old, activated = await activated_card(counter.engine)
    (new,) = (await make_cards(counter.engine)).cards
    fields: dict[str, Any] = {"number": old.printed_number, "new_number": new.printed_number}
    asked = await clerk.post(f"{CARDS}/replace", **fields)
    assert asked.json()["subject"] == public_id("crd", activated.card_id)
    assert (await agreed(counter, clerk, asked))["money"] == "follows"
    again = await clerk.post(f"{CARDS}/replace", **fields)
    lead = await counter.seat("programme_lead")
    path = f"{APPROVALS}/{again.json()['id']}"
    seen = {"payload_hash": again.json()["payload_hash"]}
    await lead.post(f"{path}/approve", seen)
    problem_of(await clerk.post(f"{path}/execute", {}), "card_replaced")


async def test_the_card_of_a_person_is_replaced_and_the_money_stays(counter: Counter) -> None:
    clerk, resident = await counter.seat("programme_clerk"), await resident_of(counter)
    old, _ = await activated_card(counter.engine, wallet_id=resident.wallet_id)
    (new,) = (await make_cards(counter.engine)).cards
    fields: dict[str, Any] = {"number": old.printed_number, "new_number": new.printed_number}
    asked = await clerk.post(f"{CARDS}/replace", **fields)
    assert asked.json()["subject"] == resident.person_id
    assert (await agreed(counter, clerk, asked))["money"] == "stays"


@pytest.mark.attack(28)
async def test_nobody_touches_the_card_of_their_own_family(counter: Counter) -> None:
    resident = await resident_of(counter)
    clerk = await counter.seat("programme_clerk", person_id=resident.id)
    card, _ = await activated_card(counter.engine, wallet_id=resident.wallet_id)
    (new,) = (await make_cards(counter.engine)).cards
    wallet_id = public_id("wal", resident.wallet_id)
    tried: dict[str, dict[str, Any]] = {
        "block": {"number": card.printed_number},
        "replace": {"number": card.printed_number, "new_number": new.printed_number},
        "assign": {"number": new.printed_number, "wallet_id": wallet_id},
    }
    for path, fields in tried.items():
        problem_of(await clerk.post(f"{CARDS}/{path}", **fields), "own_affair")
    searched = await clerk.post(f"{CARDS}/search", {"number": card.printed_number})
    problem_of(searched, "own_affair")


async def test_a_card_for_another_wallet_is_not_assigned(counter: Counter) -> None:
    clerk = await counter.seat("programme_clerk")
    owner, other = await resident_of(counter), await resident_of(counter)
    (card,) = (await make_cards(counter.engine, wallet_ids=(owner.wallet_id,))).cards
    wallet_id = public_id("wal", other.wallet_id)
    asked = await clerk.post(f"{CARDS}/assign", number=card.printed_number, wallet_id=wallet_id)
    lead = await counter.seat("programme_lead")
    path = f"{APPROVALS}/{asked.json()['id']}"
    await lead.post(f"{path}/approve", {"payload_hash": asked.json()["payload_hash"]})
    problem_of(await clerk.post(f"{path}/execute", {}), "card_of_another")


async def test_a_fourth_card_is_too_many(counter: Counter) -> None:
    clerk, resident = await counter.seat("programme_clerk"), await resident_of(counter)
    box = await make_cards(counter.engine, cards=4)
    for card in box.cards[:3]:
        work = partial(
            assign_card,
            number=card.printed_number,
            wallet_id=resident.wallet_id,
            now_us=counter.clock(),
        )
        await write(counter.engine, work)
    asked = await clerk.post(
        f"{CARDS}/assign",
        number=box.cards[3].printed_number,
        wallet_id=public_id("wal", resident.wallet_id),
    )
    lead = await counter.seat("programme_lead")
    path = f"{APPROVALS}/{asked.json()['id']}"
    await lead.post(f"{path}/approve", {"payload_hash": asked.json()["payload_hash"]})
    problem_of(await clerk.post(f"{path}/execute", {}), "cards_too_many")


@pytest.mark.parametrize("batch_id", ["crb_" + "0" * 32, "nothing"])
async def test_a_batch_that_is_not_there_is_unknown(counter: Counter, batch_id: str) -> None:
    clerk = await counter.seat("programme_clerk")
    problem_of(await clerk.get(f"{BATCHES}/{batch_id}"), "batch_unknown")
    problem_of(await clerk.get(f"{BATCHES}/{batch_id}/shipping-list"), "batch_unknown")
    problem_of(await clerk.post(f"{BATCHES}/{batch_id}/ship"), "batch_unknown")
