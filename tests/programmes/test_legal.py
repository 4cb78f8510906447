"""What the law has against a programme: each rule, met and kept."""

from collections.abc import Sequence
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.drafts import ART13, CONFIRMED, EXCLUDED, clean_points, clean_voucher
from tests.factories.programmes import frame, spending
from wallet.demo.terms import read_demo_drafts
from wallet.merchants.rules import CATEGORIES
from wallet.programmes.bonus import Bonus, BySize
from wallet.programmes.check import check_draft
from wallet.programmes.legal import (
    CHECKS,
    Finding,
    Regime,
    is_short,
    lint,
    open_findings,
    premium_limit_yen,
    regime_of,
)
from wallet.programmes.legal_settings import RULES, legal_settings
from wallet.programmes.terms import (
    Article13,
    Eligibility,
    Exchange,
    Expiry,
    Gifts,
    ProgrammeDraft,
    Refunds,
    Share,
)

LAW = legal_settings()
DEMO = Path(__file__).parents[2] / "demo"
ALL = frozenset(LAW.settings)
HALF_YEAR = {"first_day": date(2026, 10, 1), "last_day": date(2027, 4, 1)}


def found(draft: ProgrammeDraft) -> dict[str, Finding]:
    """Return what is found, by its rule; of several the last."""
    return {finding.rule: finding for finding in lint(draft, settings=LAW)}


def company(**changes: Any) -> ProgrammeDraft:  # noqa: ANN401 - fields of many types
    """Return a company's voucher that is good for longer than six months, with ``changes``."""
    fields = {"issuer_kind": "company", "funding_split": (Share(bearer="city", percent=100),)}
    return clean_voucher(**{**fields, **changes})


def short_company(**changes: Any) -> ProgrammeDraft:  # noqa: ANN401 - as above
    """Return one that is good for six months."""
    days = spending(excluded_categories=EXCLUDED, **HALF_YEAR)
    return company(spending=days, **changes)


def spent(*excluded: str, **changes: Any) -> ProgrammeDraft:  # noqa: ANN401 - as above
    """Return points that may be spent everywhere but in these categories."""
    return clean_points(spending=spending(excluded_categories=frozenset(excluded), **changes))


def coin(**changes: Any) -> ProgrammeDraft:  # noqa: ANN401 - as above
    """Return a coin that may be given, with all limits confirmed."""
    gifts = {"gifts": Gifts(allowed=True), "confirmed": ALL, "art13": ART13}
    return clean_points(kind="coin", **{**gifts, **changes})


def test_a_clean_draft_has_nothing_against_it() -> None:
    for draft in (clean_voucher(), clean_points(), coin(), short_company(confirmed=ALL)):
        assert lint(draft, settings=LAW) == []


@pytest.mark.parametrize("path", sorted(DEMO.glob("*.toml")), ids=lambda path: path.stem)
def test_every_demonstration_lints_clean(path: Path) -> None:
    drafts = read_demo_drafts(path.read_text(encoding="utf-8"), today=date(2026, 11, 25))
    for draft in drafts:
        check = check_draft(draft, settings=LAW, known_categories=CATEGORIES)
        assert (check.problems, check.findings) == ([], [])


def test_the_demonstrations_show_every_kind_of_money() -> None:
    drafts = [
        draft
        for path in DEMO.glob("*.toml")
        for draft in read_demo_drafts(path.read_text(encoding="utf-8"), today=date(2026, 11, 25))
    ]
    assert {draft.kind for draft in drafts} == {"voucher", "coin", "points", "benefit", "pass"}
    codes = {draft.code for draft in drafts}
    assert len(codes) == len(drafts)
    assert {b.target for d in drafts for b in d.bonuses} - {None} <= codes


CASES: Final[Sequence[tuple[ProgrammeDraft, str, str]]] = (
    (clean_voucher(issuer_kind="designated_corp"), "L-1", "setting"),
    (company(), "L-2", "error"),
    (short_company(refunds=Refunds(to_expired="extend_days", extend_days=9)), "L-2", "error"),
    (company(frame=frame(sets_total=3_000)), "L-3", "warning"),
    (company(), "L-4", "setting"),
    (company(), "L-5", "setting"),
    (clean_voucher(art13=Article13()), "L-6", "warning"),
    (short_company(art13=Article13()), "L-6", "error"),
    (clean_voucher(art13=Article13(others="残高は払い戻します。")), "L-7", "warning"),
    (company(), "L-8", "setting"),
    (company(), "L-9", "setting"),
    (clean_voucher(kind="points"), "L-10", "error"),
    (clean_points(gifts=Gifts(allowed=True), confirmed=ALL), "L-11", "error"),
    (coin(gifts=Gifts(allowed=True, transfer_max_yen=1_000_001)), "L-11", "error"),
    (coin(gifts=Gifts(allowed=True, transfer_max_yen=100_001)), "L-12", "error"),
    (coin(gifts=Gifts(allowed=True, month_max_yen=300_001)), "L-12", "error"),
    (coin(confirmed=CONFIRMED), "L-12", "setting"),
    (short_company(gifts=Gifts(allowed=True)), "L-13", "setting"),
    (
        clean_voucher(funding_split=(Share(bearer="商店会", percent=100),)),
        "L-14",
        "setting",
    ),
    (spent(*(EXCLUDED - {"public-charges"})), "L-17", "error"),
    (clean_points(confirmed=frozenset()), "L-19", "setting"),
    (clean_points(eligibility=Eligibility(resident=True)), "L-20", "setting"),
    (clean_voucher(confirmed=frozenset()), "L-23", "setting"),
    (spent(*(EXCLUDED - {"tobacco"})), "L-24", "error"),
    (spent(*(EXCLUDED - {"vouchers"})), "L-24", "error"),
    (spent(*(EXCLUDED - {"adult"})), "L-25", "error"),
    (clean_voucher(confirmed=frozenset()), "L-26", "setting"),
    (clean_points(name="ﾎﾟｲﾝﾄ"), "L-30", "warning"),
    (clean_points(confirmed=frozenset()), "L-31", "setting"),
)


@pytest.mark.parametrize(("draft", "rule", "severity"), CASES)
def test_each_rule_finds_what_it_is_about(draft: ProgrammeDraft, rule: str, severity: str) -> None:
    finding = found(draft)[rule]
    assert finding.severity == severity
    assert finding.message.endswith(("。", "」")) or rule == "L-30"
    assert finding.where
    assert (finding.setting is not None) == (severity == "setting" or rule == "L-17")


@pytest.mark.parametrize("rule", sorted(CHECKS))
def test_every_check_is_met_by_some_test(rule: str) -> None:
    assert rule in {case[1] for case in CASES}


def test_errors_and_unconfirmed_settings_are_open_and_warnings_are_not() -> None:
    findings = lint(company(name="㈱ﾎﾟｲﾝﾄ"), settings=LAW)
    severities = {finding.severity for finding in findings}
    assert severities == {"error", "setting", "warning"}
    assert {finding.severity for finding in open_findings(findings)} == {"error", "setting"}


def test_what_is_confirmed_for_all_need_not_be_for_each() -> None:
    settings = {
        name: msgspec.structs.replace(setting, confirmed=True)
        for name, setting in LAW.settings.items()
    }
    law = msgspec.structs.replace(LAW, settings=settings)
    assert lint(clean_voucher(confirmed=frozenset()), settings=law) == []


def test_who_identifies_givers_may_let_them_give_more() -> None:
    law = msgspec.structs.replace(LAW, kyc_regime=True)
    generous = coin(gifts=Gifts(allowed=True, transfer_max_yen=200_000, month_max_yen=900_000))
    assert "L-12" in found(generous)
    assert lint(generous, settings=law) == []


def test_the_city_is_exempt_and_a_company_only_for_six_months() -> None:
    assert regime_of(clean_points()) is Regime.FREE
    assert regime_of(clean_voucher()) is Regime.PUBLIC
    assert regime_of(short_company()) is Regime.SHORT
    assert regime_of(company()) is Regime.REGULATED
    designated = clean_voucher(issuer_kind="designated_corp")
    assert regime_of(designated) is Regime.REGULATED
    confirmed = msgspec.structs.replace(designated, confirmed=frozenset({"L-1.designated"}))
    assert regime_of(confirmed) is Regime.PUBLIC


def test_a_company_that_is_registered_may_issue_for_longer() -> None:
    registered = company(confirmed=CONFIRMED | {"L-5.registered"})
    assert "L-2" not in found(registered)
    assert found(registered).keys() == {"L-4", "L-8", "L-9"}


@pytest.mark.parametrize(
    ("expiry", "short"),
    [
        (Expiry(rule="months_after_issue", months=5), True),
        (Expiry(rule="months_after_issue", months=6), False),
        (Expiry(rule="months_after_issue", months=6, month_end=False), True),
        (Expiry(rule="months_after_issue", months=7, month_end=False), False),
        (Expiry(rule="after_last_use", months=1), False),
        (Expiry(rule="fiscal_year"), False),
        (Expiry(), False),
    ],
)
def test_six_months_are_counted_from_the_worst_day_of_issue(expiry: Expiry, *, short: bool) -> None:
    assert is_short(company(expiry=expiry)) is short


def test_six_months_to_the_day_are_short_and_one_more_is_not() -> None:
    one_more = {**HALF_YEAR, "last_day": date(2027, 4, 2)}
    assert is_short(company(spending=spending(**HALF_YEAR)))
    assert not is_short(company(spending=spending(**one_more)))


@pytest.mark.parametrize(
    ("others", "promises"),
    [
        ("おつりは出ません。", False),
        ("払い戻しはできません。", False),
        ("換金は禁止です。", False),
        ("残高は、いつでも払い戻します。", True),
        ("おつりが出ます。払い戻しはできません。", True),
    ],
)
def test_only_a_promise_of_cash_is_found(others: str, *, promises: bool) -> None:
    told = msgspec.structs.replace(ART13, others=others)
    assert ("L-7" in found(clean_voucher(art13=told))) is promises
    assert ("L-11" in found(coin(art13=told))) is promises


@pytest.mark.parametrize(
    ("price_yen", "limit_yen"), [(999, 200), (1_000, 200), (1_500, 300), (5_000, 1_000)]
)
def test_a_premium_is_limited_by_the_price(price_yen: int, limit_yen: int) -> None:
    assert premium_limit_yen(price_yen, settings=LAW) == limit_yen


@pytest.mark.parametrize(
    ("bearer", "percent", "limited"),
    [("city", 100, False), ("prefecture", 100, False), ("商店会", 80, False), ("商店会", 81, True)],
)
def test_only_what_a_business_bears_is_a_premium(
    bearer: str, percent: int, *, limited: bool
) -> None:
    rest = (Share(bearer="nation", percent=100 - percent),) if percent < 100 else ()
    split = (Share(bearer=bearer, percent=percent), *rest)
    assert ("L-14" in found(clean_voucher(funding_split=split))) is limited


def test_a_bonus_that_a_business_bears_is_looked_at_too() -> None:
    large = Bonus(code="b", percent_by_size=BySize(small=21), bearer="商店会")
    small = Bonus(code="b", percent=20, bearer="商店会")
    city = Bonus(code="b", percent=50)
    for bonus, limited in ((large, True), (small, False), (city, False)):
        assert ("L-14" in found(clean_points(bonuses=(bonus,)))) is limited


def test_a_narrow_list_of_categories_needs_no_exclusions() -> None:
    assert lint(spent(categories=frozenset({"books"})), settings=LAW) == []
    assert found(spent(categories=frozenset({"books", "tobacco"}))).keys() == {"L-24"}


def test_a_setting_that_is_none_is_a_problem_and_no_confirmation() -> None:
    draft = clean_voucher(confirmed=CONFIRMED | {"L-19.leak_person"})
    assert check_draft(draft, settings=LAW).problems == [
        "confirmed: there is no setting 'L-19.leak_person'. Did you mean 'L-19.leak_persons'?"
    ]


def test_every_rule_is_checked_in_the_terms_or_held_by_a_part_that_is_there() -> None:
    assert tuple(LAW.rules) == RULES
    for rule in LAW.rules.values():
        if rule.held_by == "terms":
            assert rule.id in CHECKS
        else:
            assert import_module(rule.held_by).__doc__
    assert set(CHECKS) <= set(RULES)


def test_the_checks_come_in_the_order_of_the_rules() -> None:
    assert list(CHECKS) == sorted(CHECKS, key=RULES.index)


_CATEGORIES = st.frozensets(st.sampled_from(sorted(CATEGORIES)), max_size=8)


@given(
    issuer=st.sampled_from(["city", "designated_corp", "company"]),
    kind=st.sampled_from(["voucher", "coin", "points", "benefit", "pass"]),
    allowed=_CATEGORIES,
    excluded=_CATEGORIES,
    confirmed=st.frozensets(st.sampled_from(sorted(ALL))),
    gifts=st.booleans(),
)
def test_confirming_more_never_opens_anything(
    *,
    issuer: str,
    kind: str,
    allowed: frozenset[str],
    excluded: frozenset[str],
    confirmed: frozenset[str],
    gifts: bool,
) -> None:
    days = spending(categories=allowed - excluded, excluded_categories=excluded)
    fields: dict[str, Any] = {
        "issuer_kind": issuer,
        "kind": kind,
        "spending": days,
        "gifts": Gifts(allowed=gifts),
    }
    some = clean_voucher(**fields, confirmed=confirmed)
    every = clean_voucher(**fields, confirmed=ALL, exchanges=(Exchange(to="points"),))
    before = {(one.rule, one.message) for one in open_findings(lint(some, settings=LAW))}
    after = {(one.rule, one.message) for one in open_findings(lint(every, settings=LAW))}
    assert after <= before
    assert not any(one.severity == "setting" for one in lint(every, settings=LAW))
