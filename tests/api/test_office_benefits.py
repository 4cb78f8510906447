"""Benefits through the doors of staff: a roster, a colleague's yes, files by row, taking back."""

import csv
import io
import json
from typing import Any
from uuid import UUID, uuid4

import httpx2 as httpx
import pytest
import pytest_asyncio
from sqlalchemy import text

from tests.api import benefit_codes
from tests.api.answers import problem_of
from tests.factories.benefits import BENEFIT, NAME, YEN, csv_of, row, wallet_row
from tests.factories.benefits import Office as Welfare
from tests.factories.benefits import make_office as make_welfare
from tests.factories.city import open_rooms
from tests.factories.moments import NOW_US
from tests.factories.offices import Counter, Desk, make_resident
from tests.factories.people import make_wallet
from tests.servers import Database
from wallet.api.catalogue_benefits import BENEFITS
from wallet.api.office_benefits import ROOMY
from wallet.benefits import read_roster
from wallet.core.database import write
from wallet.core.scrub import contains_personal

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/office/v1/benefits"
APPROVALS = "/office/v1/approvals"


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def welfare(module_database: Database) -> Any:  # noqa: ANN401 - a generator's
    """Yield a benefit, and the worker that gives it."""
    url = module_database.application_url
    async with open_rooms(url) as (engine, teller):
        yield await make_welfare(engine, teller, url)


async def send(desk: Desk, data: bytes, **changes: str) -> httpx.Response:
    """Send a roster's file."""
    query = {"programme": BENEFIT, "period": uuid4().hex, "claim_until": "2027-02-28", **changes}
    return await desk.counter.client.post(PATH, params=query, content=data, headers=desk.headers)


async def imported(desk: Desk, *rows: dict[str, str], **changes: str) -> dict[str, Any]:
    """Import a roster, or fail the test."""
    response = await send(desk, csv_of(rows), **changes)
    assert response.status_code == 201, response.text
    run: dict[str, Any] = response.json()
    return run


async def ask(desk: Desk, run: dict[str, Any]) -> httpx.Response:
    """Ask for the approval of a run."""
    return await desk.post(f"{PATH}/{run['id']}/approval")


async def carry_out(clerk: Desk, lead: Desk, asked: dict[str, Any]) -> httpx.Response:
    """Have a colleague agree, and do it."""
    body = {"payload_hash": asked["payload_hash"]}
    response = await lead.post(f"{APPROVALS}/{asked['id']}/approve", body)
    assert response.status_code == 200, response.text
    return await clerk.post(f"{APPROVALS}/{asked['id']}/execute", {})


async def approved(counter: Counter, *rows: dict[str, str]) -> tuple[Desk, Desk, dict[str, Any]]:
    """Return a clerk, a lead, and a run that they have approved."""
    clerk, lead = await counter.seat("benefit_clerk"), await counter.seat("benefit_lead")
    run = await imported(clerk, *rows)
    done = await carry_out(clerk, lead, (await ask(clerk, run)).json())
    assert done.status_code == 200, done.text
    return clerk, lead, run


async def rows_of(desk: Desk, run: dict[str, Any], **query: str) -> list[dict[str, str]]:
    """Return the file with the result of every row."""
    response = await desk.get(f"{PATH}/{run['id']}/rows.csv", params=query)
    assert response.status_code == 200, response.text
    encoding = "cp932" if query.get("encoding") == "cp932" else "utf-8-sig"
    return list(csv.DictReader(io.StringIO(response.content.decode(encoding), newline="")))


async def test_every_code_of_benefits_is_in_the_catalogue_and_met_somewhere() -> None:
    assert benefit_codes.ELSEWHERE.keys() == {problem.code for problem in BENEFITS}


async def test_a_draft_shows_what_it_would_do_and_what_is_wrong(counter: Counter) -> None:
    clerk = await counter.seat("benefit_clerk")
    wallet_id = await make_wallet(counter.engine)
    run = await imported(
        clerk, wallet_row(wallet_id), row(contact_flag="protected"), row(amount="x")
    )
    assert (run["state"], run["new"], run["programme"]) == ("draft", True, BENEFIT)
    assert (run["rows"], run["accepted"], run["refused"], run["known"]) == (3, 2, 1, 1)
    assert (run["amount"], run["fits"], run["name"]) == (2 * YEN, True, NAME)
    (group,) = run["groups"]
    assert (group["state"], group["count"], group["protected"]) == ("draft", 2, 1)
    assert run["errors"] == [
        {
            "row": 4,
            "column": "amount",
            "code": "amount_invalid",
            "message": "金額は円の整数で、区切りを入れずに記入してください",
        }
    ]
    shown = (await clerk.get(f"{PATH}/{run['id']}")).json()
    assert shown == {name: value for name, value in run.items() if name != "new"}


async def test_the_same_file_is_answered_with_the_run_there_is(counter: Counter) -> None:
    clerk, data, period = await counter.seat("benefit_clerk"), csv_of([row()]), uuid4().hex
    first, again = [await send(clerk, data, period=period) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == {**first.json(), "new": False}


@pytest.mark.attack(28)
async def test_it_takes_two_to_give_and_the_worker_gives(
    counter: Counter, welfare: Welfare
) -> None:
    wallet_id = await make_wallet(counter.engine)
    clerk, lead = await counter.seat("benefit_clerk"), await counter.seat("benefit_lead")
    run = await imported(clerk, wallet_row(wallet_id))
    asked = (await ask(clerk, run)).json()
    assert asked["payload"] == {
        "programme": BENEFIT,
        "period": run["period"],
        "file_hash": run["file_hash"],
        "claim_until": "2027-02-28",
        "rows": 1,
        "accepted": 1,
        "amount_yen": YEN,
    }
    refused = await clerk.post(f"{APPROVALS}/{asked['id']}/execute", {})
    problem_of(refused, "approval_missing")
    assert (await welfare.work()).granted == 0
    done = (await carry_out(clerk, lead, asked)).json()
    assert done["result"] == {"run_id": run["id"]}
    assert await welfare.held(wallet_id) == {}
    await welfare.work()
    assert await welfare.held(wallet_id) == {BENEFIT: YEN}
    (line,) = await rows_of(clerk, run)
    assert (line["row"], line["state"], line["amount"]) == ("2", "granted", str(YEN))


async def test_of_a_run_everything_is_in_the_trail_and_nobody_is_named(counter: Counter) -> None:
    length = await counter.trail_length()
    clerk, _, run = await approved(counter, row())
    await clerk.post(f"{PATH}/{run['id']}/letters", first_row=2, last_row=2)
    await rows_of(clerk, run)
    trail = await counter.trail(after=length)
    actions = [entry["action"] for entry in trail if not entry["action"].startswith("staff.")]
    assert actions == [
        "benefit.import",
        "benefit.look",
        "approval.request",
        "approval.approve",
        "benefit.grant",
        "benefit.letters",
        "benefit.export",
    ]
    assert not contains_personal(json.dumps([entry["details"] for entry in trail]))


async def test_a_run_is_held_up_and_goes_on(counter: Counter, welfare: Welfare) -> None:
    wallet_id = await make_wallet(counter.engine)
    clerk, _, run = await approved(counter, wallet_row(wallet_id))
    path = f"{PATH}/{run['id']}"
    assert (await clerk.post(f"{path}/pause")).json() == {"id": run["id"], "changed": True}
    assert (await clerk.get(path)).json()["state"] == "paused"
    await welfare.work()
    assert await welfare.held(wallet_id) == {}
    assert (await clerk.post(f"{path}/resume")).json() == {"id": run["id"], "changed": True}
    await welfare.work()
    assert await welfare.held(wallet_id) == {BENEFIT: YEN}
    problem_of(await clerk.post(f"{path}/pause"), "benefit_run_not_approved")


async def test_a_draft_is_withdrawn_and_not_approved_afterwards(counter: Counter) -> None:
    clerk = await counter.seat("benefit_clerk")
    run = await imported(clerk, row())
    withdrawn = await clerk.post(f"{PATH}/{run['id']}/withdraw")
    assert withdrawn.json()["state"] == "withdrawn"
    problem_of(await ask(clerk, run), "benefit_run_not_draft")


async def test_runs_are_listed_newest_first_a_page_at_a_time(counter: Counter) -> None:
    clerk = await counter.seat("benefit_clerk")
    made = {(await imported(clerk, row()))["id"] for _ in range(3)}
    listed: list[str] = []
    page = (await clerk.get(f"{PATH}?limit=2")).json()
    while page["has_more"]:
        listed += [one["id"] for one in page["data"]]
        page = (await clerk.get(f"{PATH}?limit=2&cursor={page['next_cursor']}")).json()
    listed += [one["id"] for one in page["data"]]
    assert listed == sorted(set(listed), reverse=True)
    assert made <= set(listed)


async def test_the_result_of_every_row_says_in_words_why_it_waits(
    counter: Counter, welfare: Welfare
) -> None:
    clerk, _, run = await approved(
        counter, row(), row(birthdate="", amount=0), row(delivery="bank")
    )
    await welfare.work()
    for encoding in ("utf-8", "cp932"):
        offered, refused, elsewhere = await rows_of(clerk, run, encoding=encoding)
        assert (offered["state"], offered["state_name"]) == ("offered", "受取待ち")
        assert (refused["row"], refused["state"], refused["amount"]) == ("3", "refused", "")
        assert refused["reason"] == (
            "amount: 金額は1円から1,000,000円までです / birthdate: 記入がありません"
        )
        assert elsewhere["state"] == "elsewhere"


async def test_letters_have_new_codes_and_are_told_once(counter: Counter, welfare: Welfare) -> None:
    clerk, _, run = await approved(counter, row(), row(contact_flag="protected"))
    await welfare.work()
    path = f"{PATH}/{run['id']}"
    first, again = [
        (await clerk.post(f"{path}/letters", first_row=2, last_row=9)).text for _ in range(2)
    ]
    assert first.splitlines()[0] == "\ufeffrow,amount,code"
    assert len(first.splitlines()) == 2
    assert first != again
    shown = (await clerk.get(f"{path}/unclaimed")).json()
    assert [(one["row"], one["protected"], one["was_written_to"]) for one in shown["data"]] == [
        (2, False, True),
        (3, True, False),
    ]
    assert shown["next_after_row"] is None
    further = (await clerk.get(f"{path}/unclaimed?after_row=2")).json()
    assert [one["row"] for one in further["data"]] == [3]
    problem_of(await clerk.post(f"{path}/letters", first_row=3, last_row=2), "benefit_rows_invalid")


async def test_a_grant_is_taken_back_once_two_have_agreed(
    counter: Counter, welfare: Welfare
) -> None:
    wallet_id = await make_wallet(counter.engine)
    clerk, lead, run = await approved(counter, wallet_row(wallet_id))
    (grant,) = await welfare.grants(UUID(run["id"].removeprefix("bnf_")))
    path = f"{PATH}/grants/grt_{grant['id'].hex}/claw-back"
    wanted: dict[str, Any] = {"amount": 4_000, "because": "overpaid"}
    problem_of(await clerk.post(path, **wanted), "benefit_grant_unknown")
    await welfare.work()
    problem_of(await clerk.post(path, **{**wanted, "amount": YEN + 1}), "claw_back_too_much")
    first, second = [(await clerk.post(path, **wanted)).json() for _ in range(2)]
    assert (await carry_out(clerk, lead, first)).status_code == 200
    problem_of(await carry_out(clerk, lead, second), "claw_back_under_way")
    await welfare.work()
    assert await welfare.held(wallet_id) == {BENEFIT: YEN - 4_000}
    (line,) = await rows_of(clerk, run)
    assert (line["returned"], line["owed"]) == ("4000", "0")


async def test_whose_reference_it_is_takes_two_after_a_document_was_seen(counter: Counter) -> None:
    clerk, lead = await counter.seat("benefit_clerk"), await counter.seat("benefit_lead")
    resident = await make_resident(counter.engine, number=7_101)
    known: dict[str, Any] = {
        "beneficiary_ref": f"ref-{uuid4().hex}",
        "person_id": resident.person_id,
        "document": "passport",
    }
    path = f"{PATH}/beneficiaries"
    asked, again = [await clerk.post(path, **known) for _ in range(2)]
    assert asked.status_code == 202, asked.text
    assert known["beneficiary_ref"] not in asked.text
    early = await clerk.post(f"{APPROVALS}/{asked.json()['id']}/execute", {})
    problem_of(early, "approval_missing")
    done = await carry_out(clerk, lead, asked.json())
    assert (done.status_code, done.json()["result"]) == (200, {"person_id": resident.person_id})
    problem_of(await carry_out(clerk, lead, again.json()), "beneficiary_known")
    problem_of(await clerk.post(path, **known), "beneficiary_known")
    wrong = {**known, "beneficiary_ref": "山田"}
    problem_of(await clerk.post(path, **wrong), "beneficiary_ref_invalid")
    nobody = {**known, "person_id": f"per_{uuid4().hex}"}
    problem_of(await clerk.post(path, **nobody), "person_unknown")


@pytest.mark.attack(28)
async def test_nobody_makes_themselves_a_beneficiary(counter: Counter) -> None:
    resident = await make_resident(counter.engine, number=7_102)
    clerk = await counter.seat("benefit_clerk", person_id=resident.id)
    answer = await clerk.post(
        f"{PATH}/beneficiaries",
        beneficiary_ref=f"ref-{uuid4().hex}",
        person_id=resident.person_id,
        document="passport",
    )
    problem_of(answer, "own_affair")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x00\xff", "roster_unreadable"),
        (b"name\r\n", "roster_columns"),
        (csv_of([]), "roster_empty"),
    ],
)
async def test_a_file_that_is_no_roster_is_refused_in_words(
    counter: Counter, data: bytes, code: str
) -> None:
    clerk = await counter.seat("benefit_clerk")
    problem_of(await send(clerk, data), code)
    assert (await counter.trail())[-1]["details"]["code"] == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"programme": "nothing"}, "benefit_programme_unknown"),
        ({"period": "令和8年"}, "benefit_period_invalid"),
        ({"claim_until": "2026-01-01"}, "benefit_claim_until_invalid"),
        ({"claim_until": "soon"}, "parameter_invalid"),
    ],
)
async def test_a_run_that_makes_no_sense_is_refused(
    counter: Counter, changes: dict[str, str], code: str
) -> None:
    clerk = await counter.seat("benefit_clerk")
    problem_of(await send(clerk, csv_of([row()]), **changes), code)


async def test_a_run_without_a_good_row_or_without_the_money_is_not_asked_for(
    counter: Counter, welfare: Welfare
) -> None:
    clerk = await counter.seat("benefit_clerk")
    problem_of(await ask(clerk, await imported(clerk, row(amount=0))), "benefit_run_empty")
    poor = await make_welfare(
        welfare.engine, welfare.teller, welfare.database_url, benefit="poor", budget_yen=YEN - 1
    )
    run = await imported(clerk, row(), programme=poor.benefit)
    assert not run["fits"]
    body = problem_of(await ask(clerk, run), "benefit_budget_short")
    assert body["missing_yen"] == 1


SMUGGLE = text("""
INSERT INTO benefit_grant (id, run_id, row_number, programme_id, period, beneficiary_hash,
                           birth_mac, amount_yen, reason_code, delivery, protected, state)
SELECT gen_random_uuid(), run_id, 99, programme_id, period, sha256(beneficiary_hash), birth_mac,
       amount_yen, reason_code, delivery, protected, state
FROM benefit_grant WHERE run_id = :run_id
""")


@pytest.mark.attack(28)
async def test_what_is_not_what_was_agreed_to_is_not_done(
    counter: Counter, welfare: Welfare
) -> None:
    clerk, lead = await counter.seat("benefit_clerk"), await counter.seat("benefit_lead")
    run = await imported(clerk, row())
    asked = (await ask(clerk, run)).json()
    values = {"run_id": UUID(run["id"].removeprefix("bnf_"))}
    await write(welfare.engine, lambda connection: connection.execute(SMUGGLE, values))
    problem_of(await carry_out(clerk, lead, asked), "benefit_run_changed")
    assert (await clerk.get(f"{PATH}/{run['id']}")).json()["state"] == "draft"


async def test_what_nobody_has_is_unknown(counter: Counter) -> None:
    clerk = await counter.seat("benefit_clerk")
    for run_id in ("nothing", f"bnf_{uuid4().hex}"):
        path = f"{PATH}/{run_id}"
        for answer in (
            await clerk.get(path),
            await clerk.get(f"{path}/rows.csv"),
            await clerk.get(f"{path}/unclaimed"),
            await clerk.post(f"{path}/approval"),
            await clerk.post(f"{path}/pause"),
            await clerk.post(f"{path}/letters", first_row=2, last_row=2),
        ):
            problem_of(answer, "benefit_run_unknown")


async def test_only_a_roster_may_be_large_and_only_from_who_may_send_one(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    clerk = await counter.seat("benefit_clerk")
    large = csv_of([row() for _ in range(400)])
    assert len(large) > 16_384
    assert (await send(clerk, large)).status_code == 201
    stranger = await counter.client.post(PATH, content=large)
    problem_of(stranger, "sign_in_required")
    elsewhere = await counter.client.post(
        f"{PATH}/nothing/pause", content=large, headers=clerk.headers
    )
    problem_of(elsewhere, "body_too_large")
    monkeypatch.setattr(read_roster, "ROWS_MAX", 399)
    problem_of(await send(clerk, large), "roster_too_large")
    said = {"content-length": str(ROOMY[PATH] + 1), **clerk.headers}
    problem_of(await counter.client.post(PATH, content=b"", headers=said), "body_too_large")


async def test_the_moment_is_the_clocks(counter: Counter) -> None:
    clerk = await counter.seat("benefit_clerk")
    run = await imported(clerk, row())
    assert run["imported_at"] == "2026-11-25T03:00:00.000Z"
    assert counter.clock() == NOW_US
    assert run["imported_by"] == clerk.staff_id
