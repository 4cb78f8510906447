"""Rosters as offices save them: CSV of both encodings, workbooks, and files made to harm."""

import csv
import io
import zipfile
from collections.abc import Callable
from datetime import date

import pytest

from tests.factories.benefits import BENEFIT, BORN, YEN, csv_of, row, xlsx_of
from wallet.benefits import read_roster as reader
from wallet.benefits.read_roster import ROSTER_BYTES_MAX, Roster, read_roster
from wallet.benefits.rules import COLUMNS, RowError
from wallet.core.refusals import RefusedError

TODAY = date(2026, 11, 25)


def read(data: bytes) -> Roster:
    """Return what a file says."""
    return read_roster(data, programme=BENEFIT, day=TODAY)


def refused(data: bytes) -> str:
    """Return why a file is not read at all."""
    with pytest.raises(RefusedError) as caught:
        read(data)
    return caught.value.refusal.code


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
def test_a_csv_is_read_in_either_encoding(encoding: str) -> None:
    one = row(name_kana="ヤマダ タロウ")
    roster = read(csv_of([one, row()], encoding=encoding))
    assert [found.row_number for found in roster.rows] == [2, 3]
    assert roster.rows[0].beneficiary_ref == one["beneficiary_ref"]
    assert roster.errors == []


def test_a_workbook_is_read_like_a_csv_with_its_days_and_numbers() -> None:
    one = row()
    cells: list[list[object]] = [[one[name] for name in COLUMNS]]
    cells[0][COLUMNS.index("amount")] = float(YEN)
    roster = read(xlsx_of([list(COLUMNS), *cells]))
    (found,) = roster.rows
    assert (found.row_number, found.amount_yen, found.birthdate) == (2, YEN, BORN)


def test_good_rows_are_accepted_whatever_is_wrong_with_others() -> None:
    roster = read(csv_of([row(), row(amount="x"), row(birthdate="", amount=0), row()]))
    assert [found.row_number for found in roster.rows] == [2, 5]
    assert roster.errors == [
        RowError(3, "amount", "amount_invalid"),
        RowError(4, "birthdate", "missing"),
        RowError(4, "amount", "amount_out_of_bounds"),
    ]
    assert roster.rows_total == 4


def test_the_second_row_of_a_beneficiary_is_left_out() -> None:
    one = row(beneficiary_ref="hash-1")
    roster = read(csv_of([one, row(), {**one, "amount": "5"}]))
    assert [found.row_number for found in roster.rows] == [2, 3]
    assert roster.errors == [RowError(4, "beneficiary_ref", "duplicate_in_file")]


def test_a_beneficiary_whose_first_row_is_bad_is_taken_from_the_next() -> None:
    one = row(beneficiary_ref="hash-1", amount="x")
    roster = read(csv_of([one, {**one, "amount": "5"}]))
    assert [found.row_number for found in roster.rows] == [3]


def test_empty_lines_do_not_count_but_keep_their_numbers() -> None:
    data = csv_of([row()]) + b",,,,,,,,\r\n\r\n" + csv_of([row()]).split(b"\r\n", 1)[1]
    roster = read(data)
    assert [found.row_number for found in roster.rows] == [2, 5]
    assert roster.rows_total == 2


def test_the_order_of_the_columns_does_not_matter_and_some_may_be_left_out() -> None:
    columns = ("amount", "birthdate", "beneficiary_ref", "reason_code")
    (found,) = read(csv_of([row()], columns=columns)).rows
    assert (found.amount_yen, found.delivery, found.protected) == (YEN, "wallet", False)


def test_the_same_bytes_have_the_same_name_and_others_another() -> None:
    data = csv_of([row()])
    assert read(data).file_hash == read(data).file_hash != read(data + b"\r\n").file_hash


@pytest.mark.parametrize(
    ("columns", "facts"),
    [
        ((*COLUMNS[:-1], "memo"), {"missing": [], "unknown": ["memo"]}),
        (COLUMNS[2:], {"missing": ["beneficiary_ref"], "unknown": []}),
        ((*COLUMNS, "amount"), {"missing": [], "unknown": []}),
    ],
)
def test_a_heading_that_is_not_the_rosters_is_refused_by_name(
    columns: tuple[str, ...], facts: dict[str, list[str]]
) -> None:
    with pytest.raises(RefusedError) as caught:
        read(csv_of([row()], columns=columns))
    assert caught.value.refusal.code == "roster_columns"
    assert caught.value.refusal.facts == facts


def test_a_file_without_rows_is_refused() -> None:
    assert refused(csv_of([])) == "roster_empty"
    assert refused(b"") == "roster_columns"


def broken_archive() -> bytes:
    """Return the beginning of a workbook."""
    return xlsx_of([list(COLUMNS)])[:200]


def not_a_workbook() -> bytes:
    """Return an archive of something else."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", "a")
    return packed.getvalue()


def with_entities() -> bytes:
    """Return a workbook whose XML would grow to a thousand times its size, and more."""
    nested = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    kinds = f'<!DOCTYPE x [<!ENTITY e0 "ha">{nested}]>'
    return xlsx_of([], sheet=f"{kinds}<worksheet><sheetData>&e9;</sheetData></worksheet>")


def neither_encoding() -> bytes:
    """Return bytes that are no text."""
    return b"\x81\x00\xff\xfe" * 10


def with_a_zero() -> bytes:
    """Return a text with a sign in it that no database keeps."""
    return b"amount\x00,birthdate"


def never_closed() -> bytes:
    """Return a roster whose last cell has no end."""
    return csv_of([row()]) + b'"a'


@pytest.mark.parametrize(
    "make",
    [
        broken_archive,
        not_a_workbook,
        with_entities,
        neither_encoding,
        with_a_zero,
        never_closed,
    ],
)
def test_what_cannot_be_read_is_refused_and_harms_nobody(make: Callable[[], bytes]) -> None:
    assert refused(make()) == "roster_unreadable"


def test_a_cell_larger_than_any_is_refused() -> None:
    cell = b"x" * (csv.field_size_limit() + 1)
    assert refused(csv_of([row()]) + cell) == "roster_unreadable"


def test_a_sheet_that_claims_to_be_huge_costs_no_more_than_its_rows() -> None:
    one = row()
    heading = "".join(f'<c t="inlineStr"><is><t>{name}</t></is></c>' for name in COLUMNS)
    cells = "".join(f'<c t="inlineStr"><is><t>{one[name]}</t></is></c>' for name in COLUMNS)
    sheet = (
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        '<dimension ref="A1:XFD1048576"/><sheetData>'
        f'<row r="1">{heading}</row><row r="2">{cells}</row></sheetData></worksheet>'
    )
    assert len(read(xlsx_of([], sheet=sheet)).rows) == 1


def test_files_beyond_the_bounds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(b"x" * (ROSTER_BYTES_MAX + 1)) == "roster_too_large"
    monkeypatch.setattr(reader, "ROWS_MAX", 2)
    assert refused(csv_of([row(), row(), row()])) == "roster_too_large"
    monkeypatch.setattr(reader, "UNPACKED_BYTES_MAX", 100)
    assert refused(xlsx_of([list(COLUMNS)])) == "roster_too_large"
