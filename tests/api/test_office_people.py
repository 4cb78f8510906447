"""What staff see of residents: whom they were told of, masked, and never unseen."""

import logging
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from tests.api.answers import problem_of
from tests.factories.moments import NOW
from tests.factories.offices import Counter, Desk, Resident, make_resident
from tests.factories.people import make_card
from tests.factories.staff import REASON
from wallet.core.database import read
from wallet.core.ids import public_id
from wallet.core.scrub import contains_personal
from wallet.people.persons import find_person
from wallet.people.tables import guardianship

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEARCH = "/office/v1/people/search"
_numbers = iter(range(10_000))


async def resident_of(counter: Counter) -> Resident:
    """Return a resident nobody else has."""
    return await make_resident(counter.engine, number=next(_numbers))


def path_of(resident: Resident, *rest: str) -> str:
    """Return the address of a resident."""
    return "/".join((f"/office/v1/people/{resident.person_id}", *rest))


async def search(desk: Desk, by: str, value: str) -> list[dict[str, Any]]:
    """Return whom a value finds."""
    response = await desk.post(SEARCH, {"by": by, "value": value})
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    found: list[dict[str, Any]] = response.json()["data"]
    return found


async def last_entry(counter: Counter) -> dict[str, Any]:
    """Return the last entry of the audit trail."""
    return (await counter.trail())[-1]


@pytest.mark.asvs("v5.0.0-8.2.3")
@pytest.mark.asvs("v5.0.0-14.2.6")
async def test_a_resident_is_found_by_what_they_say_and_shown_masked(counter: Counter) -> None:
    desk, resident = await counter.seat("call_agent"), await resident_of(counter)
    card = await make_card(counter.engine, resident.wallet_id)
    said = {
        "email": resident.email.upper(),
        "phone": f"{resident.phone[:3]}-{resident.phone[3:7]}-{resident.phone[7:]}",
        "support_code": resident.support_code.lower(),
        "card_number": card.number,
        "person_id": resident.person_id,
    }
    for by, value in said.items():
        (found,) = await search(desk, by, value)
        assert found == {
            "id": resident.person_id,
            "tier": "T1",
            "state": "active",
            "frozen_because": None,
            "resident": None,
            "opened_at": "2026-11-25T03:00:00.000Z",
            "contacts": {"email": "h•••@example.jp", "phone": f"•••{resident.phone[-4:]}"},
            "wallets": [{"id": public_id("wal", resident.wallet_id), "state": "active"}],
        }


@pytest.mark.attack(4)
@pytest.mark.attack(28)
@pytest.mark.parametrize(
    ("by", "value"),
    [
        ("email", "hanako"),
        ("email", "@example.jp"),
        ("email", "%@example.jp"),
        ("phone", "0901234"),
        ("phone", "%"),
        ("support_code", "_______"),
        ("card_number", "1234"),
        ("person_id", "per_"),
        ("person_id", "%"),
    ],
)
async def test_no_part_of_anything_finds_anybody(counter: Counter, by: str, value: str) -> None:
    desk = await counter.seat("counter_clerk")
    await resident_of(counter)
    assert await search(desk, by, value) == []


@pytest.mark.attack(4)
@pytest.mark.attack(28)
async def test_who_finds_nobody_again_and_again_is_stopped(counter: Counter) -> None:
    desk, resident = await counter.seat("call_agent"), await resident_of(counter)
    for number in range(30):
        assert await search(desk, "phone", f"0809999{number:04}") == []
    response = await desk.post(SEARCH, {"by": "email", "value": resident.email})
    problem_of(response, "lookups_too_many")
    entry = await last_entry(counter)
    assert (entry["outcome"], entry["details"]["code"]) == ("refused", "lookups_too_many")
    # It is one colleague's limit, and it passes.
    other = await counter.seat("call_agent")
    assert len(await search(other, "email", resident.email)) == 1


@pytest.mark.asvs("v5.0.0-16.3.2")
@pytest.mark.attack(28)
async def test_that_somebody_was_looked_for_is_kept_and_what_was_typed_is_not(
    counter: Counter,
) -> None:
    desk, resident = await counter.seat("call_agent"), await resident_of(counter)
    await search(desk, "email", resident.email)
    entry = await last_entry(counter)
    assert (entry["action"], entry["actor"]) == ("person.search", desk.staff_id)
    assert entry["details"] == {"by": "email", "found": 1, "person": resident.person_id}
    await search(desk, "phone", "08011112222")
    entry = await last_entry(counter)
    assert entry["details"] == {"by": "phone", "found": 0}
    assert not contains_personal(str(entry))


@pytest.mark.asvs("v5.0.0-16.3.2")
async def test_that_somebody_was_looked_at_is_kept(counter: Counter) -> None:
    desk, resident = await counter.seat("counter_clerk"), await resident_of(counter)
    response = await desk.get(path_of(resident))
    assert response.json()["contacts"]["email"] == "h•••@example.jp"
    entry = await last_entry(counter)
    assert (entry["action"], entry["actor"]) == ("person.view", desk.staff_id)
    assert (entry["subject"], entry["outcome"]) == (resident.person_id, "done")
    assert entry["origin"].startswith("office:")
    assert "192.0.2" not in str(entry)


async def test_nobody_is_not_found(counter: Counter) -> None:
    desk = await counter.seat("counter_clerk")
    for path in (f"per_{uuid4().hex}", "per_1", "%"):
        problem_of(await desk.get(f"/office/v1/people/{path}"), "person_unknown")


@pytest.mark.asvs("v5.0.0-8.2.3")
@pytest.mark.asvs("v5.0.0-16.3.2")
async def test_contacts_are_revealed_for_a_reason_that_is_kept(counter: Counter) -> None:
    desk, resident = await counter.seat("counter_clerk"), await resident_of(counter)
    response = await desk.post(path_of(resident, "reveal"), fields=["email"])
    assert response.json() == {"contacts": {"email": resident.email}}
    entry = await last_entry(counter)
    assert (entry["action"], entry["subject"]) == ("person.reveal", resident.person_id)
    assert (entry["reason"], entry["details"]) == (REASON, {"fields": "email"})
    assert resident.email not in str(await counter.trail())


@pytest.mark.attack(28)
@pytest.mark.parametrize(
    ("reason", "code"),
    [("", "reason_missing"), ("  ", "reason_missing"), ("x", "reason_missing"),
     ("09012345678から電話", "reason_personal")],
)  # fmt: skip
async def test_nothing_is_revealed_without_a_reason(
    counter: Counter, reason: str, code: str
) -> None:
    desk, resident = await counter.seat("counter_clerk"), await resident_of(counter)
    response = await desk.post(path_of(resident, "reveal"), fields=["email"], reason=reason)
    problem_of(response, code)
    assert resident.email not in response.text
    entry = await last_entry(counter)
    assert (entry["action"], entry["outcome"]) == ("person.reveal", "refused")
    assert not contains_personal(str(entry))


@pytest.mark.attack(28)
async def test_who_collects_contacts_is_stopped(counter: Counter) -> None:
    desk, resident = await counter.seat("counter_clerk"), await resident_of(counter)
    for _ in range(100):
        response = await desk.post(path_of(resident, "reveal"), fields=["email"])
        assert response.status_code == 200
    response = await desk.post(path_of(resident, "reveal"), fields=["email"])
    problem_of(response, "lookups_too_many")


@pytest.mark.attack(28)
async def test_a_contact_is_revealed_to_who_has_just_been_there(counter: Counter) -> None:
    desk, resident = await counter.seat("counter_clerk"), await resident_of(counter)
    before_us = counter.clock.now_us
    try:
        counter.clock.advance(seconds=500)
        refreshed = await counter.client.post(
            "/office/v1/refresh", json={"refresh_token": desk.tokens["refresh_token"]}
        )
        later = Desk(counter=counter, colleague=desk.colleague, tokens=refreshed.json())
        counter.clock.advance(seconds=401)
        response = await later.post(path_of(resident, "reveal"), fields=["email"])
        problem_of(response, "reauthentication_required")
        challenge = response.headers["www-authenticate"]
        assert 'error="insufficient_user_authentication"' in challenge
        assert 'acr_values="phr"' in challenge
        assert 'max_age="900"' in challenge
        assert challenge.startswith("Bearer ")
        again = await later.show_passkey()
        response = await again.post(path_of(resident, "reveal"), fields=["email"])
        assert response.status_code == 200
    finally:
        counter.clock.now_us = before_us


async def test_a_resident_is_frozen_at_once_by_one(counter: Counter) -> None:
    desk, resident = await counter.seat("counter_clerk"), await resident_of(counter)
    response = await desk.post(path_of(resident, "freeze"))
    assert response.json() == {"person_id": resident.person_id, "changed": True}
    assert (await desk.get(path_of(resident))).json()["state"] == "frozen"
    again = await desk.post(path_of(resident, "freeze"))
    assert again.json()["changed"] is False
    entries = [one for one in await counter.trail() if one["action"] == "person.freeze"]
    assert entries[-1]["details"] == {"changed": 0}
    problem_of(await desk.post(f"/office/v1/people/per_{uuid4().hex}/freeze"), "person_unknown")


async def test_whoever_telephones_is_frozen_by_two_things_they_know(counter: Counter) -> None:
    desk, resident = await counter.seat("call_agent"), await resident_of(counter)
    body = {
        "support_code": f"{resident.support_code[:4]}-{resident.support_code[4:]}",
        "kind": "phone",
        "contact": resident.phone,
        "reason": REASON,
    }
    for wrong in ({"contact": "08011112222"}, {"support_code": "22222222"}, {"contact": "x"}):
        problem_of(await desk.post("/office/v1/freezes", {**body, **wrong}), "support_code_wrong")
    async with read(counter.engine) as connection:
        person = await find_person(connection, person_id=resident.id)
    assert person is not None
    assert person.state == "active"
    response = await desk.post("/office/v1/freezes", body)
    assert response.json() == {"person_id": resident.person_id, "changed": True}
    entry = await last_entry(counter)
    assert (entry["action"], entry["subject"]) == (
        "person.freeze_by_support",
        resident.person_id,
    )


@pytest.mark.attack(4)
async def test_support_codes_are_not_guessed_over_the_telephone_either(counter: Counter) -> None:
    desk, resident = await counter.seat("call_agent"), await resident_of(counter)
    body = {"support_code": resident.support_code, "kind": "phone", "reason": REASON}
    codes = []
    for number in range(7):
        response = await desk.post("/office/v1/freezes", {**body, "contact": f"0801111{number:04}"})
        codes.append(response.json()["code"])
    assert codes[:5] == ["support_code_wrong"] * 5
    assert set(codes[5:]) == {"too_many_tries"}


@pytest.mark.attack(28)
@pytest.mark.parametrize("whose", ["own", "family", "guardian"])
async def test_nobody_works_on_themselves_or_their_family(counter: Counter, whose: str) -> None:
    resident = await resident_of(counter)
    ways: dict[str, dict[str, Any]] = {
        "own": {"person_id": resident.id},
        "family": {"family": frozenset({resident.id})},
        "guardian": {"person_id": await guardian_of(counter, resident)},
    }
    desk = await counter.seat("counter_clerk", **ways[whose])
    length = await counter.trail_length()
    for response in (
        await desk.post(SEARCH, {"by": "email", "value": resident.email}),
        await desk.get(path_of(resident)),
        await desk.post(path_of(resident, "reveal"), fields=["email"]),
        await desk.post(path_of(resident, "freeze")),
        await desk.post(path_of(resident, "unfreeze"), document="passport"),
        await desk.post(path_of(resident, "raise"), document="passport", resident=True),
        await desk.post(path_of(resident, "device-invitation"), document="passport"),
        await desk.post(
            "/office/v1/freezes",
            support_code=resident.support_code,
            kind="phone",
            contact=resident.phone,
        ),
    ):
        problem_of(response, "own_affair")
    refused = await counter.trail(after=length)
    assert [one["outcome"] for one in refused] == ["refused"] * 8
    assert {one["details"]["code"] for one in refused} == {"own_affair"}
    async with read(counter.engine) as connection:
        person = await find_person(connection, person_id=resident.id)
    assert person is not None
    assert person.state == "active"


async def guardian_of(counter: Counter, resident: Resident) -> Any:  # noqa: ANN401 - an id
    """Return a guardian of the resident's wallet."""
    guardian = await make_resident(counter.engine, number=next(_numbers))
    async with counter.engine.begin() as connection:
        await connection.execute(
            guardianship.insert().values(
                wallet_id=resident.wallet_id, guardian_id=guardian.id, kind="child", since=NOW
            )
        )
    return guardian.id


@pytest.mark.asvs("v5.0.0-16.2.5")
async def test_what_is_personal_is_in_no_log_no_trail_and_no_event(
    counter: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    desk, resident = await counter.seat("counter_clerk"), await resident_of(counter)
    with caplog.at_level(logging.DEBUG):
        await search(desk, "email", resident.email)
        await desk.post(path_of(resident, "reveal"), fields=["email", "phone"])
        await desk.post(path_of(resident, "freeze"))
        await desk.post(path_of(resident, "reveal"), fields=["phone"], reason=resident.phone)
        await desk.post(
            "/office/v1/freezes",
            support_code=resident.support_code,
            kind="phone",
            contact=resident.phone,
        )
    async with read(counter.engine) as connection:
        events = [str(row) for row in await connection.execute(text("SELECT body FROM outbox"))]
    wallets = [one for one in caplog.records if one.name.startswith("wallet")]
    for place in (str(await counter.trail()), str(events), str([one.msg for one in wallets])):
        assert resident.email not in place
        assert resident.phone not in place
        assert resident.support_code not in place
