"""CSV that an office opens by a double click: readable, and it computes nothing."""

import csv
import io

import pytest

from wallet.core.csv_files import write_csv


def test_a_file_begins_with_a_mark_and_its_lines_end_as_windows_wants() -> None:
    assert write_csv(("名称", "円"), [("しらさぎ", 1_200)]) == (
        b"\xef\xbb\xbf" + "名称,円\r\nしらさぎ,1200\r\n".encode()
    )


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+81", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", "＝1+1", "＋81", "－1", "＠SUM(A1)"],
)
def test_text_that_a_spreadsheet_would_compute_is_text(text: str) -> None:
    file = io.StringIO(write_csv(("a",), [(text,)]).decode("utf-8-sig"), newline="")
    assert list(csv.reader(file))[1] == [f"'{text}"]


def test_a_number_stays_a_number_and_nothing_is_empty() -> None:
    assert write_csv(("a", "b"), [(-5, None)]).endswith(b"\r\n-5,\r\n")
