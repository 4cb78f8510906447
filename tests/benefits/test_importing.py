"""Importing: the same file is the same run, and nobody has two grants of one period."""

import asyncio
from datetime import date
from uuid import uuid4

import pytest
from sqlalchemy import text

from tests.factories.benefits import CLAIM_UNTIL, Office, csv_of, row, wallet_row
from tests.factories.moments import NOW_US, PEPPER
from tests.factories.people import make_wallet
from tests.factories.programmes import make_programme, voucher_draft
from wallet.benefits.import_roster import ROWS_PER_STATEMENT, Wanted, import_roster
from wallet.benefits.queries import list_errors, list_rows
from wallet.benefits.read_roster import read_roster
from wallet.benefits.steer_run import withdraw_run
from wallet.core.clock import japanese_day
from wallet.core.database import read, write
from wallet.core.refusals import RefusedError

pytestmark = pytest.mark.asyncio(loop_scope="module")

COLUMNS_KEPT = text("""
SELECT g.*, b.code AS error FROM benefit_grant AS g
LEFT JOIN benefit_row_error AS b ON b.run_id = g.run_id WHERE g.run_id = :run_id
""")


async def errors_of(office: Office, run_id: object) -> list[tuple[int, str, str]]:
    """Return what is wrong with the rows of a run."""
    async with read(office.engine) as connection:
        return list(await list_errors(connection, run_id))  # type: ignore[arg-type] # an id


async def test_the_same_file_is_the_same_run_however_often_it_comes(office: Office) -> None:
    data, period = csv_of([row(), row()]), uuid4().hex
    first = await office.import_file(data, period=period)
    again = await office.import_file(data, period=period)
    assert (first.new, again.new) == (True, False)
    assert first.run_id == again.run_id
    assert len(await office.grants(first.run_id)) == 2


async def test_one_file_that_comes_twice_at_once_makes_one_run(office: Office) -> None:
    data, period = csv_of([row()]), uuid4().hex
    imported = await asyncio.gather(*[office.import_file(data, period=period) for _ in range(4)])
    assert sorted(one.new for one in imported) == [False, False, False, True]
    assert len({one.run_id for one in imported}) == 1


async def test_who_has_a_grant_of_the_period_is_left_out_of_another_file(office: Office) -> None:
    period, twice, once = uuid4().hex, row(), row()
    await office.import_rows(twice, period=period)
    other = await office.import_rows(once, {**twice, "amount": "500"}, period=period)
    assert await errors_of(office, other.run_id) == [
        (3, "beneficiary_ref", "duplicate_across_runs")
    ]
    assert [one["row_number"] for one in await office.grants(other.run_id)] == [2]
    # The next period is another matter.
    later = await office.import_rows(twice, once)
    assert await errors_of(office, later.run_id) == []


async def test_a_withdrawn_draft_leaves_its_file_and_its_people_free(office: Office) -> None:
    data, period = csv_of([row(), row()]), uuid4().hex
    first = await office.import_file(data, period=period)
    await write(office.engine, lambda one: withdraw_run(one, run_id=first.run_id))
    assert await office.states(first.run_id) == ["withdrawn", "withdrawn"]
    again = await office.import_file(data, period=period)
    assert again.new
    assert again.run_id != first.run_id
    assert await office.states(again.run_id) == ["draft", "draft"]


async def test_a_row_that_names_a_wallet_nobody_has_is_left_out(office: Office) -> None:
    known_id = await make_wallet(office.engine)
    imported = await office.import_rows(wallet_row(uuid4()), wallet_row(known_id))
    assert await errors_of(office, imported.run_id) == [(2, "beneficiary_ref", "wallet_unknown")]
    (grant,) = await office.grants(imported.run_id)
    assert grant["wallet_id"] == known_id


async def test_a_large_roster_is_taken_in_whole(office: Office) -> None:
    count = ROWS_PER_STATEMENT + 3
    imported = await office.import_rows(*[row(amount=1) for _ in range(count)])
    run, totals = await office.look(imported.run_id)
    assert (run.rows_total, totals.accepted, totals.amount_yen) == (count, count, count)
    async with read(office.engine) as connection:
        page = await list_rows(connection, run.id, after=ROWS_PER_STATEMENT, limit=10)
    assert [one.row_number for one in page] == list(range(ROWS_PER_STATEMENT + 1, count + 2))


async def test_nothing_that_names_a_person_is_kept(office: Office) -> None:
    one = row(name_kana="トクメイ キボウ", beneficiary_ref="kept-nowhere-1", birthdate="1985-06-07")
    bad = row(name_kana="トクメイ キボウ", beneficiary_ref="kept-nowhere-2", birthdate="06-07-1985")
    imported = await office.import_rows(one, bad)
    async with read(office.engine) as connection:
        kept = (await connection.execute(COLUMNS_KEPT, {"run_id": imported.run_id})).mappings()
        written = str([dict(each) for each in kept])
    assert "date_invalid" in written
    for secret in ("トクメイ", "kept-nowhere", "1985", "06-07"):
        assert secret not in written


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"programme": "nothing"}, "benefit_programme_unknown"),
        ({"programme": "framed"}, "benefit_programme_unknown"),
        ({"period": "令和8年"}, "benefit_period_invalid"),
        ({"claim_until": date(2026, 11, 24)}, "benefit_claim_until_invalid"),
        ({"claim_until": date(2027, 4, 1)}, "benefit_claim_until_invalid"),
    ],
)
async def test_a_run_that_could_not_be_given_is_refused(
    office: Office, changes: dict[str, object], code: str
) -> None:
    await make_programme(office.teller, voucher_draft("framed"))
    wanted = {"programme": office.benefit, "period": "2026", "claim_until": CLAIM_UNTIL, **changes}
    roster = read_roster(csv_of([row()]), programme="", day=japanese_day(NOW_US))
    with pytest.raises(RefusedError, match=code):
        await write(
            office.engine,
            lambda connection: import_roster(
                connection,
                wanted=Wanted(**wanted),  # type: ignore[arg-type] # fields of several types
                roster=roster,
                imported_by=uuid4(),
                pepper=PEPPER,
                now_us=NOW_US,
            ),
        )
