"""What the public is told: a text for everything that can be stopped, and words everybody reads."""

import re
from datetime import timedelta

import pytest

from tests.factories.moments import NOW
from wallet.ops.public_texts import (
    PATH,
    PublicTextsError,
    announcement,
    public_texts,
    read_public_texts,
)
from wallet.ops.rules import ScopeKind

WHOLE = PATH.read_text(encoding="utf-8")
JAPANESE = re.compile(r"[぀-ヿ一-鿿]")
SAFE = {
    "ja": ("お金は守られ", "残高は守られ", "売上は守られ", "変わりません"),
    "en": ("safe", "stay"),
}
SENTENCE_CHARACTERS_MAX = 24


@pytest.mark.parametrize("kind", ScopeKind)
def test_every_text_says_that_the_money_is_safe(kind: ScopeKind) -> None:
    words = public_texts().kind[kind]
    assert any(promise in words.ja for promise in SAFE["ja"]) or "守られ、" in words.ja
    assert "だいじょうぶ" in words.easy or "かわりません" in words.easy
    assert any(promise in words.en for promise in SAFE["en"])


@pytest.mark.parametrize("kind", ScopeKind)
def test_easy_japanese_has_short_sentences_and_spaces_between_words(kind: ScopeKind) -> None:
    told = announcement(kind, since=NOW, next_notice_at=NOW).easy
    sentences = [one for one in re.sub(r"\([ぁ-ん]+\)", "", told).split("。") if one]
    assert all(JAPANESE.search(one) and " " in one for one in sentences), told
    assert all(len(one.replace(" ", "")) <= SENTENCE_CHARACTERS_MAX for one in sentences), told


def test_no_text_names_a_reason_or_a_person() -> None:
    told = " ".join(one for words in public_texts().kind.values() for one in (words.ja, words.easy))
    for word in ("不正", "疑い", "犯罪", "事故", "エラー"):
        assert word not in told


def test_moments_are_read_on_a_clock_in_japan() -> None:
    told = announcement(ScopeKind.PAY, since=NOW, next_notice_at=NOW + timedelta(minutes=40))
    assert "11月25日12時00分から止めています。次のお知らせは11月25日12時40分の予定です。" in told.ja
    assert "11月25日 午後0時00分から" in told.easy
    assert "Stopped since 12:00 on 25 November (Japan time). The next notice" in told.en
    morning = announcement(ScopeKind.PAY, since=NOW - timedelta(hours=2), next_notice_at=None)
    assert "午前10時00分" in morning.easy
    assert "次のお知らせ" not in morning.ja


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("[since", "cannot be read"),
        (WHOLE.replace("[kind.pay]", "[kind.pray]"), "cannot be read"),
        (WHOLE.replace("[kind.gift]", "[gift]"), "cannot be read"),
        (re.sub(r"(?s)\[kind\.tier\].*?\n\n", "", WHOLE), "a stop of tier"),
        (WHOLE.replace('easy = "チャージを', 'easy = "{who} チャージを'), "other blanks"),
        (WHOLE.replace("{moment}から", "いまから"), "other blanks"),
        (re.sub('en = "Nothing is stopped."', 'en = ""', WHOLE), "empty"),
    ],
)
def test_texts_that_leave_a_gap_are_not_taken(toml: str, problem: str) -> None:
    with pytest.raises(PublicTextsError, match=problem):
        read_public_texts(toml)
