"""Declines of payments that took more than the code or the card, or while somebody cools off."""

from typing import Final

from wallet.api.wording import MONEY_IS_SAFE, MONEY_IS_SAFE_EASY, NextAction, Problem

CONFIRMATION: Final = (
    Problem(
        code="confirmation_expired",
        status=402,
        title="The payer did not approve the payment in time",
        headline="確認の時間が切れました",
        body="3分のうちにスマートフォンで確認されなかったため、支払いは行われていません。"
        + MONEY_IS_SAFE,
        easy="確認(かくにん)の 時間(じかん)が 終(お)わりました。" + MONEY_IS_SAFE_EASY,
        clerk="お客様の確認が間に合いませんでした。新しい会計としてやり直してください。",
        next_action=NextAction.SHOW_NEW_CODE,
    ),
    Problem(
        code="confirmation_failed",
        status=402,
        title="The payer's answers to the confirmation were wrong too often",
        headline="本人の確認ができませんでした",
        body="まちがいが続いたため、この支払いを止めました。"
        + MONEY_IS_SAFE
        + "心当たりがなければ{phone}へお電話ください。",
        easy="あなたか どうか わかりませんでした。" + MONEY_IS_SAFE_EASY,
        clerk="別の支払い方法をご案内ください。理由は聞かないでください。",
        next_action=NextAction.CALL_SUPPORT,
    ),
    Problem(
        code="confirmation_unavailable",
        status=402,
        title="The amount takes an approval, and the payer has nothing to approve it with",
        headline="この金額には本人の確認が必要です",
        body="確認に使う暗証番号や指紋・顔などの設定がないため、お支払いできませんでした。"
        + MONEY_IS_SAFE
        + "設定はアプリか窓口でできます。",
        easy="この 金額(きんがく)は 確認(かくにん)が いります。アプリか 窓口(まどぐち)で "
        "設定(せってい)して ください。" + MONEY_IS_SAFE_EASY,
        clerk="この金額は本人確認が必要です。金額を分けるか、別の支払い方法をご案内ください。",
        next_action=NextAction.SPLIT_TENDER,
    ),
    Problem(
        code="counter_only",
        status=402,
        title="So large a payment is only made at the counter",
        headline="この金額は窓口でのお支払いになります",
        body="安全のため、お店では使えない金額です。" + MONEY_IS_SAFE + "くわしくは{phone}へ。",
        easy="お店(みせ)では この 金額(きんがく)を はらえません。" + MONEY_IS_SAFE_EASY,
        clerk="1回にお受けできない金額です。金額を分けるか、別の支払い方法をご案内ください。",
        next_action=NextAction.VISIT_COUNTER,
    ),
    Problem(
        code="limit_cooling_off",
        status=402,
        title="How the payer signs in was changed a short while ago, so that less can be paid",
        headline="いまは{limit_yen:,}円まで使えます",
        body="端末や本人確認の方法が変わったため、12時間のあいだ1回{limit_yen:,}円までです。"
        + MONEY_IS_SAFE
        + "心当たりがなければ{phone}へお電話ください。",
        easy="いまは 1回に {limit_yen:,}円 まで 使(つか)えます。" + MONEY_IS_SAFE_EASY,
        clerk="いまは1回{limit_yen:,}円までです。残りは別の方法で。",
        next_action=NextAction.SPLIT_TENDER,
    ),
)
"""Each belongs to a payment, which stays declined."""
