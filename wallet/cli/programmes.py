"""``wallet programme``: check a programme's file, its schema, and the base dates of the law."""

import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.cli.shell import JsonOption, console, emit, with_engine
from wallet.core.clock import japanese_day, system_clock
from wallet.core.database import read
from wallet.core.runtime import Runtime
from wallet.demo.terms import read_demo_drafts
from wallet.merchants.rules import CATEGORIES
from wallet.people.rules import Tier
from wallet.people.tiers import tiers
from wallet.programmes import base_date
from wallet.programmes.check import Check, PurchaseLimit, check_draft, purchase_limits
from wallet.programmes.legal_settings import legal_settings
from wallet.programmes.read_drafts import read_drafts
from wallet.programmes.schema import schema_text
from wallet.programmes.terms import ProgrammeDraft

group = typer.Typer(no_args_is_help=True, help="Kinds of money as data, and the law.")

_JAPANESE_SEVERITIES = {"error": "違反", "setting": "要確認", "warning": "注意"}


@group.command("check")
def programme_check(
    path: Annotated[Path, typer.Argument(help="A programme file (TOML)", exists=True)],
    *,
    demo: Annotated[
        bool, typer.Option("--demo", help='Allow first_day = "today" with usable_days.')
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what stands against the programmes of a file; exit 1 while anything is open."""
    toml = path.read_text(encoding="utf-8")
    today = japanese_day(system_clock())
    drafts = read_demo_drafts(toml, today=today) if demo else read_drafts(toml)
    settings = legal_settings()
    checked = [
        (draft, check_draft(draft, settings=settings, known_categories=CATEGORIES))
        for draft in drafts
    ]
    if as_json:
        told = {"programmes": [_as_dict(draft, check) for draft, check in checked]}
        sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
    else:
        for draft, check in checked:
            _render(draft, check)
    raise typer.Exit(1 if any(check.open for _, check in checked) else 0)


@group.command("rules")
def programme_rules(*, as_json: JsonOption = False) -> None:
    """List the rules of the law, their sources, and the settings to confirm."""
    settings = legal_settings()
    if as_json:
        told = {
            "rules": msgspec.to_builtins(list(settings.rules.values())),
            "settings": msgspec.to_builtins(list(settings.settings.values())),
        }
        sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
        return
    table = Table("", "根拠", "求めること", "確認する設定")
    for rule in settings.rules.values():
        unconfirmed = [
            setting.name
            for setting in settings.settings.values()
            if setting.rule == rule.id and not setting.confirmed
        ]
        table.add_row(rule.id, rule.source, rule.plain, "\n".join(unconfirmed))
    console.print(table)


@group.command("schema")
def programme_schema() -> None:
    """Print the JSON Schema of a programme's draft."""
    sys.stdout.write(schema_text())


@group.command("base-date")
def programme_base_date(
    day: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="31 March, 30 September")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Report what was unused at the end of a base date, and what must be secured for it."""

    async def work(engine: AsyncEngine, _: Runtime) -> base_date.Report:
        async with read(engine) as connection:
            return await base_date.report(
                connection,
                base_date=_day(day),
                settings=legal_settings(),
                today=japanese_day(system_clock()),
            )

    made = with_engine(work)
    emit(msgspec.to_builtins(made), _report(made), as_json=as_json)


def _day(moment: datetime) -> date:
    return moment.replace(tzinfo=UTC).date()


def _limits(draft: ProgrammeDraft) -> list[PurchaseLimit]:
    balances_yen = {str(tier): tiers().of(tier).balance_yen for tier in Tier}
    return purchase_limits(draft, balances_yen=balances_yen)


def _as_dict(draft: ProgrammeDraft, check: Check) -> dict[str, Any]:
    return {
        "code": draft.code,
        "name": draft.name,
        "open": check.open,
        "problems": check.problems,
        "findings": msgspec.to_builtins(check.findings),
        "purchase_limits": msgspec.to_builtins([] if check.problems else _limits(draft)),
    }


def _render(draft: ProgrammeDraft, check: Check) -> None:
    verdict = "承認に進めません" if check.open else "問題は見つかりません"
    console.print(f"[bold]{draft.name}[/bold]（{draft.code}）：{verdict}")
    for problem in check.problems:
        console.print(f"  {problem}")
    for one in check.findings:
        named = f"（{one.setting}）" if one.setting else ""
        console.print(
            f"  {one.rule} {_JAPANESE_SEVERITIES[one.severity]} {one.where}：{one.message}{named}"
        )
    for limit in [] if check.problems else _limits(draft):
        console.print(f"  {limit.tier}：{limit.sets}口まで（{limit.price_yen:,}円）")


def _report(made: base_date.Report) -> str:
    lines = [f"基準日 {made.base_date}　未使用残高（規制の対象） {made.unused_yen:,}円"]
    lines += [
        f"  {row.programme} {row.name}（{row.regime}）：未使用 {row.unused_yen:,}円、"
        f"発行 {row.issued_yen:,}円、払い戻し {row.refunded_yen:,}円"
        for row in made.rows
    ]
    lines.append(f"保全が必要な額 {made.deposit_yen:,}円" + ("　※近づいています" * made.alarm))
    lines.append(f"払い戻せる残り {made.refund_room_yen:,}円")
    if made.refunds_exceeded:
        lines.append("払い戻しが上限をこえています。")
    return "\n".join(lines)
