"""``wallet ledger``: prove every yen."""

import json
import sys
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.cli.shell import JsonOption, console, emit, with_engine
from wallet.core.clock import system_clock
from wallet.core.runtime import Runtime
from wallet.ledger import seal
from wallet.proof import prove, render

group = typer.Typer(no_args_is_help=True, help="Prove every yen.")


@group.command("verify")
def ledger_verify(
    *,
    seals: Annotated[bool, typer.Option("--seal", help="Check the hash chain too")] = False,
    as_json: JsonOption = False,
) -> None:
    """Recompute every balance and every invariant from the transfers; exit 1 on any difference."""
    proof = with_engine(lambda engine, _: prove(engine, now_us=system_clock(), seals=seals))
    if as_json:
        sys.stdout.write(json.dumps(proof.as_dict(), ensure_ascii=False) + "\n")
    else:
        render(proof, console)
    raise typer.Exit(0 if proof.ok else 1)


@group.command("seal")
def ledger_seal(*, as_json: JsonOption = False) -> None:
    """Chain a hash over every transfer that is old enough and not yet sealed."""

    async def work(engine: AsyncEngine, _: Runtime) -> list[seal.Seal]:
        sealed = []
        while (one := await seal.seal(engine, now_us=system_clock())) is not None:
            sealed.append(one)
        return sealed

    sealed = with_engine(work)
    transfers = sum(one.transfers for one in sealed)
    head = sealed[-1].hash.hex() if sealed else None
    sentence = f"Sealed {transfers:,} transfers; head {head}" if sealed else "Nothing to seal yet."
    emit({"ranges": len(sealed), "transfers": transfers, "head": head}, sentence, as_json=as_json)
