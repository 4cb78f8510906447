"""What the office does: the terms and their approval, the campaign's steps, the draw."""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from wallet.core.clock import japanese_day, to_microseconds
from wallet.core.database import read
from wallet.demo.campaign.calendar import Calendar
from wallet.demo.campaign.stage import Stage
from wallet.demo.terms import read_demo_drafts
from wallet.merchants.rules import CATEGORIES
from wallet.programmes.draft_queries import Draft
from wallet.programmes.legal_settings import legal_settings
from wallet.programmes.run_due import run_due as run_programmes
from wallet.programmes.write_drafts import (
    approve_draft,
    save_draft,
    schedule_draft,
    submit_draft,
)
from wallet.vouchers.campaigns import Campaign, approve_campaign, create_campaign, take_step
from wallet.vouchers.campaigns import find_campaign as find
from wallet.vouchers.campaigns_rules import State
from wallet.vouchers.draw import PublicValue, ask_for_list, commit_seed, reveal
from wallet.vouchers.draw_due import run_due as run_campaigns
from wallet.vouchers.results import published

CLERK: Final = "stf_" + "1" * 32
LEAD: Final = "stf_" + "2" * 32
TERMS: Final = Path(__file__).parents[3] / "demo" / "himeji-r7.toml"
VERIFIER: Final = Path(__file__).parents[3] / "scripts" / "verify_draw.py"
VERIFIER_TIMEOUT_S: Final = 300

PUBLIC_VALUE: Final = "38,123.45"
"""Made up, as nobody knows the value of a day that has not come."""


async def approve_programmes(stage: Stage, *, last_day: date) -> dict[str, int]:
    """Draft, review, approve and schedule the frames; return how many units each has."""
    today = japanese_day(stage.clock())
    toml = await asyncio.to_thread(TERMS.read_text, encoding="utf-8")
    units: dict[str, int] = {}
    for written in read_demo_drafts(toml, today=today):
        spending = replace(written.spending, last_day=last_day)
        draft = replace(written, spending=spending)
        saved: Draft = await stage.do(save_draft, draft=draft, seen_revision=0, by=CLERK)
        checked = {"settings": legal_settings(), "known_categories": CATEGORIES}
        await stage.do(submit_draft, code=draft.code, revision=saved.revision, **checked)
        await stage.do(approve_draft, draft_id=saved.id, **checked)
        await stage.do(schedule_draft, code=draft.code, revision=saved.revision, live_on=today)
        units[draft.code] = 0 if draft.frame is None else draft.frame.sets_total
        stage.note(
            f"制度「{draft.name}」: 案、確認、承認(2人)、日程",
            units=units[draft.code],
            budget_yen=draft.funded_yen,
        )
    await run_programmes(stage.engine, stage.database_url, stage.clock)
    return units


async def publish_campaign(stage: Stage, calendar: Calendar, frames: tuple[str, ...]) -> UUID:
    """Write the campaign down, have it approved, commit to a seed, and publish it."""
    terms = calendar.terms(frames)
    made: Campaign = await stage.do(create_campaign, code="shirasagi-r7", terms=terms, actor=CLERK)
    await stage.do(approve_campaign, campaign_id=made.id, revision=made.revision, actor=LEAD)
    await step(stage, made.id, State.MERCHANT_RECRUITING)
    value = PublicValue(named="抽選日の日経平均株価の終値", at=calendar.value_known_at)
    held = await stage.do(
        commit_seed, campaign_id=made.id, round_=1, value=value, actor=CLERK, pepper=stage.pepper
    )
    stage.note("抽選の種を封じ、そのハッシュを公開", seed_sha256=held.commitment.hex())
    await step(stage, made.id, State.PUBLISHED)
    return made.id


async def step(stage: Stage, campaign_id: UUID, target: State) -> None:
    """Take a step of the office's own, and tell what anybody may read of it."""
    await stage.do(take_step, campaign_id=campaign_id, target=target, actor=CLERK, reason=None)
    stage.note(f"募集の状態: {target}")


async def work(stage: Stage, campaign_id: UUID) -> State:
    """Let the worker do everything that is due for campaigns; return the state it has led to."""
    while await run_campaigns(stage.engine, clock=stage.clock):
        pass
    async with read(stage.engine) as connection:
        return (await find(connection, campaign_id)).state


async def draw(stage: Stage, campaign_id: UUID, calendar: Calendar) -> None:
    """Fix the list, wait for the public value, reveal the seed, draw, and tell everybody."""
    await stage.do(ask_for_list, campaign_id=campaign_id, round_=1, actor=CLERK)
    await work(stage, campaign_id)
    stage.clock.now_us = to_microseconds(calendar.value_known_at)
    await stage.do(
        reveal,
        campaign_id=campaign_id,
        round_=1,
        public_value=PUBLIC_VALUE,
        actor=CLERK,
        pepper=stage.pepper,
    )
    state = await work(stage, campaign_id)
    stage.note("抽選", public_value=PUBLIC_VALUE, state=str(state))
    stage.go_to(calendar.results_on)
    state = await work(stage, campaign_id)
    stage.note("結果の通知", state=str(state))


async def check_draw(stage: Stage, campaign_id: UUID) -> bool:
    """Have the published files recomputed by the script that anybody can run; whether it agrees."""
    files = await published(stage.engine, campaign_id=campaign_id, round_=1)
    done = await asyncio.to_thread(_verify, files)
    agrees = done.returncode == 0
    stage.note(
        "公開したファイルから、だれでも使える道具で抽選を計算し直す",
        result="一致" if agrees else done.stdout[-200:],
    )
    return agrees


def _verify(files: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    with tempfile.TemporaryDirectory(prefix="draw-") as directory:
        for name, content in files.items():
            Path(directory, name).write_text(content, encoding="utf-8")
        return subprocess.run(  # noqa: S603 - our own script, on files of ours
            [sys.executable, str(VERIFIER), directory],
            capture_output=True,
            text=True,
            timeout=VERIFIER_TIMEOUT_S,
            check=False,
        )
