"""A file of payments is read whole or not at all, and says where it is wrong."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from wallet.core.clock import JST
from wallet.replay.read_payments import BadFileError, RecordedPayment, read_payments

HEADER = "at,customer_id,terminal_id,amount"
NOON = datetime(2026, 4, 1, 12, tzinfo=JST)


def write_csv(folder: Path, *lines: str, encoding: str = "utf-8") -> Path:
    """Write lines to a CSV file."""
    path = folder / "payments.csv"
    path.write_text("\n".join(lines), encoding=encoding)
    return path


def write_parquet(folder: Path, **columns: list[object]) -> Path:
    """Write columns to a Parquet file."""
    path = folder / "payments.parquet"
    parquet.write_table(pa.table(dict(columns)), path)
    return path


def problems_of(path: Path) -> list[str]:
    """Return what is wrong with a file."""
    with pytest.raises(BadFileError) as bad:
        read_payments(path)
    assert bad.value.refusal.code == "replay_file_invalid"
    problems: list[str] = bad.value.refusal.facts["problems"]
    return problems


def test_a_csv_file_gives_its_payments_in_the_order_of_time(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path,
        "amount,note,terminal_id,customer_id,at",
        "1200,late,t1,c1,2026-04-01T12:00:00",
        " 300 ,early, t2 ,c2,2026-04-01 02:00:00+00:00",
    )
    recording = read_payments(path)
    assert recording.payments == [
        RecordedPayment(3, NOON - timedelta(hours=1), "c2", "t2", 300),
        RecordedPayment(2, NOON, "c1", "t1", 1200),
    ]
    assert recording.zero_rows == 0


def test_a_byte_order_mark_and_empty_lines_are_no_hindrance(tmp_path: Path) -> None:
    row = "2026-04-01T12:00:00,c1,t1,5"
    path = write_csv(tmp_path, HEADER, "", row, "", encoding="utf-8-sig")
    assert [payment.line for payment in read_payments(path).payments] == [3]


def test_a_cent_stands_for_a_yen(tmp_path: Path) -> None:
    header = HEADER.replace("amount", "amount_cents")
    path = write_csv(tmp_path, header, "2026-04-01T12:00:00,c1,t1,5730")
    assert [payment.amount_yen for payment in read_payments(path).payments] == [5730]


def test_rows_of_nothing_are_counted_and_left_out(tmp_path: Path) -> None:
    rows = [f"2026-04-01T12:00:00,c1,t1,{amount}" for amount in (0, 7, 0)]
    recording = read_payments(write_csv(tmp_path, HEADER, *rows))
    assert (len(recording.payments), recording.zero_rows) == (1, 2)


def test_no_more_is_read_than_was_asked_for(tmp_path: Path) -> None:
    good = "2026-04-01T12:00:00,c1,t1,0\n2026-04-01T12:00:00,c1,t1,7"
    path = write_csv(tmp_path, HEADER, good, good, "bad")
    recording = read_payments(path, payments_max=2)
    assert (len(recording.payments), recording.zero_rows) == (2, 2)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("yesterday,c,t,5", "line 3: at: 'yesterday' is not a time like 2026-04-01T12:34:56"),
        ("2026-04-01,,t,5", "line 3: customer_id: '' is not 1 to 64 characters"),
        (f"2026-04-01,c,{'t' * 65},5", f"line 3: terminal_id: '{'t' * 59} is not 1 to 64 "),
        ("2026-04-01,c,t,5.0", "line 3: amount: '5.0' is not whole yen from 0 to 1,000,000"),
        ("2026-04-01,c,t,-5", "line 3: amount: '-5' is not whole yen"),
        ("2026-04-01,c,t,1000001", "line 3: amount: '1000001' is not whole yen"),
        ("2026-04-01,c,t,５", "line 3: amount: '５' is not whole yen"),
        ("2026-04-01,c,t", "line 3: amount: nothing is not whole yen"),
    ],
)
def test_a_bad_row_is_named_by_its_line_and_field(tmp_path: Path, row: str, problem: str) -> None:
    good = "2026-04-01,c,t,5"
    (told,) = problems_of(write_csv(tmp_path, HEADER, good, row, good))
    assert told.startswith(problem)


def test_a_row_of_many_lines_does_not_shift_the_others(tmp_path: Path) -> None:
    rows = ['2026-04-01,"c\n1",t,5', "2026-04-01,c,t,x"]
    (told,) = problems_of(write_csv(tmp_path, HEADER, *rows))
    assert told.startswith("line 4: amount:")


def test_twenty_problems_are_enough(tmp_path: Path) -> None:
    problems = problems_of(write_csv(tmp_path, HEADER, *["x,c,t,5"] * 30))
    assert len(problems) == 20
    assert problems[19].startswith("line 21:")


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "columns are missing: at, customer_id, terminal_id; there are none"),
        (["at,customer_id,amount"], "columns are missing: terminal_id; there are at, customer_id"),
        (["at,customer_id,terminal_id"], "give either amount or amount_cents; there are at,"),
        ([f"{HEADER},amount_cents"], "give either amount or amount_cents; there are at,"),
        ([HEADER], "there are no payments in the file"),
        ([HEADER, "2026-04-01,c,t,0"], "there are no payments in the file"),
        ([HEADER, '2026-04-01,"c,t,5'], "line 3: unexpected end of data"),
    ],
)
def test_a_file_that_is_no_recording_says_what_is_missing(
    tmp_path: Path, lines: list[str], problem: str
) -> None:
    (told,) = problems_of(write_csv(tmp_path, *lines))
    assert told.startswith(problem)


def test_a_file_in_another_encoding_says_so(tmp_path: Path) -> None:
    path = write_csv(tmp_path, HEADER, "2026-04-01,客,t,5", encoding="cp932")
    (told,) = problems_of(path)
    assert "'utf-8' codec can't decode" in told


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    (told,) = problems_of(tmp_path / "nowhere.csv")
    assert told.endswith("cannot be read: No such file or directory")


def test_a_parquet_file_is_known_by_its_content(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path,
        at=[datetime(2026, 4, 1, 12), datetime(2026, 4, 1, 11)],  # noqa: DTZ001 - no zone is said
        customer_id=[596, 597],
        terminal_id=[3156, 3157],
        amount_cents=[5716, 0],
        fraud=[False, False],
    ).rename(tmp_path / "payments.csv")
    recording = read_payments(path)
    assert recording.payments == [RecordedPayment(1, NOON, "596", "3156", 5716)]
    assert recording.zero_rows == 1


@pytest.mark.parametrize(
    "amount", [5, 5.0, Decimal(5), "5"], ids=["int", "float", "decimal", "text"]
)
def test_whole_yen_are_taken_in_any_type(tmp_path: Path, amount: object) -> None:
    path = write_parquet(
        tmp_path, at=[NOON.astimezone(UTC)], customer_id=["c"], terminal_id=["t"], amount=[amount]
    )
    assert read_payments(path).payments == [RecordedPayment(1, NOON, "c", "t", 5)]


@pytest.mark.parametrize("amount", [5.5, float("nan"), float("inf"), None, -1, Decimal("5.5")])
def test_a_bad_parquet_row_is_named_by_its_number(tmp_path: Path, amount: object) -> None:
    path = write_parquet(tmp_path, at=[NOON], customer_id=["c"], terminal_id=["t"], amount=[amount])
    (told,) = problems_of(path)
    assert told.startswith("row 1: amount:")
    assert "is not whole yen" in told


def test_a_broken_parquet_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "payments.parquet"
    path.write_bytes(b"PAR1 and then nothing of the kind")
    (told,) = problems_of(path)
    assert told.startswith("this Parquet file cannot be read: ")


def test_a_moment_finer_than_microseconds_says_so(tmp_path: Path) -> None:
    path = tmp_path / "payments.parquet"
    at = pa.array([1_775_000_000_123_456_789], pa.timestamp("ns"))
    table = pa.table({"at": at, "customer_id": ["c"], "terminal_id": ["t"], "amount": [5]})
    parquet.write_table(table, path)
    (told,) = problems_of(path)
    assert told.startswith("this Parquet file cannot be read: Nanosecond")
