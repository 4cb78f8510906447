"""Files that staff take along, as answers of doors."""

from collections.abc import Iterable, Sequence
from typing import Any, Final
from urllib.parse import quote

from fastapi import Response

from wallet.core.csv_files import Cell, write_csv

CSV: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/csv": {}}, "description": "UTF-8 with a mark, CRLF, one header row"}
}
"""What the document says of a door that answers with a CSV file."""


def csv_answer(
    name: str, header: Sequence[str], rows: Iterable[Sequence[Cell]], *, japanese: str
) -> Response:
    """Return a CSV file under an ASCII ``name`` and a ``japanese`` one, both without suffix."""
    disposition = f"attachment; filename=\"{name}.csv\"; filename*=UTF-8''{quote(japanese)}.csv"
    headers = {"content-disposition": disposition, "cache-control": "no-store"}
    return Response(write_csv(header, rows), media_type="text/csv; charset=utf-8", headers=headers)
