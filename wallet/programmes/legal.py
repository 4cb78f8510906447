"""The legal check of a programme: what its terms do that the law does not want, in plain words.

Pure, and not legal advice. Each check looks at a draft and finds nothing, an error, a warning, or
a setting that somebody has to confirm first; errors and unconfirmed settings are open, and a draft
with an open finding is not approved. The rules and their sources are in ``legal.toml``.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from wallet.programmes.legal_settings import LegalSettings
from wallet.programmes.terms import (
    IssuerKind,
    Kind,
    ProgrammeDraft,
    Terms,
    add_months,
    expires_on_of,
)

Severity = Literal["error", "warning", "setting"]

SHORT_MONTHS: Final = 6
"""Art. 4(2): what is good for no longer than this is exempt, whoever issues it."""

ADULT_YEARS: Final = 18

PUBLIC_BEARERS: Final = frozenset({"city", "prefecture", "nation"})
"""Who is no business, so that what they add is no premium by the law on displays."""

_FREE_KINDS: Final = frozenset({Kind.POINTS, Kind.BENEFIT})
_DAYS_CHECKED_MAX: Final = 1_000

_CASH_WORDS: Final = re.compile("おつり|お釣り|釣銭|つり銭|換金|現金化|払い戻し|払戻|返金")
_DENIED: Final = re.compile("ません|できない|ない。|不可|なし|禁止|お断り")
_SENTENCE: Final = re.compile("[。\n]")

# Half-width kana, and characters that show differently from one machine to the next.
_UNREADABLE: Final = re.compile("[\uff61-\uff9f\u2460-\u24ff\u2160-\u217f\u3220-\u33ff]")


class Regime(StrEnum):
    """What the Payment Services Act makes of the money."""

    FREE = "free"
    """Nobody pays for it: no prepaid instrument (L-10)."""
    PUBLIC = "public"
    """A public body issues it: exempt (L-1)."""
    SHORT = "short"
    """Good for six months at most: exempt (L-2)."""
    REGULATED = "regulated"
    """A prepaid instrument, with all that this brings (L-3 to L-9)."""


class Finding(msgspec.Struct, frozen=True):
    """Something a rule has found. ``setting`` is the one to confirm; ``where`` names the field."""

    rule: str
    severity: Severity
    message: str
    where: str
    setting: str | None = None

    @property
    def open(self) -> bool:
        """Whether it keeps a draft from being approved."""
        return self.severity != "warning"


class _Case(msgspec.Struct, frozen=True):
    """A draft as all rules look at it."""

    draft: ProgrammeDraft
    settings: LegalSettings
    regime: Regime

    def confirm(self, name: str, where: str) -> Iterator[Finding]:
        """Find a setting that is confirmed neither for this programme nor for all."""
        setting = self.settings.settings[name]
        if setting.confirmed or name in self.draft.confirmed:
            return
        number = "" if setting.value is None else f"（{setting.value:,}）"
        message = f"確認してください：{setting.plain}{number}。"
        yield Finding(setting.rule, "setting", message, where, name)


def lint(draft: ProgrammeDraft, *, settings: LegalSettings) -> list[Finding]:
    """Return everything the rules find, in their order."""
    case = _Case(draft, settings, regime_of(draft))
    return [finding for check in CHECKS.values() for finding in check(case)]


def open_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Return those that keep a draft from being approved."""
    return [finding for finding in findings if finding.open]


def regime_of(terms: Terms) -> Regime:
    """Return what the Payment Services Act makes of the programme's money."""
    if not is_prepaid(terms):
        return Regime.FREE
    if terms.issuer_kind is IssuerKind.CITY:
        return Regime.PUBLIC
    if terms.issuer_kind is IssuerKind.DESIGNATED_CORP and "L-1.designated" in terms.confirmed:
        return Regime.PUBLIC
    return Regime.SHORT if is_short(terms) else Regime.REGULATED


def is_prepaid(terms: Terms) -> bool:
    """Whether somebody pays for the money: sets that are sold, or a coin that is charged."""
    return terms.frame is not None or terms.kind is Kind.COIN


def is_short(terms: Terms) -> bool:
    """Whether all money ends within six months of its issue, and nothing makes it last longer."""
    if terms.expiry.rule == "after_last_use" or terms.refunds.to_expired == "extend_days":
        return False
    return all(
        expires_on_of(terms, day) <= add_months(day, SHORT_MONTHS) for day in _days_of_issue(terms)
    )


def _days_of_issue(terms: Terms) -> Iterator[date]:
    """Yield the days on which money may be issued; the first ones are those that matter most."""
    spending = terms.spending
    days = (spending.last_day - spending.first_day).days + 1
    for number in range(min(days, _DAYS_CHECKED_MAX)):
        yield spending.first_day + timedelta(days=number)


def _issuer(case: _Case) -> Iterator[Finding]:
    if case.draft.issuer_kind is IssuerKind.DESIGNATED_CORP and is_prepaid(case.draft):
        yield from case.confirm("L-1.designated", "issuer_kind")


def _short(case: _Case) -> Iterator[Finding]:
    registered = "L-5.registered" in case.draft.confirmed
    if case.regime is Regime.REGULATED and not registered:
        yield Finding(
            "L-2",
            "error",
            "市以外が発行するお金の期限が、発行から6か月をこえるか、延びることがあります。"
            "6か月以内で終わるようにするか、登録または届出を済ませてください。",
            "expiry",
        )


def _base_dates(case: _Case) -> Iterator[Finding]:
    limit_yen = case.settings.number("L-3.unused_yen")
    frame = case.draft.frame
    if case.regime is Regime.REGULATED and frame is not None:
        sold_yen = frame.price_yen * frame.sets_total
        if sold_yen > limit_yen:
            message = (
                f"全部売れると{sold_yen:,}円で、基準日に{limit_yen:,}円をこえることがあります。"
            )
            yield Finding("L-3", "warning", message, "frame")


def _deposit(case: _Case) -> Iterator[Finding]:
    if case.regime is Regime.REGULATED:
        yield from case.confirm("L-4.deposit_arranged", "issuer_kind")


def _registered(case: _Case) -> Iterator[Finding]:
    if case.regime is Regime.REGULATED:
        yield from case.confirm("L-5.registered", "issuer_kind")


def _told(case: _Case) -> Iterator[Finding]:
    """The five items bind others than the city; the city tells them because people ask the same."""
    if not is_prepaid(case.draft):
        return
    names = {
        "name": "発行者の名前",
        "amount": "使える金額",
        "period": "使える期間",
        "desk": "相談窓口",
        "others": "そのほかの注意",
    }
    for field, label in names.items():
        if not getattr(case.draft.art13, field).strip():
            severity: Severity = "warning" if case.regime is Regime.PUBLIC else "error"
            yield Finding("L-6", severity, f"{label}を書いてください。", f"art13.{field}")


def _no_cash(case: _Case) -> Iterator[Finding]:
    for where, sentence in _promises(case.draft):
        message = f"払い戻しやおつりを約束しているように読めます：「{sentence}」"
        yield Finding("L-7", "warning", message, where)


def _refunds(case: _Case) -> Iterator[Finding]:
    if case.regime is Regime.REGULATED:
        yield from case.confirm("L-8.issued_percent", "issuer_kind")
        yield from case.confirm("L-8.unused_percent", "issuer_kind")


def _wind_down(case: _Case) -> Iterator[Finding]:
    if case.regime is Regime.REGULATED:
        yield from case.confirm("L-9.claim_days", "issuer_kind")


def _free_stays_free(case: _Case) -> Iterator[Finding]:
    if case.draft.kind in _FREE_KINDS and case.draft.frame is not None:
        message = "ポイントや給付は売れません。売るなら、種類を voucher か pass にしてください。"
        yield Finding("L-10", "error", message, "kind")


def _no_banking(case: _Case) -> Iterator[Finding]:
    gifts, limit_yen = case.draft.gifts, case.settings.number("L-11.transfer_yen")
    if not gifts.allowed:
        return
    if not is_prepaid(case.draft):
        yield Finding("L-11", "error", "無償のお金は、人に贈れません。", "gifts.allowed")
    if any(True for _ in _promises(case.draft)):
        message = "贈れるお金を現金に戻せると、為替取引になります。説明を直してください。"
        yield Finding("L-11", "error", message, "art13")
    if gifts.transfer_max_yen is not None and gifts.transfer_max_yen > limit_yen:
        message = f"1回に贈れるのは、どんな場合も{limit_yen:,}円までです。"
        yield Finding("L-11", "error", message, "gifts.transfer_max_yen")


def _small_gifts(case: _Case) -> Iterator[Finding]:
    """No limit of the programme's own is fine: the tiers' limits are below the law's."""
    gifts = case.draft.gifts
    if not gifts.allowed:
        return
    limits = {
        "transfer_max_yen": ("L-12.transfer_yen", gifts.transfer_max_yen, "1回"),
        "month_max_yen": ("L-12.month_yen", gifts.month_max_yen, "1か月"),
    }
    for field, (name, asked_yen, each) in limits.items():
        yield from case.confirm(name, f"gifts.{field}")
        limit_yen = case.settings.number(name)
        if asked_yen is not None and asked_yen > limit_yen and not case.settings.kyc_regime:
            message = (
                f"{each}に贈れるのは{limit_yen:,}円までです。こえると本人確認の義務がかかります。"
            )
            yield Finding("L-12", "error", message, f"gifts.{field}")


def _watched(case: _Case) -> Iterator[Finding]:
    if case.draft.gifts.allowed and case.regime in {Regime.SHORT, Regime.REGULATED}:
        yield from case.confirm("L-13.monitoring", "gifts.allowed")


def _premiums(case: _Case) -> Iterator[Finding]:
    draft = case.draft
    if draft.frame is not None:
        percent = sum(one.percent for one in _shares(draft) if one.bearer not in PUBLIC_BEARERS)
        added_yen = (draft.frame.face_yen - draft.frame.price_yen) * percent // 100
        if added_yen > premium_limit_yen(draft.frame.price_yen, settings=case.settings):
            yield from case.confirm("L-14.points_are_discounts", "funding_split")
            return
    for bonus in draft.bonuses:
        rates = [bonus.percent]
        if bonus.percent_by_size is not None:
            sizes = bonus.percent_by_size
            rates += [sizes.small, sizes.chain, sizes.large]
        if bonus.bearer not in PUBLIC_BEARERS and max(rates) > case.settings.number("L-14.percent"):
            yield from case.confirm("L-14.points_are_discounts", "bonuses")
            return


class _Bearer(msgspec.Struct, frozen=True):
    bearer: str
    percent: int


def _shares(terms: Terms) -> list[_Bearer]:
    """Return who bears what is added; without a split, whoever issues the money bears it all."""
    if terms.funding_split:
        return [_Bearer(share.bearer, share.percent) for share in terms.funding_split]
    bearer = "issuer" if terms.issuer_kind is IssuerKind.COMPANY else "city"
    return [_Bearer(bearer, 100)]


def premium_limit_yen(price_yen: int, *, settings: LegalSettings) -> int:
    """Return the highest premium for everybody who buys at a price (L-14)."""
    if price_yen < settings.number("L-14.small_price_yen"):
        return settings.number("L-14.small_premium_yen")
    return price_yen * settings.number("L-14.percent") // 100


def _no_taxes(case: _Case) -> Iterator[Finding]:
    if _pays_at(case.draft, "public-charges"):
        for finding in case.confirm("L-17.designated_scheme", "spending.excluded_categories"):
            message = "税金や公共料金には使えません。public-charges を除いてください。"
            yield msgspec.structs.replace(finding, severity="error", message=message)


def _no_such_goods(case: _Case) -> Iterator[Finding]:
    goods = {"tobacco": "たばこ", "vouchers": "切手や商品券", "finance": "有価証券など"}
    for category, label in goods.items():
        if _pays_at(case.draft, category):
            message = f"{label}には使えません。{category} を除いてください。"
            yield Finding("L-24", "error", message, "spending.excluded_categories")


def _no_such_shops(case: _Case) -> Iterator[Finding]:
    if _pays_at(case.draft, "adult"):
        message = "性風俗関連の店では使えません。adult を除いてください。"
        yield Finding("L-25", "error", message, "spending.excluded_categories")


def _pays_at(terms: Terms, category: str) -> bool:
    """Named shops are of categories too, so naming them makes no difference here."""
    spending = terms.spending
    allowed = not spending.categories or category in spending.categories
    return allowed and category not in spending.excluded_categories


def _leaks(case: _Case) -> Iterator[Finding]:
    if case.draft.issuer_kind is IssuerKind.CITY:
        yield from case.confirm("L-19.leak_persons", "issuer_kind")


def _grounds(case: _Case) -> Iterator[Finding]:
    who = case.draft.eligibility
    asks = (who.resident, who.min_age, who.max_age, who.list)
    if who.children_min or any(one is not None for one in asks):
        yield from case.confirm("L-20.grounds", "eligibility")


def _tax(case: _Case) -> Iterator[Finding]:
    if is_prepaid(case.draft):
        yield from case.confirm("L-23.sale_untaxed", "frame")


def _minors(case: _Case) -> Iterator[Finding]:
    youngest = case.draft.eligibility.min_age
    if is_prepaid(case.draft) and (youngest is None or youngest < ADULT_YEARS):
        yield from case.confirm("L-26.guardian_consent", "eligibility.min_age")


def _readable(case: _Case) -> Iterator[Finding]:
    for where, told in _texts(case.draft):
        found = sorted(set(_UNREADABLE.findall(told)))
        if found:
            message = f"読み上げられないことがある文字です：{' '.join(found)}"
            yield Finding("L-30", "warning", message, where)


def _kept(case: _Case) -> Iterator[Finding]:
    yield from case.confirm("L-31.ledger_years", "name")


def _texts(terms: Terms) -> Iterator[tuple[str, str]]:
    yield "name", terms.name
    for field in terms.art13.__struct_fields__:
        yield f"art13.{field}", getattr(terms.art13, field)


def _promises(terms: Terms) -> Iterator[tuple[str, str]]:
    """Yield sentences that speak of cash without saying that there is none."""
    for where, told in _texts(terms):
        for sentence in _SENTENCE.split(told):
            if _CASH_WORDS.search(sentence) and not _DENIED.search(f"{sentence}。"):
                yield where, sentence.strip()


CHECKS: Final[Mapping[str, Callable[[_Case], Iterator[Finding]]]] = MappingProxyType(
    {
        "L-1": _issuer,
        "L-2": _short,
        "L-3": _base_dates,
        "L-4": _deposit,
        "L-5": _registered,
        "L-6": _told,
        "L-7": _no_cash,
        "L-8": _refunds,
        "L-9": _wind_down,
        "L-10": _free_stays_free,
        "L-11": _no_banking,
        "L-12": _small_gifts,
        "L-13": _watched,
        "L-14": _premiums,
        "L-17": _no_taxes,
        "L-19": _leaks,
        "L-20": _grounds,
        "L-23": _tax,
        "L-24": _no_such_goods,
        "L-25": _no_such_shops,
        "L-26": _minors,
        "L-30": _readable,
        "L-31": _kept,
    }
)
"""The checks of terms, by their rules; every other rule is held by a part of the software."""
