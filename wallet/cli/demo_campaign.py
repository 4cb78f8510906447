"""``wallet demo campaign``: a whole voucher campaign, rehearsed from the draft to the last yen."""

import asyncio
import sys
from contextlib import suppress
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from wallet.cli.shell import JsonOption
from wallet.core.clock import system_clock
from wallet.core.refusals import RefusedError
from wallet.demo.campaign.play import APPLICANTS, SHOPS, Outcome, play
from wallet.demo.campaign.stage import Step, open_database
from wallet.settings import read_settings

_LABELS: Final = {
    "accepted": "受付",
    "application_not_eligible": "対象外",
    "applications": "申込",
    "budget_yen": "予算(円)",
    "days": "日数",
    "issued": "発行",
    "lapsed": "失効",
    "on_paper": "紙の申込",
    "paid": "入金",
    "payments": "支払い",
    "public_value": "公開の値",
    "purchases": "購入",
    "purses": "口座",
    "refused": "断り",
    "reminded": "知らせた数",
    "result": "結果",
    "seed_sha256": "種のSHA-256",
    "shops": "店",
    "state": "状態",
    "succeeded": "成立",
    "units": "口数",
}


def demo_campaign(
    *,
    applicants: Annotated[int, typer.Option(min=1, max=300_000)] = APPLICANTS,
    shops: Annotated[int, typer.Option(min=20, max=10_000)] = SHOPS,
    as_json: JsonOption = False,
) -> None:
    """Play a voucher campaign on a clock of its own, in a database that is dropped afterwards.

    Exit status 0 says that the draw can be recomputed, that every yen of every frame was redeemed
    or has expired, and that the ledger is right.
    """
    if read_settings().livemode:
        raise RefusedError("demo_in_live_mode")
    console = Console(stderr=True)
    with open_database(read_settings().data_directory / "campaign-postgres") as database_url:
        outcome = asyncio.run(
            _play(database_url, console, applicants=applicants, shops=shops, as_json=as_json)
        )
    with suppress(BrokenPipeError):
        if as_json:
            sys.stdout.write(msgspec.json.encode(outcome.as_dict()).decode() + "\n")
        else:
            _show(outcome)
    raise typer.Exit(0 if outcome.ok else 1)


async def _play(
    database_url: str, console: Console, *, applicants: int, shops: int, as_json: bool
) -> Outcome:
    with Progress(console=console, transient=True) as progress:

        def tell(step: Step) -> None:
            if not as_json:
                progress.console.print(f"{step.at:%Y-%m-%d %H:%M}  {_in_words(step)}")

        return await play(
            database_url,
            now_us=system_clock(),
            progress=progress,
            tell=tell,
            applicants=applicants,
            shops=shops,
        )


def _in_words(step: Step) -> str:
    facts = [
        f"{_LABELS.get(name, name)} {value:,}" if isinstance(value, int)
        else f"{_LABELS.get(name, name)} {value}"
        for name, value in step.facts.items()
    ]  # fmt: skip
    return f"{step.title}  {'、'.join(facts)}".rstrip()


def _show(outcome: Outcome) -> None:
    table = Table("制度", "発行(円)", "使用", "期限切れ", "返金", "残り", "差")
    for column in table.columns[1:]:
        column.justify = "right"
    for one in outcome.frames:
        table.add_row(
            one.code,
            f"{one.issued_yen:,}",
            f"{one.redeemed_yen:,}",
            f"{one.expired_yen:,}",
            f"{one.refunded_yen:,}",
            f"{one.circulating_yen:,}",
            f"{one.difference_yen:,}",
        )
    console = Console()
    console.print(table)
    console.print("一致しました。" if outcome.ok else "一致しません。上の表と検証を見てください。")
