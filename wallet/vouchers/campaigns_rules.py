"""The life of a voucher campaign as data: its states, what each step needs, and what it says.

Pure. A step is taken by the clock when its day has come, or by the office; either way the same
needs are looked at. ``suspended`` is no state: a suspended campaign stays where it is and takes
no step.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from wallet.core.clock import JST, to_microseconds
from wallet.core.refusals import Refusal
from wallet.ops.rules import ScopeKind, matches
from wallet.programmes.basics import is_code

NAME_CHARACTERS_MAX: Final = 80
FRAMES_MAX: Final = 16
DAYS_MAX: Final = 366
COUNT_MAX: Final = 1_000_000
YEARS: Final = range(2000, 2200)
SECOND: Final = 2
"""The round that draws what the winners of the first one did not buy."""

NOTICE_FROM: Final = time(9, 0, tzinfo=JST)
"""Results are told in the morning, when the telephones are answered."""

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class State(StrEnum):
    """Where a campaign is on its way."""

    DRAFT = "draft"
    MERCHANT_RECRUITING = "merchant_recruiting"
    PUBLISHED = "published"
    APPLYING = "applying"
    CLOSED = "closed"
    CHECKING = "checking"
    DRAWN = "drawn"
    NOTIFIED = "notified"
    PURCHASING = "purchasing"
    LAPSED_UNITS = "lapsed_units"
    SECOND_ROUND = "second_round"
    IN_USE = "in_use"
    USE_ENDED = "use_ended"
    CLEARING = "clearing"
    FINAL_CLEARING = "final_clearing"
    UNUSED_WRITTEN_OFF = "unused_written_off"
    REPORTED = "reported"
    ARCHIVED = "archived"


class Mode(StrEnum):
    """How units find their buyers."""

    LOTTERY = "lottery"
    FIRST_COME = "first_come"
    ALL_WIN = "all_win"


class CampaignTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A campaign as the office writes it down.

    ``frames`` are codes of programmes with a frame; what a unit costs, how many there are and who
    may have them stands in those. With applications (``lottery``, ``all_win``) they are taken from
    ``apply_from`` until before ``apply_until``, results are told from ``results_on`` on, and
    winners have ``purchase_days`` days to buy. Without (``first_come``) the sale itself runs from
    ``purchase_from`` until before ``purchase_until``. ``units_per_person`` counts all frames
    together; None leaves it to each frame. ``shops_min`` shops must be on the list before the
    campaign is published. Days are Japanese and included.
    """

    name: str
    frames: tuple[str, ...]
    mode: Mode = Mode.LOTTERY
    apply_from: Moment | None = None
    apply_until: Moment | None = None
    results_on: date | None = None
    purchase_days: int = 7
    purchase_from: Moment | None = None
    purchase_until: Moment | None = None
    use_from: date
    use_until: date
    second_round: bool = False
    units_per_person: int | None = None
    shops_min: int = 1


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a step looks at.

    ``approved``: two people have agreed to the terms as they stand. ``shops`` are on the list.
    ``committed``: a seed is. ``drawn``: the first round is. ``told`` are the rounds whose results
    have all been told. ``has_offers``: something may still be bought, or paid for.
    ``stops`` are engaged.
    """

    approved: bool = False
    shops: int = 0
    committed: bool = False
    drawn: bool = False
    told: Collection[int] = ()
    has_offers: bool = False
    stops: Collection[str] = ()


class Need(StrEnum):
    """What must be so before a step is taken; the value is the code of the refusal."""

    APPROVED = "campaign_not_approved"
    SHOPS = "campaign_shops_missing"
    COMMITTED = "campaign_seed_missing"
    DRAWN = "campaign_not_drawn"
    TOLD = "campaign_not_told"
    TOLD_AGAIN = "campaign_not_drawn_again"
    NO_OFFERS = "campaign_offers_open"


class Due(StrEnum):
    """Which planned moment a step waits for."""

    APPLICATIONS_OPEN = "applications_open"
    APPLICATIONS_CLOSE = "applications_close"
    RESULTS = "results"
    SALE_OPENS = "sale_opens"
    SALE_CLOSES = "sale_closes"
    USE_ENDS = "use_ends"


APPLYING_MODES: Final = frozenset({Mode.LOTTERY, Mode.ALL_WIN})
FIRST_COME_ONLY: Final = frozenset({Mode.FIRST_COME})
ALL_MODES: Final = frozenset(Mode)


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One way from a state to the next.

    ``text`` is what anybody may read of it. It is never taken before ``due``. Steps ``by_clock``
    are taken when they are due and their needs are met; the others wait for the office.
    ``sells``: no stop of sales may hold.
    """

    source: State
    target: State
    text: str
    by_clock: bool = False
    due: Due | None = None
    modes: frozenset[Mode] = ALL_MODES
    needs: tuple[Need, ...] = ()
    sells: bool = False


STEPS: Final = (
    Step(
        source=State.DRAFT,
        target=State.MERCHANT_RECRUITING,
        text="商品券が使えるお店を募集しています。",
        needs=(Need.APPROVED,),
    ),
    Step(
        source=State.MERCHANT_RECRUITING,
        target=State.DRAFT,
        text="内容を見直しています。",
    ),
    Step(
        source=State.MERCHANT_RECRUITING,
        target=State.PUBLISHED,
        text="募集の内容と、使えるお店を公開しました。",
        needs=(Need.APPROVED, Need.SHOPS),
    ),
    Step(
        source=State.PUBLISHED,
        target=State.APPLYING,
        text="申込の受付を始めました。先着順ではありません。",
        by_clock=True,
        due=Due.APPLICATIONS_OPEN,
        modes=APPLYING_MODES,
        needs=(Need.COMMITTED,),
    ),
    Step(
        source=State.PUBLISHED,
        target=State.PURCHASING,
        text="先着順の販売を始めました。",
        by_clock=True,
        due=Due.SALE_OPENS,
        modes=FIRST_COME_ONLY,
        sells=True,
    ),
    Step(
        source=State.APPLYING,
        target=State.CLOSED,
        text="申込の受付を終わりました。",
        by_clock=True,
        due=Due.APPLICATIONS_CLOSE,
        modes=APPLYING_MODES,
    ),
    Step(
        source=State.CLOSED,
        target=State.CHECKING,
        text="申込の内容を確認しています。",
        by_clock=True,
        modes=APPLYING_MODES,
    ),
    Step(
        source=State.CHECKING,
        target=State.DRAWN,
        text="抽選をしました。結果はもうすぐお知らせします。",
        by_clock=True,
        modes=APPLYING_MODES,
        needs=(Need.DRAWN,),
    ),
    Step(
        source=State.DRAWN,
        target=State.NOTIFIED,
        text="結果をお知らせしました。抽選の計算はどなたでも確かめられます。",
        by_clock=True,
        due=Due.RESULTS,
        modes=APPLYING_MODES,
        needs=(Need.TOLD,),
    ),
    Step(
        source=State.NOTIFIED,
        target=State.PURCHASING,
        text="当選した方の購入を受け付けています。",
        by_clock=True,
        modes=APPLYING_MODES,
        sells=True,
    ),
    Step(
        source=State.PURCHASING,
        target=State.LAPSED_UNITS,
        text="購入の期限が終わり、残りを数えています。",
        by_clock=True,
        modes=APPLYING_MODES,
        needs=(Need.NO_OFFERS,),
    ),
    Step(
        source=State.PURCHASING,
        target=State.IN_USE,
        text="販売を終わりました。商品券はお店で使えます。",
        by_clock=True,
        due=Due.SALE_CLOSES,
        modes=FIRST_COME_ONLY,
    ),
    Step(
        source=State.LAPSED_UNITS,
        target=State.SECOND_ROUND,
        text="残りの分をもう一度抽選し、当選した方の購入を受け付けています。",
        by_clock=True,
        modes=APPLYING_MODES,
        needs=(Need.TOLD_AGAIN,),
        sells=True,
    ),
    Step(
        source=State.LAPSED_UNITS,
        target=State.IN_USE,
        text="販売を終わりました。商品券はお店で使えます。",
        modes=APPLYING_MODES,
        needs=(Need.NO_OFFERS,),
    ),
    Step(
        source=State.SECOND_ROUND,
        target=State.IN_USE,
        text="2回目の販売を終わりました。商品券はお店で使えます。",
        by_clock=True,
        modes=APPLYING_MODES,
        needs=(Need.NO_OFFERS,),
    ),
    Step(
        source=State.IN_USE,
        target=State.USE_ENDED,
        text="商品券を使える期間が終わりました。",
        by_clock=True,
        due=Due.USE_ENDS,
    ),
    Step(
        source=State.USE_ENDED,
        target=State.CLEARING,
        text="お店への支払いをしています。",
    ),
    Step(
        source=State.CLEARING,
        target=State.FINAL_CLEARING,
        text="お店への最後の支払いをしています。",
    ),
    Step(
        source=State.FINAL_CLEARING,
        target=State.UNUSED_WRITTEN_OFF,
        text="使われなかった分の処理が終わりました。",
    ),
    Step(
        source=State.UNUSED_WRITTEN_OFF,
        target=State.REPORTED,
        text="結果の報告を公開しました。",
    ),
    Step(
        source=State.REPORTED,
        target=State.ARCHIVED,
        text="この商品券の事業は終わりました。",
    ),
)  # fmt: skip

SELLING: Final = frozenset({State.PURCHASING, State.SECOND_ROUND})
"""The states in which units are sold."""

RESULTS_OPEN: Final = frozenset(list(State)[list(State).index(State.NOTIFIED) :])
"""The states in which the first round's result is everybody's."""


def is_public(state: State) -> bool:
    """Whether anybody may know of a campaign in this state."""
    return state not in {State.DRAFT, State.MERCHANT_RECRUITING}


def steps_from(state: State, *, mode: Mode) -> list[Step]:
    """Return the steps that lead on from a state."""
    return [step for step in STEPS if step.source is state and mode in step.modes]


def due_at(step: Step, terms: CampaignTerms) -> datetime | None:
    """Return the moment a step is planned for; None when nothing but its needs holds it up."""
    return None if step.due is None else _DUE[step.due](terms)


def results_at(terms: CampaignTerms) -> datetime | None:
    """Return when the results are told; None for a campaign that draws none."""
    day = terms.results_on
    return None if day is None else datetime.combine(day, NOTICE_FROM)


def age_year(terms: CampaignTerms) -> int:
    """Return the year whose birthdays count: the one in which applications close."""
    closes = terms.apply_until
    return terms.use_from.year if closes is None else closes.astimezone(JST).year


def end_of(day: date) -> datetime:
    """Return the first moment after a day in Japan."""
    return datetime.combine(day + timedelta(days=1), time(tzinfo=JST))


def offers_until(terms: CampaignTerms, *, told_on: date) -> datetime:
    """Return before when those who were told on a day may buy; late notices take nothing away."""
    return end_of(told_on + timedelta(days=terms.purchase_days))


_DUE: Final[Mapping[Due, Callable[[CampaignTerms], datetime | None]]] = {
    Due.APPLICATIONS_OPEN: lambda terms: terms.apply_from,
    Due.APPLICATIONS_CLOSE: lambda terms: terms.apply_until,
    Due.RESULTS: results_at,
    Due.SALE_OPENS: lambda terms: terms.purchase_from,
    Due.SALE_CLOSES: lambda terms: terms.purchase_until,
    Due.USE_ENDS: lambda terms: end_of(terms.use_until),
}

_MET: Final[Mapping[Need, Callable[[Facts, CampaignTerms], bool]]] = {
    Need.APPROVED: lambda facts, _: facts.approved,
    Need.SHOPS: lambda facts, terms: facts.shops >= terms.shops_min,
    Need.COMMITTED: lambda facts, _: facts.committed,
    Need.DRAWN: lambda facts, _: facts.drawn,
    Need.TOLD: lambda facts, _: 1 in facts.told,
    Need.TOLD_AGAIN: lambda facts, _: SECOND in facts.told,
    Need.NO_OFFERS: lambda facts, _: not facts.has_offers,
}


def check_step(step: Step, terms: CampaignTerms, facts: Facts, *, now_us: int) -> Refusal | None:
    """Return why a step cannot be taken now, None when it can."""
    kinds = (ScopeKind.SALE,) if step.sells else ()
    if any(matches(facts.stops, *kinds, programme=frame) for frame in terms.frames):
        return Refusal("service_stopped")
    planned = due_at(step, terms)
    if planned is not None and to_microseconds(planned) > now_us:
        return Refusal("campaign_too_early", {"planned_for": planned.isoformat()})
    missing = next((need for need in step.needs if not _MET[need](facts, terms)), None)
    return None if missing is None else Refusal(str(missing))


def problems_of(terms: CampaignTerms) -> list[str]:
    """Return what is wrong with a campaign's terms, one sentence for each; none is good."""
    problems = list(_plain_problems(terms))
    if problems:  # Days that are no days of ours cannot be counted with.
        return problems
    if terms.mode is Mode.FIRST_COME:
        return list(_first_come_problems(terms))
    return list(_application_problems(terms))


def _plain_problems(terms: CampaignTerms) -> Iterator[str]:
    name, frames, limit = terms.name.strip(), terms.frames, terms.units_per_person
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX or not name.isprintable():
        yield f"name: use 1 to {NAME_CHARACTERS_MAX} characters."
    if not 1 <= len(frames) <= FRAMES_MAX or len(set(frames)) < len(frames):
        yield f"frames: name 1 to {FRAMES_MAX} programmes, each once."
    if any(not is_code(frame) for frame in frames):
        yield "frames: a code has 1 to 64 small letters, digits and hyphens."
    days = (terms.apply_from, terms.apply_until, terms.results_on, terms.purchase_from,
            terms.purchase_until, terms.use_from, terms.use_until)  # fmt: skip
    if any(day is not None and day.year not in YEARS for day in days):
        yield f"days: use the years {YEARS.start} to {YEARS.stop - 1}."
    if terms.use_until < terms.use_from:
        yield "use_until: is before use_from."
    if not 1 <= terms.purchase_days <= DAYS_MAX:
        yield f"purchase_days: use 1 to {DAYS_MAX}."
    if limit is not None and not 1 <= limit <= COUNT_MAX:
        yield f"units_per_person: use 1 to {COUNT_MAX:,}, or leave it out."
    if not 0 <= terms.shops_min <= COUNT_MAX:
        yield f"shops_min: use 0 to {COUNT_MAX:,}."


def _application_problems(terms: CampaignTerms) -> Iterator[str]:
    if terms.purchase_from is not None or terms.purchase_until is not None:
        yield "purchase_from, purchase_until: only of a first-come sale; winners get days."
    start, end, told = terms.apply_from, terms.apply_until, results_at(terms)
    if start is None or end is None or told is None:
        yield "apply_from, apply_until, results_on: are needed where people apply."
        return
    if end <= start:
        yield "apply_until: is not after apply_from."
    if told <= end:
        yield "results_on: is not after applications close."
    if offers_until(terms, told_on=told.date()) > end_of(terms.use_until):
        yield "purchase_days: winners could buy after use_until, when nothing can be spent."


def _first_come_problems(terms: CampaignTerms) -> Iterator[str]:
    if any(one is not None for one in (terms.apply_from, terms.apply_until, terms.results_on)):
        yield "apply_from, apply_until, results_on: nobody applies for a first-come sale."
    if terms.second_round:
        yield "second_round: a first-come sale has none."
    start, end = terms.purchase_from, terms.purchase_until
    if start is None or end is None:
        yield "purchase_from, purchase_until: are needed for a first-come sale."
        return
    if end <= start:
        yield "purchase_until: is not after purchase_from."
    if end > end_of(terms.use_until):
        yield "purchase_until: is after use_until, when nothing can be spent."
