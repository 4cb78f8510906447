"""Write letters: a code for everybody who is offered a benefit and has to claim it.

The city's own system has names and addresses; it joins them to the codes by the roster's rows. A
code is told here, once. A second letter ends the first one's code. Who is protected gets none:
they are told in person, at the counter.
"""

from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.benefits.queries import find_run
from wallet.benefits.rules import written_code
from wallet.benefits.secrets import code_mac, new_claim_code
from wallet.core.refusals import RefusedError

LETTERS_MAX: Final = 10_000

ROWS_PER_STATEMENT: Final = 5_000

_OFFERED: Final = text("""
SELECT id, row_number, amount_yen FROM benefit_grant
WHERE run_id = :run_id AND state = 'offered' AND (:at_counter OR NOT protected)
  AND row_number BETWEEN :first_row AND :last_row
ORDER BY row_number LIMIT :most FOR NO KEY UPDATE
""")

_SET_CODES: Final = text("""
UPDATE benefit_grant AS g SET code_mac = new.code_mac, code_failures = 0
FROM unnest(CAST(:ids AS uuid[]), CAST(:macs AS bytea[])) AS new (id, code_mac)
WHERE g.id = new.id
""")


class Letter(msgspec.Struct, frozen=True):
    """What goes into one letter; ``code`` as it is printed."""

    grant_id: UUID
    row_number: int
    amount_yen: int
    code: str


async def write_letters(
    connection: AsyncConnection,
    *,
    run_id: UUID,
    first_row: int,
    last_row: int,
    at_counter: bool,
    pepper: bytes,
) -> list[Letter]:
    """Return new codes for the offers in these rows, :data:`LETTERS_MAX` at most.

    ``at_counter`` is for one row, whose beneficiary stands there: the protected have no other way.
    Raises :class:`RefusedError` ``benefit_run_unknown``, ``benefit_run_not_approved``, and
    ``benefit_rows_invalid``.
    """
    rows = last_row - first_row + 1
    if not 1 <= rows <= LETTERS_MAX or (at_counter and rows > 1):
        raise RefusedError("benefit_rows_invalid")
    if (await find_run(connection, run_id)).state != "approved":
        raise RefusedError("benefit_run_not_approved")
    values = {
        "run_id": run_id,
        "first_row": first_row,
        "last_row": last_row,
        "at_counter": at_counter,
        "most": LETTERS_MAX,
    }
    offered = (await connection.execute(_OFFERED, values)).all()
    codes = [new_claim_code() for _ in offered]
    for start in range(0, len(offered), ROWS_PER_STATEMENT):
        chunk = slice(start, start + ROWS_PER_STATEMENT)
        macs = [code_mac(code, pepper=pepper) for code in codes[chunk]]
        ids = [row.id for row in offered[chunk]]
        await connection.execute(_SET_CODES, {"ids": ids, "macs": macs})
    return [
        Letter(row.id, row.row_number, row.amount_yen, written_code(code))
        for row, code in zip(offered, codes, strict=True)
    ]
