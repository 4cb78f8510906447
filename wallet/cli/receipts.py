"""``wallet receipts``: what came in and what waits, providers' keys, and pretended payments."""

import base64
from typing import Annotated

import httpx2
import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.cli.shell import JsonOption, emit, with_engine
from wallet.core.clock import rfc3339, to_microseconds
from wallet.core.database import read
from wallet.core.ids import public_id
from wallet.core.money import format_yen
from wallet.core.refusals import RefusedError
from wallet.core.runtime import Runtime
from wallet.demo.fake_payment_provider import FakePaymentProvider, send_to
from wallet.receipts.providers import provider_key
from wallet.receipts.queries import add_up_suspense, list_held
from wallet.receipts.rules import Method

group = typer.Typer(no_args_is_help=True, help="Money that payment providers take in.")

_TIMEOUT_S = 30.0


@group.command("work")
def work_command(*, as_json: JsonOption = False) -> None:
    """Show what is in suspense, and what is paid for and could not be issued."""

    async def work(engine: AsyncEngine, _: Runtime) -> dict[str, list[dict[str, str | int]]]:
        async with read(engine) as connection:
            suspense = await add_up_suspense(connection)
            held = await list_held(connection)
        return {
            "suspense": [
                {
                    "because": one.because,
                    "receipts": one.receipts,
                    "amount_yen": one.amount_yen,
                    "oldest_at": rfc3339(to_microseconds(one.oldest_at)),
                }
                for one in suspense
            ],
            "held": [
                {
                    "purchase_id": public_id("pur", one.id),
                    "because": one.held_because,
                    "amount_yen": one.price_yen,
                }
                for one in held
            ],
        }

    told = with_engine(work)
    lines = [
        f"{one['because']}: {one['receipts']} receipts, {format_yen(int(one['amount_yen']))},"
        f" the oldest of {one['oldest_at']}"
        for one in told["suspense"]
    ] + [f"{one['purchase_id']} is paid for and held: {one['because']}" for one in told["held"]]
    emit(told, "\n".join(lines) or "Nothing waits.", as_json=as_json)


@group.command("key")
def key_command(provider: Method, *, as_json: JsonOption = False) -> None:
    """Print the key that is shared with a provider; whoever has it can report money."""

    async def work(_: AsyncEngine, runtime: Runtime) -> str:
        key = provider_key(provider, pepper=runtime.pepper)
        return f"whsec_{base64.b64encode(key).decode()}"

    key = with_engine(work)
    emit({"provider": provider.value, "key": key}, key, as_json=as_json)


@group.command("pretend")
def pretend_command(
    provider: Method,
    reference: Annotated[str, typer.Argument(help="the number on the slip")],
    amount_yen: Annotated[int, typer.Argument(min=1)],
    *,
    to: Annotated[str, typer.Option(help="where the app's doors are")] = "http://127.0.0.1:8000",
    as_json: JsonOption = False,
) -> None:
    """Report a payment as a provider would, in a rehearsal; no money moves anywhere."""

    async def work(_: AsyncEngine, runtime: Runtime) -> bool:
        if runtime.settings.livemode:
            raise RefusedError("rehearsal_only")
        async with httpx2.AsyncClient(timeout=_TIMEOUT_S) as client:
            fake = FakePaymentProvider(
                provider=provider, pepper=runtime.pepper, send=send_to(to, client)
            )
            return (await fake.take(reference, amount_yen=amount_yen)).arrived

    arrived = with_engine(work)
    emit(
        {"arrived": arrived},
        "The city has noted it." if arrived else "The city has not noted it.",
        as_json=as_json,
    )
    if not arrived:
        raise typer.Exit(1)
