"""What checks find: how much each looked at, and every difference by name.

A check is one set-based query of differences, so it is quick on a large city and says nothing
when all is well. However much is wrong, a report stays short: the first :data:`FINDINGS_MAX`
differences are named and the rest are counted.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.database import read

FINDINGS_MAX: Final = 50
"""Differences named by one check."""

STATEMENT_TIMEOUT_S: Final = 600
"""Bound of one check; a city of a million transfers needs a few seconds."""

# Whole tables are read here: look-ups by key would be the wrong plan at any size, and a planner
# without statistics likes them.
_SETTINGS: Final = (
    f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s'",
    "SET LOCAL work_mem = '64MB'",
    "SET LOCAL enable_seqscan = on",
    "SET LOCAL enable_hashjoin = on",
    "SET LOCAL enable_mergejoin = on",
    "SET LOCAL enable_bitmapscan = on",
    "SET LOCAL enable_nestloop = off",
)

_BOUNDED: Final = """
SELECT kind, id, what, stored::text, computed::text, count(*) OVER () AS problems
FROM ({differences}) AS difference ORDER BY kind, id, what LIMIT {limit}
"""

Value = int | str | bool | None


class Finding(msgspec.Struct, frozen=True, gc=False):
    """One difference: the ``kind`` of thing and its ``id``, in ``what``, and between what."""

    kind: str
    id: str
    what: str
    stored: Value
    computed: Value

    @property
    def sentence(self) -> str:
        """The finding in words."""
        return f"{self.kind} {self.id}: {self.what}: stored {self.stored}, computed {self.computed}"

    def as_dict(self) -> dict[str, Any]:
        """Return the finding for ``--json``."""
        return msgspec.structs.asdict(self)


class Check(msgspec.Struct, frozen=True):
    """What came of one check. ``problems`` counts all differences, ``findings`` names the first."""

    name: str
    looked_at: int
    problems: int = 0
    findings: Sequence[Finding] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return self.problems == 0

    def as_dict(self) -> dict[str, Any]:
        """Return the check for ``--json``."""
        return {
            "name": self.name,
            "ok": self.ok,
            "looked_at": self.looked_at,
            "problems": self.problems,
            "findings": [finding.as_dict() for finding in self.findings],
        }


class Question(msgspec.Struct, frozen=True):
    """A check that is a query.

    ``differences`` is SQL that yields ``kind``, ``id``, ``what`` as text and ``stored``,
    ``computed`` as JSON; ``looked_at`` names the count of what it goes through.
    """

    name: str
    looked_at: str
    differences: str
    parameters: Mapping[str, Any] = {}


@asynccontextmanager
async def snapshot(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Yield a connection that sees one moment of the database, for long reads of whole tables.

    Reads only. While it is open the primary cannot clean up what was replaced since, so it is for
    minutes at most.
    """
    frozen = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    async with read(frozen) as connection:
        for setting in _SETTINGS:
            await connection.execute(text(setting))
        yield connection


async def ask(
    connection: AsyncConnection, questions: Sequence[Question], *, counts: Mapping[str, int]
) -> list[Check]:
    """Return what comes of each question; ``counts`` are of all that a question may look at."""
    return [await _ask(connection, one, looked_at=counts[one.looked_at]) for one in questions]


async def _ask(connection: AsyncConnection, question: Question, *, looked_at: int) -> Check:
    sql = _BOUNDED.format(differences=question.differences, limit=FINDINGS_MAX)
    rows = (await connection.execute(text(sql), dict(question.parameters))).all()
    findings = [
        Finding(row.kind, row.id, row.what, _value(row.stored), _value(row.computed))
        for row in rows
    ]
    return Check(question.name, looked_at, rows[0].problems if rows else 0, findings)


def _value(json: str | None) -> Value:
    value: Value = None if json is None else msgspec.json.decode(json)
    return value
