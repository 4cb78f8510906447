"""``wallet programme``: what stands against a file, in words and as JSON."""

from pathlib import Path

from tests.cli.shell import Shell
from tests.servers import ROOT
from wallet.programmes.legal_settings import RULES

DEMO = ROOT / "demo" / "himeji-r7.toml"

UNLAWFUL = """
[[programme]]
code = "spring"
name = "春の商品券"
issuer_kind = "company"
spending = { first_day = 2026-10-01, last_day = 2027-09-30 }

[programme.frame]
price_yen = 5_000
face_yen = 6_250
sets_total = 1_000
sets_per_person = 10
"""


def test_a_clean_file_passes_and_tells_who_may_buy_how_much(shell: Shell) -> None:
    told = shell.json("programme", "check", str(DEMO), "--demo")
    assert [one["open"] for one in told["programmes"]] == [False, False, False]
    limits = told["programmes"][0]["purchase_limits"]
    assert [(one["tier"], one["sets"]) for one in limits] == [
        ("T0", 1),
        ("T1", 10),
        ("T2", 10),
        ("T3", 10),
    ]


def test_an_unlawful_file_fails_and_says_why_in_plain_words(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "spring.toml"
    path.write_text(UNLAWFUL, encoding="utf-8")
    done = shell.run("programme", "check", str(path))
    assert done.returncode == 1
    assert "春の商品券（spring）：承認に進めません" in done.stdout
    assert "L-2 違反" in done.stdout
    assert "L-5 要確認" in done.stdout


def test_a_file_that_cannot_be_a_programme_is_told_by_its_field(
    shell: Shell, tmp_path: Path
) -> None:
    path = tmp_path / "spring.toml"
    path.write_text(UNLAWFUL.replace("= 5_000", "= 0"), encoding="utf-8")
    done = shell.run("programme", "check", str(path))
    assert done.returncode == 1
    assert "frame.price_yen: a set costs at least 1 yen." in done.stdout
    path.write_text(UNLAWFUL.replace("2026-10-01", '"today"'), encoding="utf-8")
    refused = shell.run("programme", "check", str(path))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "spending.first_day: This is not a date like 2026-04-01." in refused.stderr


def test_every_rule_of_the_law_is_listed(shell: Shell) -> None:
    told = shell.json("programme", "rules")
    assert tuple(rule["id"] for rule in told["rules"]) == RULES
    assert "L-12.transfer_yen" in {one["name"] for one in told["settings"]}


def test_a_base_date_is_reported_from_the_ledger(shell: Shell) -> None:
    done = shell.run("programme", "base-date", "2025-09-30")
    assert done.returncode == 0, done.stderr
    assert "基準日 2025-09-30" in done.stdout
    assert "保全が必要な額 0円" in done.stdout
