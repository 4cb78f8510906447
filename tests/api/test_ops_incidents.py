"""Incidents through the doors: written down as they go, closed when everybody was told."""

from typing import Any
from uuid import uuid4

import pytest

from tests.api.answers import problem_of
from tests.factories.offices import Counter, Desk
from wallet.core.scrub import contains_personal

pytestmark = pytest.mark.asyncio(loop_scope="module")

INCIDENTS = "/ops/v1/incidents"
NOTE = {"note": "問い合わせから判明"}


async def open_one(desk: Desk, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Open an incident that is a leak."""
    body = {
        "kind": "leak",
        "noticed_by": "call centre",
        "noticed_at": "2026-11-25T11:30:00+09:00",
        **NOTE,
        **changes,
    }
    response = await desk.post(INCIDENTS, body)
    assert response.status_code == 201, response.text
    story: dict[str, Any] = response.json()
    return story


async def test_an_incident_is_opened_with_the_reports_it_calls_for(counter: Counter) -> None:
    desk = await counter.seat("security_officer")
    story = await open_one(desk, malicious=True)
    assert (story["kind"], story["opened_by"]) == ("leak", desk.staff_id)
    assert [one["note"] for one in story["notes"]] == [NOTE["note"]]
    assert story["reports"]
    assert not any(one["overdue"] for one in story["reports"])
    assert (await desk.get(f"{INCIDENTS}/{story['id']}")).json() == story
    listed = (await desk.get(INCIDENTS)).json()["data"]
    assert story["id"] in [one["id"] for one in listed]
    entry = (await counter.trail())[-1]
    assert (entry["action"], entry["subject"]) == ("incident.open", story["id"])


async def test_an_incident_goes_from_its_first_note_to_its_last(counter: Counter) -> None:
    desk = await counter.seat("security_officer")
    story = await open_one(desk)
    path = f"{INCIDENTS}/{story['id']}"
    problem_of(await desk.post(f"{path}/close", NOTE), "incident_contact_missing")
    known = {**NOTE, "first_contact": "個人情報保護委員会", "persons": 120}
    story = (await desk.post(f"{path}/notes", known)).json()
    assert (story["first_contact"], story["persons"]) == ("個人情報保護委員会", 120)
    problem_of(await desk.post(f"{path}/close", NOTE), "reports_owed")
    for report in story["reports"]:
        settled = {**NOTE, "outcome": "sent"}
        settled |= {name: report[name] for name in ("recipient", "report")}
        response = await desk.post(f"{path}/reports", settled)
        assert response.status_code == 200, response.text
        problem_of(await desk.post(f"{path}/reports", settled), "report_not_owed")
    closed = (await desk.post(f"{path}/close", NOTE)).json()
    assert closed["closed_by"] == desk.staff_id
    problem_of(await desk.post(f"{path}/notes", NOTE), "incident_closed")
    listed = [one["id"] for one in (await desk.get(INCIDENTS)).json()["data"]]
    assert story["id"] not in listed
    everything = (await desk.get(f"{INCIDENTS}?closed_too=true")).json()["data"]
    assert story["id"] in [one["id"] for one in everything]


async def test_a_report_that_is_late_says_so(counter: Counter) -> None:
    desk = await counter.seat("security_officer")
    story = await open_one(desk, malicious=True, noticed_at="2026-01-01T00:00:00Z")
    assert all(one["overdue"] for one in story["reports"])


async def test_names_do_not_get_into_the_timeline(counter: Counter) -> None:
    desk = await counter.seat("security_officer")
    story = await open_one(desk, note="taro@example.jp から連絡", noticed_by="090-1234-5678")
    assert not contains_personal(str(story))
    assert not contains_personal(str(await counter.trail()))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"noticed_at": "2026-11-25T12:00:01+09:00"}, "incident_time_invalid"),
        ({"note": "   "}, "incident_text_missing"),
        ({"kind": "rain"}, "parameter_invalid"),
        ({"persons": -1}, "parameter_invalid"),
    ],
)
async def test_what_makes_no_sense_is_not_written_down(
    counter: Counter, changes: dict[str, Any], code: str
) -> None:
    desk = await counter.seat("security_officer")
    body = {
        "kind": "outage",
        "noticed_by": "monitoring",
        "noticed_at": "2026-11-25T11:30:00+09:00",
        **NOTE,
        **changes,
    }
    problem_of(await desk.post(INCIDENTS, body), code)


async def test_an_incident_that_never_was_is_unknown(counter: Counter) -> None:
    desk = await counter.seat("security_officer")
    for incident_id in (f"inc_{uuid4().hex}", "inc_1"):
        problem_of(await desk.get(f"{INCIDENTS}/{incident_id}"), "incident_unknown")
        problem_of(await desk.post(f"{INCIDENTS}/{incident_id}/close", NOTE), "incident_unknown")
