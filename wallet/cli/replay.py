"""``wallet replay``: a file of card payments through the running till."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.cli.shell import JsonOption, console, with_engine
from wallet.core.clock import system_clock
from wallet.core.runtime import Runtime
from wallet.replay.render import render_replay
from wallet.replay.replay import CONCURRENCY, ReplaySummary, replay
from wallet.settings import read_settings


def replay_command(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet")],
    *,
    payments: Annotated[int | None, typer.Option(min=1, help="Only the first N payments")] = None,
    concurrency: Annotated[int, typer.Option(help="Payments under way at a time")] = CONCURRENCY,
    short_every: Annotated[int, typer.Option(min=0, help="Leave every Nth wallet short")] = 0,
    address: Annotated[str, typer.Option(help="Where the till listens")] = "",
    as_json: JsonOption = False,
) -> None:
    """Replay card payments through the running till, and prove that every one is in the ledger."""
    settings = read_settings()

    async def work(engine: AsyncEngine, runtime: Runtime) -> ReplaySummary:
        with Progress(console=Console(stderr=True)) as progress:
            return await replay(
                file,
                engine=engine,
                database_url=runtime.database_url,
                pepper=runtime.pepper,
                livemode=runtime.settings.livemode,
                clock=system_clock,
                progress=progress,
                payments_max=payments,
                concurrency=concurrency,
                short_every=short_every,
                base_url=address or f"http://{settings.host}:{settings.port}",
            )

    summary = with_engine(work)
    if as_json:
        sys.stdout.write(json.dumps(summary.as_dict(), ensure_ascii=False) + "\n")
    else:
        render_replay(summary, console)
    raise typer.Exit(0 if summary.ok else 1)
