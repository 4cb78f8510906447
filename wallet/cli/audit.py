"""``wallet audit``: prove that the audit trail was not bent, and take it elsewhere."""

import json
import re
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.cli.shell import ORIGIN, JsonOption, emit, shell_actor, with_engine
from wallet.core.clock import system_clock
from wallet.core.database import write
from wallet.core.refusals import RefusedError
from wallet.core.runtime import Runtime
from wallet.ops.audit import Entry, append
from wallet.ops.verify_audit import AuditReport, read_entries, verify_audit

group = typer.Typer(no_args_is_help=True, help="The trail of who did what, and why.")

_PUBLISHED = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})")


@group.command("verify")
def audit_verify(
    *,
    published: Annotated[
        list[str] | None,
        typer.Option("--published", help="NUMBER:HASH as known from elsewhere; may be repeated"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Recompute the whole trail; exit 1 and the first entry that does not fit, if there is one."""
    known = _read_published(published or [])

    async def work(engine: AsyncEngine, _: Runtime) -> AuditReport:
        return await verify_audit(engine, published=known)

    report = with_engine(work)
    if report.broken is None:
        sentence = (
            f"OK: {report.entries:,} entries; nothing differs."
            f" To publish: {report.head_seq}:{report.head_hash.hex()}"
        )
    else:
        sentence = f"NOT OK: entry {report.broken.seq}: {report.broken.what}."
    emit(report.as_dict(), sentence, as_json=as_json)
    raise typer.Exit(0 if report.ok else 1)


@group.command("export")
def audit_export(
    *,
    after: Annotated[int, typer.Option(min=0, help="Begin behind this entry")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Print the entries in order, a line each; with --json all that the chain is computed from.

    That the trail was taken away is an entry as well, the last one of the export.
    """

    async def work(engine: AsyncEngine, _: Runtime) -> None:
        entry = Entry(
            action="audit.export", actor=shell_actor(), origin=ORIGIN, details={"after": after}
        )
        last = await write(
            engine, lambda connection: append(connection, entry=entry, now_us=system_clock())
        )
        async for stored in read_entries(engine, after=after, to=last):
            told = stored.as_dict()
            line = json.dumps(told, ensure_ascii=False) if as_json else _line(told)
            sys.stdout.write(line + "\n")

    with_engine(work)


def _line(told: Mapping[str, Any]) -> str:
    words = [f"{told['seq']}", told["at"], told["actor"], told["action"], told["outcome"]]
    words += [one for one in (told["subject"], told["origin"]) if one]
    words += [f"{name}={value}" for name, value in told["details"].items()]
    return "  ".join(words) + (f"  {told['reason']!r}" if told["reason"] else "")


def _read_published(heads: list[str]) -> dict[int, bytes]:
    found = [(head, _PUBLISHED.fullmatch(head)) for head in heads]
    wrong = [head[:90] for head, match in found if match is None]
    if wrong:
        raise RefusedError("head_invalid", expected="NUMBER:HASH", got=wrong[0])
    return {int(match[1]): bytes.fromhex(match[2]) for _, match in found if match is not None}
