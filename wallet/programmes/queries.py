"""Reads of programmes; terms are parsed once per version and kept."""

from collections.abc import Mapping
from uuid import UUID

import asyncpg
import msgspec

from wallet.core.database import Connection
from wallet.programmes.rules import Programme
from wallet.programmes.terms import Terms

_LOAD = """
SELECT id, number, code, version, state, terms, clearing_account_id, budget_account_id
FROM programme WHERE id = ANY($1::uuid[])
"""


class ProgrammeShelf:
    """Programmes by id, read again only when their version has changed."""

    def __init__(self) -> None:
        self._programmes: dict[UUID, Programme] = {}

    async def take(
        self, connection: Connection, versions: Mapping[UUID, int]
    ) -> dict[UUID, Programme]:
        """Return all known programmes, those in ``versions`` in just these versions."""
        known = self._programmes
        stale = [k for k, v in versions.items() if k not in known or known[k].version != v]
        if stale:
            loaded = {row["id"]: _parse(row) for row in await connection.fetch(_LOAD, stale)}
            # A new dict: a batch in another lane keeps the one it has.
            self._programmes = known | loaded
        return self._programmes


def _parse(row: asyncpg.Record) -> Programme:
    terms = msgspec.json.decode(row["terms"], type=Terms)
    return Programme(
        id=row["id"],
        number=row["number"],
        code=row["code"],
        name=terms.name,
        terms=terms,
        version=row["version"],
        state=row["state"],
        spending=terms.spending,
        frame=terms.frame,
        clearing_account_id=row["clearing_account_id"],
        budget_account_id=row["budget_account_id"],
    )
