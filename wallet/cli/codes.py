"""``wallet code``: one-time payment codes."""

from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.cli.shell import JsonOption, emit, read_id, with_engine
from wallet.core.clock import system_clock
from wallet.core.runtime import Runtime
from wallet.payments.issue_codes import issue_codes

group = typer.Typer(no_args_is_help=True, help="One-time payment codes.")


@group.command("issue")
def code_issue(
    wallet_id: Annotated[str, typer.Argument(help="wal_ and 32 hex digits")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Issue a one-time code for a wallet, as its phone would show it; good for five minutes."""
    parsed = read_id("wal", wallet_id)

    async def work(engine: AsyncEngine, runtime: Runtime) -> list[str]:
        return await issue_codes(
            engine, wallet_ids=[parsed], pepper=runtime.pepper, now_us=system_clock()
        )

    (code,) = with_engine(work)
    emit({"type": "cpm_code", "value": code}, code, as_json=as_json)
