"""Rosters, runs of grants, and people whom a benefit is for."""

import csv
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final
from uuid import UUID, uuid4
from xml.sax.saxutils import escape

from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from tests.factories.programmes import free_draft, make_programme
from wallet.benefits.import_roster import Imported, Wanted, import_roster
from wallet.benefits.queries import Run, Totals, add_up, find_run
from wallet.benefits.read_roster import read_roster
from wallet.benefits.rules import COLUMNS
from wallet.benefits.run_due import Worked, run_due
from wallet.benefits.steer_run import approve_run, payload_of
from wallet.benefits.write_letters import Letter, write_letters
from wallet.core.clock import japanese_day
from wallet.core.database import read, write
from wallet.core.ids import public_id
from wallet.ledger.teller import Teller
from wallet.programmes.terms import Kind

CLAIM_UNTIL: Final = date(2027, 2, 28)
BORN: Final = date(2019, 4, 1)
BENEFIT: Final = "child-benefit"
NAME: Final = "子育て応援手当"
YEN: Final = 10_000

_HELD = text("""
SELECT g.code, (b.credits_posted - b.debits_posted)::bigint AS yen
FROM purse AS p JOIN programme AS g ON g.id = p.programme_id
JOIN balance AS b ON b.account_id = p.account_id WHERE p.wallet_id = :wallet_id
""")
_GRANT = text("SELECT * FROM benefit_grant WHERE id = :id")
_GRANTS = text("SELECT * FROM benefit_grant WHERE run_id = :run_id ORDER BY row_number")


def row(**changes: object) -> dict[str, str]:
    """Return a good row of a roster, of a beneficiary of its own, with ``changes``."""
    cells: dict[str, object] = {
        "programme_id": "",
        "beneficiary_ref": f"ref-{uuid4().hex}",
        "name_kana": "シラサギ ハナコ",
        "birthdate": BORN,
        "amount": YEN,
        "reason_code": "birth",
        "guardian_ref": "",
        "delivery": "wallet",
        "contact_flag": "",
        **changes,
    }
    return {name: str(cell) for name, cell in cells.items()}


def wallet_row(wallet_id: UUID, **changes: object) -> dict[str, str]:
    """Return a row that names the wallet it goes to."""
    return row(beneficiary_ref=public_id("wal", wallet_id), **changes)


def csv_of(
    rows: Sequence[dict[str, str]],
    *,
    encoding: str = "utf-8-sig",
    columns: Sequence[str] = COLUMNS,
) -> bytes:
    """Return a roster as a spreadsheet saves it."""
    written = io.StringIO(newline="")
    writer = csv.writer(written)
    writer.writerow(columns)
    writer.writerows([cells.get(name, "") for name in columns] for cells in rows)
    return written.getvalue().encode(encoding)


def xlsx_of(cells: Sequence[Sequence[object]], *, sheet: str | None = None) -> bytes:
    """Return the smallest workbook with these cells, or with exactly this sheet of XML."""
    if sheet is None:
        rows = "".join(f"<row>{''.join(map(_cell, line))}</row>" for line in cells)
        sheet = f'<worksheet xmlns="{_MAIN}"><sheetData>{rows}</sheetData></worksheet>'
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (*_PARTS.items(), ("xl/worksheets/sheet1.xml", sheet)):
            archive.writestr(name, content)
    return packed.getvalue()


def _cell(value: object) -> str:
    if isinstance(value, int | float):
        return f"<c><v>{value}</v></c>"
    return f'<c t="inlineStr"><is><t>{escape(str(value))}</t></is></c>'


_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_PARTS: Final = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels"'
    ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPE}.worksheet+xml"/>'
    "</Types>",
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r1"'
    f' Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>'
    '<sheet name="roster" sheetId="1" r:id="r1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="r1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>'
    "</Relationships>",
}


@dataclass(frozen=True, kw_only=True)
class Office:
    """A welfare office: an engine, a teller, and one benefit with a budget."""

    engine: AsyncEngine
    teller: Teller
    database_url: str
    benefit: str = BENEFIT
    claim_until: date = CLAIM_UNTIL

    async def import_rows(
        self, *rows: dict[str, str], period: str | None = None, now_us: int = NOW_US
    ) -> Imported:
        """Import a roster of these rows, for a period of its own unless one is given."""
        return await self.import_file(csv_of(rows), period=period or uuid4().hex, now_us=now_us)

    async def import_file(self, data: bytes, *, period: str, now_us: int = NOW_US) -> Imported:
        """Import a roster's file."""
        roster = read_roster(data, programme=self.benefit, day=japanese_day(now_us))
        wanted = Wanted(programme=self.benefit, period=period, claim_until=self.claim_until)
        return await write(
            self.engine,
            lambda connection: import_roster(
                connection,
                wanted=wanted,
                roster=roster,
                imported_by=uuid4(),
                pepper=PEPPER,
                now_us=now_us,
            ),
        )

    async def approve(self, run_id: UUID) -> None:
        """Approve a run as it stands."""
        run, totals = await self.look(run_id)
        await write(
            self.engine,
            lambda connection: approve_run(
                connection, run_id=run_id, payload=payload_of(run, totals), now_us=NOW_US
            ),
        )

    async def look(self, run_id: UUID) -> tuple[Run, Totals]:
        """Return a run and what it comes to."""
        async with read(self.engine) as connection:
            run = await find_run(connection, run_id)
            return run, await add_up(connection, run)

    async def approved(self, *rows: dict[str, str], period: str | None = None) -> UUID:
        """Import and approve a roster, and return its run."""
        imported = await self.import_rows(*rows, period=period)
        await self.approve(imported.run_id)
        return imported.run_id

    async def work(self, *, now_us: int = NOW_US, **changes: Any) -> Worked:  # noqa: ANN401 - of many types
        """Let the worker do one round."""
        return await run_due(self.engine, self.database_url, lambda: now_us, **changes)

    async def grants(self, run_id: UUID) -> list[dict[str, Any]]:
        """Return a run's grants by row."""
        async with read(self.engine) as connection:
            return [
                dict(one)
                for one in (await connection.execute(_GRANTS, {"run_id": run_id})).mappings()
            ]

    async def grant(self, grant_id: UUID) -> dict[str, Any]:
        """Return one grant."""
        async with read(self.engine) as connection:
            rows = await connection.execute(_GRANT, {"id": grant_id})
            return dict(rows.mappings().one())

    async def states(self, run_id: UUID) -> list[str]:
        """Return the states of a run's grants by row."""
        return [one["state"] for one in await self.grants(run_id)]

    async def held(self, wallet_id: UUID) -> dict[str, int]:
        """Return what is in a wallet, in yen by programme."""
        async with read(self.engine) as connection:
            rows = await connection.execute(_HELD, {"wallet_id": wallet_id})
            return {one.code: one.yen for one in rows}

    async def letters(self, run_id: UUID, **changes: Any) -> list[Letter]:  # noqa: ANN401 - of many types
        """Have letters written to everybody who may be."""
        wanted: dict[str, Any] = {"first_row": 2, "last_row": 1_000, "at_counter": False, **changes}
        return await write(
            self.engine,
            lambda connection: write_letters(connection, run_id=run_id, pepper=PEPPER, **wanted),
        )


_PLANT: Final = (
    """
    INSERT INTO programme (id, number, code, version, terms, clearing_account_id,
                           budget_account_id, created_at)
    SELECT :programme_id, coalesce(max(number), 0) + 1, :code, 1,
           CAST(:terms AS jsonb), :programme_id, :programme_id, now() FROM programme
    """,
    """
    INSERT INTO benefit_run (id, programme_id, period, file_hash, rows_total, claim_until, state,
                             imported_by, imported_at, approved_at)
    VALUES (:run_id, :programme_id, '2026', :hash, 1, :claim_until, 'approved', :run_id, now(),
            now())
    """,
    """
    INSERT INTO benefit_grant (id, run_id, row_number, programme_id, period, beneficiary_hash,
                               birth_mac, amount_yen, reason_code, delivery, protected, state)
    VALUES (:grant_id, :run_id, 2, :programme_id, '2026', :hash, :hash, 10000, 'birth', 'wallet',
            false, 'offered')
    """,
    """
    INSERT INTO beneficiary (beneficiary_hash, person_id, proven_by, since)
    VALUES (:hash, :person_id, 'counter', now())
    """,
)


async def plant_offer(engine: AsyncEngine, *, person_id: UUID) -> UUID:
    """Offer somebody a benefit of a programme without a ledger, and return the grant's id."""
    terms = {"name": "給付", "spending": {"first_day": "2026-01-01", "last_day": "2027-03-31"}}
    values = {
        **{name: uuid4() for name in ("programme_id", "run_id", "grant_id")},
        "code": f"planted-{uuid4().hex}",
        "terms": json.dumps(terms),
        "hash": uuid4().bytes * 2,
        "claim_until": CLAIM_UNTIL,
        "person_id": person_id,
    }

    async def work(connection: AsyncConnection) -> None:
        for statement in _PLANT:
            asked = text(statement)
            names = asked.compile().params.keys()
            await connection.execute(asked, {name: values[name] for name in names})

    await write(engine, work)
    return UUID(str(values["grant_id"]))


async def make_office(
    engine: AsyncEngine,
    teller: Teller,
    database_url: str,
    *,
    benefit: str = BENEFIT,
    claim_until: date = CLAIM_UNTIL,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> Office:
    """Create a benefit that only child-related shops take, and its office."""
    terms: dict[str, Any] = {"categories": frozenset({"childcare"}), "budget_yen": 100_000_000}
    draft = free_draft(benefit, **{**terms, **changes})
    await make_programme(teller, replace(draft, name=NAME, kind=Kind.BENEFIT))
    return Office(
        engine=engine,
        teller=teller,
        database_url=database_url,
        benefit=benefit,
        claim_until=claim_until,
    )
