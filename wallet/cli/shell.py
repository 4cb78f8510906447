"""What all commands share: how they reach the database, how they speak, how they refuse."""

import asyncio
import getpass
import json
import re
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

import typer
from rich.console import Console
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.core.clock import system_clock
from wallet.core.database import make_engine
from wallet.core.ids import parse_public_id
from wallet.core.refusals import Refusal, RefusedError
from wallet.core.runtime import Runtime, open_runtime
from wallet.ops.audit import Entry, append_refused

T = TypeVar("T")

console: Final = Console()

ORIGIN: Final = "cli"
"""Where the audit trail says that something came from; who is logged in where is known there."""

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object instead of a report.")]


def with_engine(work: Callable[[AsyncEngine, Runtime], Awaitable[T]]) -> T:
    """Run ``work`` with an engine for the application's role, and dispose of it."""
    with open_runtime() as runtime:
        return asyncio.run(work_with_engine(work, runtime))


async def work_with_engine(
    work: Callable[[AsyncEngine, Runtime], Awaitable[T]], runtime: Runtime
) -> T:
    """Run ``work`` as :func:`with_engine` does, in a runtime that is open."""
    engine = make_engine(runtime.database_url, pool_size=4, application_name="wallet-cli")
    try:
        return await work(engine, runtime)
    finally:
        await engine.dispose()


def emit(value: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    """Print ``value`` as one line of JSON, or the sentence for people."""
    if as_json:
        sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(sentence + "\n")


def read_id(prefix: str, text: str) -> UUID:
    """Return the id that was typed; raises :class:`RefusedError` ``id_invalid``."""
    parsed = parse_public_id(prefix, text)
    if parsed is None:
        raise RefusedError("id_invalid", expected=f"{prefix}_ and 32 hex digits", got=text[:40])
    return parsed


def explain(refusal: Refusal) -> str:
    """Return the refusal for a person at a shell: its code, each fact, each problem on a line."""
    facts = dict(refusal.facts)
    problems = facts.pop("problems", None) or [facts.pop("problem", None)]
    told = ", ".join(f"{fact}={value}" for fact, value in facts.items())
    lines = [f"refused: {refusal.code}" + (f" ({told})" if told else "")]
    lines += [f"  {problem}" for problem in problems if problem]
    return "\n".join(lines) + "\n"


def shell_actor(name: str | None = None) -> str:
    """Return who acts, for the audit trail: the operating system's user, or the one named."""
    return "cli:" + re.sub(r"[^0-9A-Za-z._-]", "-", name or getpass.getuser())[:64]


def audited(
    action: str, work: Callable[[AsyncEngine, Runtime], Awaitable[T]]
) -> Callable[[AsyncEngine, Runtime], Awaitable[T]]:
    """Return the work, whose refusals are then in the audit trail as well."""

    async def wrapped(engine: AsyncEngine, runtime: Runtime) -> T:
        try:
            return await work(engine, runtime)
        except RefusedError as error:
            entry = Entry(
                action=action,
                actor=shell_actor(),
                origin=ORIGIN,
                details={"code": error.refusal.code},
            )
            await append_refused(engine, entry=entry, now_us=system_clock())
            raise

    return wrapped
