"""``wallet campaign``: where campaigns stand, and the files by which anybody checks a draw."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.cli.shell import JsonOption, console, emit, with_engine
from wallet.core.clock import rfc3339, to_microseconds
from wallet.core.database import read
from wallet.core.ids import public_id
from wallet.core.runtime import Runtime
from wallet.vouchers.campaigns import find_campaign_by_code, list_campaigns
from wallet.vouchers.campaigns_rules import SECOND
from wallet.vouchers.results import Count, count_applications, published

group = typer.Typer(no_args_is_help=True, help="Voucher campaigns and their draws.")


@group.command("list")
def campaign_list(*, as_json: JsonOption = False) -> None:
    """List the campaigns, newest first."""

    async def work(engine: AsyncEngine, _: Runtime) -> list[dict[str, Any]]:
        async with read(engine) as connection:
            found = await list_campaigns(connection)
        return [
            {
                "id": public_id("cmp", one.id),
                "code": one.code,
                "name": one.terms.name,
                "state": str(one.state),
                "suspended_at": None
                if one.suspended_at is None
                else rfc3339(to_microseconds(one.suspended_at)),
            }
            for one in found
        ]

    campaigns = with_engine(work)
    if as_json:
        emit({"campaigns": campaigns}, "", as_json=True)
        return
    table = Table("コード", "名前", "状態", "一時停止")
    for one in campaigns:
        table.add_row(one["code"], one["name"], one["state"], one["suspended_at"] or "")
    console.print(table)


@group.command("show")
def campaign_show(
    code: Annotated[str, typer.Argument(help="The campaign's code")], *, as_json: JsonOption = False
) -> None:
    """Count a campaign's applications by frame, channel and state."""

    async def work(engine: AsyncEngine, _: Runtime) -> tuple[str, list[Count]]:
        async with read(engine) as connection:
            found = await find_campaign_by_code(connection, code)
            return str(found.state), await count_applications(connection, found.id)

    state, counts = with_engine(work)
    if as_json:
        rows = [
            {
                "frame": one.frame,
                "channel": one.channel,
                "state": one.state,
                "applications": one.applications,
                "units": one.units,
            }
            for one in counts
        ]
        emit({"code": code, "state": state, "applications": rows}, "", as_json=True)
        return
    table = Table("枠", "方法", "申込の状態", "件数", "口数", title=f"{code}: {state}")
    for one in counts:
        numbers = (f"{one.applications:,}", f"{one.units:,}")
        table.add_row(one.frame, one.channel, one.state, *numbers)
    console.print(table)


@group.command("publish")
def campaign_publish(
    code: Annotated[str, typer.Argument(help="The campaign's code")],
    directory: Annotated[Path, typer.Argument(help="Where the files go", file_okay=False)],
    *,
    round_: Annotated[int, typer.Option("--round", min=1, max=SECOND)] = 1,
    as_json: JsonOption = False,
) -> None:
    """Write draw.json, list.csv and result.csv as far as they are public by now.

    Anybody recomputes them with `python3 scripts/verify_draw.py DIRECTORY`.
    """

    async def work(engine: AsyncEngine, _: Runtime) -> dict[str, str]:
        async with read(engine) as connection:
            found = await find_campaign_by_code(connection, code)
        return await published(engine, campaign_id=found.id, round_=round_)

    files = with_engine(work)
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / name).write_bytes(content.encode())
    paths = [str(directory / name) for name in files]
    sentence = f"Wrote {', '.join(paths)}."
    emit({"code": code, "round": round_, "files": paths}, sentence, as_json=as_json)
