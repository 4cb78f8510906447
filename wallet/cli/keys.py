"""``wallet key``: API keys of merchants."""

from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.cli.shell import JsonOption, emit, read_id, with_engine
from wallet.core.clock import system_clock
from wallet.core.ids import public_id
from wallet.core.runtime import Runtime
from wallet.merchants.issue_api_key import issue_api_key
from wallet.merchants.revoke_api_key import revoke_api_key

group = typer.Typer(no_args_is_help=True, help="API keys of merchants.")


@group.command("issue")
def key_issue(
    merchant_id: Annotated[str, typer.Argument(help="mer_ and 32 hex digits")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Issue an API key for a merchant; it is shown this once."""
    parsed = read_id("mer", merchant_id)

    async def work(engine: AsyncEngine, runtime: Runtime) -> dict[str, str]:
        issued = await issue_api_key(
            engine,
            merchant_id=parsed,
            livemode=runtime.settings.livemode,
            pepper=runtime.pepper,
            now_us=system_clock(),
        )
        return {"id": public_id("key", issued.id), "key": issued.key}

    issued = with_engine(work)
    emit(issued, f"{issued['key']}\nto revoke: wallet key revoke {issued['id']}", as_json=as_json)


@group.command("revoke")
def key_revoke(
    key_id: Annotated[str, typer.Argument(help="key_ and 32 hex digits")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Revoke an API key; within five seconds no process takes it any more."""
    parsed = read_id("key", key_id)

    async def work(engine: AsyncEngine, _: Runtime) -> bool:
        return await revoke_api_key(engine, key_id=parsed, now_us=system_clock())

    changed = with_engine(work)
    sentence = "Revoked." if changed else "It was revoked before."
    emit({"id": key_id, "changed": changed}, sentence, as_json=as_json)
