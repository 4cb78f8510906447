"""Every "no" the doors can say: its status, what to do next, and the words for people.

A message says what happened, whether the money is safe, and what to do now; never a bare code,
never blame. Braces are facts of the refusal (amounts in yen) or the help desk's ``phone``. The
easy wording follows やさしい日本語: one idea a sentence, spaces between words, hard words read out.
"""

from types import MappingProxyType
from typing import Final

from wallet.api.catalogue_benefits import BENEFITS
from wallet.api.catalogue_campaigns import CAMPAIGNS
from wallet.api.catalogue_cards import CARDS
from wallet.api.catalogue_confirmation import CONFIRMATION
from wallet.api.catalogue_coupons import COUPONS
from wallet.api.catalogue_people import PEOPLE
from wallet.api.catalogue_points import POINTS
from wallet.api.catalogue_programmes import PROGRAMMES
from wallet.api.catalogue_purses import PURSES
from wallet.api.catalogue_receipts import RECEIPTS
from wallet.api.catalogue_staff import STAFF
from wallet.api.wording import MONEY_IS_SAFE, MONEY_IS_SAFE_EASY, NextAction, Problem

__all__ = ["CATALOGUE", "DECLINES", "NextAction", "Problem"]

_DECLINED: Final = (
    Problem(
        code="balance_insufficient",
        status=402,
        title="The balance is not enough",
        headline="残高が{missing_yen:,}円足りません",
        body="{available_yen:,}円まで使えます。残りは現金などでお支払いください。" + MONEY_IS_SAFE,
        easy="お金が {missing_yen:,}円 たりません。{available_yen:,}円 まで 使(つか)えます。"
        "のこりは 現金(げんきん)で はらって ください。",
        clerk="残高不足。{available_yen:,}円分だけ使うか、お客様に確認してください。",
        next_action=NextAction.SPLIT_TENDER,
    ),
    Problem(
        code="limit_payment",
        status=402,
        title="The amount is above the limit of one payment",
        headline="1回に使える金額をこえています",
        body="1回のお支払いは{limit_yen:,}円までです。" + MONEY_IS_SAFE,
        easy="1回に {limit_yen:,}円 まで 使(つか)えます。" + MONEY_IS_SAFE_EASY,
        clerk="1回の上限は{limit_yen:,}円です。残りは別の方法で。",
        next_action=NextAction.SPLIT_TENDER,
    ),
    Problem(
        code="limit_daily",
        status=402,
        title="The amount is above what is left of today's limit",
        headline="今日使える金額をこえています",
        body="1日の上限は{limit_yen:,}円で、今日はあと{left_yen:,}円使えます。"
        "明日また使えます。" + MONEY_IS_SAFE,
        easy="今日(きょう)は あと {left_yen:,}円 使(つか)えます。明日(あした) また 使えます。",
        clerk="本日の上限。あと{left_yen:,}円まで。",
        next_action=NextAction.SPLIT_TENDER,
    ),
    Problem(
        code="merchant_not_eligible",
        status=402,
        title="This money may not be spent in this shop",
        headline="このお店では、この商品券は使えません",
        body="このお店で使えるのは{available_yen:,}円です。" + MONEY_IS_SAFE,
        easy="この お店(みせ)では この 券(けん)は 使(つか)えません。" + MONEY_IS_SAFE_EASY,
        clerk="対象外の券種です。{available_yen:,}円まで使えます。",
        next_action=NextAction.SPLIT_TENDER,
    ),
    Problem(
        code="outside_period",
        status=402,
        title="This money may not be spent on this day",
        headline="今は、この商品券を使える期間ではありません",
        body="今日使えるのは{available_yen:,}円です。使える期間はアプリで確認できます。"
        + MONEY_IS_SAFE,
        easy="今(いま)は この 券(けん)を 使(つか)えません。使える 日(ひ)を 見(み)て ください。",
        clerk="期間外です。{available_yen:,}円まで使えます。",
        next_action=NextAction.SPLIT_TENDER,
    ),
    Problem(
        code="code_unknown",
        status=402,
        title="Nobody was issued this code",
        headline="コードを読み取れませんでした",
        body="アプリで新しいコードを表示して、もう一度お試しください。" + MONEY_IS_SAFE,
        easy="コードが わかりません。新(あたら)しい コードを 見(み)せて ください。"
        + MONEY_IS_SAFE_EASY,
        clerk="新しいコードを表示してもらい、もう一度読み取ってください。",
        next_action=NextAction.SHOW_NEW_CODE,
    ),
    Problem(
        code="code_used",
        status=409,
        title="This code has been used before",
        headline="このコードは使用済みです",
        body="コードは1回だけ使えます。新しいコードを表示してください。"
        "この読み取りでは、" + MONEY_IS_SAFE,
        easy="この コードは もう 使(つか)いました。新(あたら)しい コードを 見(み)せて ください。",
        clerk="使用済みのコードです。先の会計が済んでいないか確認してください。",
        next_action=NextAction.SHOW_NEW_CODE,
    ),
    Problem(
        code="code_expired",
        status=410,
        title="This code has expired",
        headline="コードの時間が切れました",
        body="新しいコードを表示して、もう一度お試しください。" + MONEY_IS_SAFE,
        easy="コードが 古(ふる)く なりました。新(あたら)しい コードを 見(み)せて ください。",
        clerk="もう一度読み取ってください。",
        next_action=NextAction.SHOW_NEW_CODE,
    ),
    Problem(
        code="card_unknown",
        status=402,
        title="There is no such card",
        headline="このカードは使えません",
        body="カードを確認できませんでした。窓口またはお電話でご相談ください。{phone} "
        + MONEY_IS_SAFE,
        easy="この カードは 使(つか)えません。電話(でんわ)して ください。{phone}",
        clerk="別の支払い方法をご案内ください。",
        next_action=NextAction.VISIT_COUNTER,
    ),
    Problem(
        code="card_blocked",
        status=423,
        title="This card is blocked",
        headline="このカードは止められています",
        body="心当たりがなければ{phone}へお電話ください。残高はそのまま残っています。",
        easy="この カードは 止(と)まって います。電話(でんわ)して ください。{phone}",
        clerk="別の支払い方法をご案内ください。理由は聞かないでください。",
        next_action=NextAction.CALL_SUPPORT,
    ),
    Problem(
        code="wallet_frozen",
        status=423,
        title="This wallet is frozen",
        headline="安全のため、いま使えません",
        body="心当たりがなければ{phone}へお電話ください。残高はそのまま残っています。",
        easy="いま 使(つか)えません。電話(でんわ)して ください。{phone}",
        clerk="別の支払い方法をご案内ください。理由は聞かないでください。",
        next_action=NextAction.CALL_SUPPORT,
    ),
    Problem(
        code="payment_not_allowed",
        status=402,
        title="The payment was not allowed",
        headline="このお支払いはできませんでした",
        body=MONEY_IS_SAFE + "くわしくは{phone}へお電話ください。",
        easy="この 支払(しはら)いは できません。電話(でんわ)して ください。{phone}",
        clerk="別の支払い方法をご案内ください。理由は聞かないでください。",
        next_action=NextAction.CALL_SUPPORT,
    ),
)

_REFUSED: Final = (
    Problem(
        code="service_stopped",
        status=423,
        title="The city has stopped this service for now",
        headline="市の判断で一時停止しています",
        body="お金は守られています。再開は市からのお知らせでご確認ください。",
        easy="いま 止(と)めて います。お金は だいじょうぶ です。",
        clerk="一時停止中です。現金など他の方法でお願いします。",
        next_action=NextAction.WAIT,
        retryable=True,
        retry_after_s=60,
    ),
    Problem(
        code="terminal_unknown",
        status=404,
        title="The merchant has no such terminal",
        headline="お支払いを始められませんでした",
        body="お店の端末の設定に問題があります。" + MONEY_IS_SAFE,
        easy="お店(みせ)の 機械(きかい)が 使(つか)えません。" + MONEY_IS_SAFE_EASY,
        clerk="端末番号が登録と違います。管理者に連絡してください。",
    ),
    Problem(
        code="merchant_suspended",
        status=403,
        title="The merchant is suspended",
        headline="このお店では、いま使えません",
        body=MONEY_IS_SAFE + "ほかの方法でお支払いください。",
        easy="この お店(みせ)では 使(つか)えません。" + MONEY_IS_SAFE_EASY,
        clerk="取扱いが停止されています。事務局にご連絡ください。{phone}",
        next_action=NextAction.CALL_SUPPORT,
    ),
    Problem(
        code="idempotency_conflict",
        status=422,
        title="The key or the merchant's id was used for another request",
        headline="お支払いを受け付けられませんでした",
        body="この会計番号は、別の内容で使われています。この操作では、" + MONEY_IS_SAFE,
        easy="この 番号(ばんごう)は もう 使(つか)いました。" + MONEY_IS_SAFE_EASY,
        clerk="同じ会計番号で内容が違います。新しい会計としてやり直してください。",
    ),
    Problem(
        code="payment_unknown",
        status=404,
        title="The merchant has no such payment",
        headline="お支払いが見つかりません",
        body="この番号のお支払いは受け付けていません。",
        easy="この 番号(ばんごう)の 支払(しはら)いは ありません。",
        clerk="この番号の支払いはありません。",
    ),
    Problem(
        code="error_unknown",
        status=404,
        title="There is no such error code",
        headline="ページが見つかりません",
        body="このエラーコードの説明はありません。",
        easy="ページが ありません。",
        clerk="このエラーコードの説明はありません。",
    ),
)

_AT_THE_DOOR: Final = (
    Problem(
        code="unauthenticated",
        status=401,
        title="The API key is missing, unknown or revoked",
        headline="お支払いを始められませんでした",
        body="お店のシステムの設定に問題があります。" + MONEY_IS_SAFE,
        easy="お店(みせ)の 機械(きかい)が 使(つか)えません。" + MONEY_IS_SAFE_EASY,
        clerk="APIキーを確認してください。",
    ),
    Problem(
        code="key_wrong_mode",
        status=403,
        title="A test key was used for live money, or a live key for a rehearsal",
        headline="お支払いを始められませんでした",
        body="お店のシステムの設定に問題があります。" + MONEY_IS_SAFE,
        easy="お店(みせ)の 機械(きかい)が 使(つか)えません。" + MONEY_IS_SAFE_EASY,
        clerk="テスト用と本番用のAPIキーを取り違えています。",
    ),
    Problem(
        code="idempotency_key_missing",
        status=400,
        title="The Idempotency-Key header is missing",
        headline="お支払いを受け付けられませんでした",
        body="お店のシステムからの依頼に不足があります。" + MONEY_IS_SAFE,
        easy="もう一度(いちど) ためして ください。" + MONEY_IS_SAFE_EASY,
        clerk="Idempotency-Keyヘッダーが必要です。",
    ),
    Problem(
        code="idempotency_key_invalid",
        status=400,
        title="The Idempotency-Key is not 1 to 255 visible ASCII characters",
        headline="お支払いを受け付けられませんでした",
        body="お店のシステムからの依頼に誤りがあります。" + MONEY_IS_SAFE,
        easy="もう一度(いちど) ためして ください。" + MONEY_IS_SAFE_EASY,
        clerk="Idempotency-Keyヘッダーの形式が違います。",
    ),
    Problem(
        code="media_type_unsupported",
        status=415,
        title="The body must be application/json",
        headline="お支払いを受け付けられませんでした",
        body="お店のシステムからの依頼に誤りがあります。" + MONEY_IS_SAFE,
        easy="もう一度(いちど) ためして ください。" + MONEY_IS_SAFE_EASY,
        clerk="Content-Typeはapplication/jsonにしてください。",
    ),
    Problem(
        code="body_too_large",
        status=413,
        title="The body is larger than allowed",
        headline="お支払いを受け付けられませんでした",
        body="お店のシステムからの依頼に誤りがあります。" + MONEY_IS_SAFE,
        easy="もう一度(いちど) ためして ください。" + MONEY_IS_SAFE_EASY,
        clerk="依頼が大きすぎます({bytes_max:,}バイトまで)。",
    ),
    Problem(
        code="body_too_slow",
        status=408,
        title="The body did not arrive in time",
        headline="お支払いを受け付けられませんでした",
        body="通信に時間がかかりました。もう一度お試しください。" + MONEY_IS_SAFE,
        easy="もう一度(いちど) ためして ください。" + MONEY_IS_SAFE_EASY,
        clerk="通信状態を確認して、同じ会計をもう一度送ってください。",
        next_action=NextAction.RETRY_SAME_KEY,
        retryable=True,
        retry_after_s=1,
    ),
    Problem(
        code="body_malformed",
        status=400,
        title="The body is not JSON in UTF-8",
        headline="お支払いを受け付けられませんでした",
        body="お店のシステムからの依頼に誤りがあります。" + MONEY_IS_SAFE,
        easy="もう一度(いちど) ためして ください。" + MONEY_IS_SAFE_EASY,
        clerk="本文がJSONではありません。",
    ),
    Problem(
        code="body_invalid",
        status=422,
        title="A field is missing, unknown or out of its range",
        headline="お支払いを受け付けられませんでした",
        body="お店のシステムからの依頼に誤りがあります。" + MONEY_IS_SAFE,
        easy="もう一度(いちど) ためして ください。" + MONEY_IS_SAFE_EASY,
        clerk="項目に誤りがあります。errorsを確認してください。",
    ),
    Problem(
        code="parameter_invalid",
        status=422,
        title="A parameter is unknown or out of its range",
        headline="お調べできませんでした",
        body="お店のシステムからの依頼に誤りがあります。",
        easy="もう一度(いちど) ためして ください。",
        clerk="項目に誤りがあります。errorsを確認してください。",
    ),
    Problem(
        code="not_found",
        status=404,
        title="There is nothing at this address",
        headline="ページが見つかりません",
        body="アドレスをご確認ください。",
        easy="ページが ありません。",
        clerk="アドレスを確認してください。",
    ),
    Problem(
        code="method_not_allowed",
        status=405,
        title="This address does not take this method",
        headline="受け付けられませんでした",
        body="お店のシステムからの依頼に誤りがあります。" + MONEY_IS_SAFE,
        easy="もう一度(いちど) ためして ください。",
        clerk="HTTPメソッドが違います。",
    ),
)

_OURS: Final = (
    Problem(
        code="overloaded",
        status=503,
        title="Too many requests are waiting; nothing was looked at",
        headline="ただいま混み合っています",
        body="少し待って、もう一度お試しください。" + MONEY_IS_SAFE,
        easy="いま 人(ひと)が 多(おお)いです。すこし 待(ま)って ください。" + MONEY_IS_SAFE_EASY,
        clerk="数秒待って、同じ会計をもう一度送ってください。",
        next_action=NextAction.RETRY_SAME_KEY,
        retryable=True,
        retry_after_s=1,
    ),
    Problem(
        code="result_unknown",
        status=503,
        title="The result is not known yet; asking again with the same key tells it",
        headline="お支払いを確認しています",
        body="二重に払うことはありません。画面を閉じずにお待ちください。",
        easy="いま 調(しら)べて います。すこし 待(ま)って ください。お金は 1回だけ です。",
        clerk="結果を確認中です。同じ会計をもう一度送ってください(二重にはなりません)。",
        next_action=NextAction.RETRY_SAME_KEY,
        retryable=True,
        retry_after_s=2,
    ),
    Problem(
        code="unavailable",
        status=503,
        title="The service cannot answer right now",
        headline="ただいま確認できません",
        body="少し待って、もう一度お試しください。お金は守られています。",
        easy="すこし 待(ま)って、もう一度(いちど) ためして ください。お金は だいじょうぶ です。",
        clerk="数秒待って、もう一度お試しください。",
        next_action=NextAction.RETRY_SAME_KEY,
        retryable=True,
        retry_after_s=2,
    ),
    Problem(
        code="internal_error",
        status=500,
        title="Something went wrong on our side",
        headline="お支払いを確認できませんでした",
        body="同じ会計をもう一度送ると、結果がわかります。二重に払うことはありません。"
        "番号をお伝えください。{phone}",
        easy="もう一度(いちど) ためして ください。お金は 1回だけ です。{phone}",
        clerk="同じ会計をもう一度送ってください。続くときは番号を添えてご連絡ください。{phone}",
        next_action=NextAction.RETRY_SAME_KEY,
        retryable=True,
    ),
)

_ALL: Final = (
    *_DECLINED,
    *CONFIRMATION,
    *_REFUSED,
    *_AT_THE_DOOR,
    *_OURS,
    *PEOPLE,
    *POINTS,
    *STAFF,
    *RECEIPTS,
    *COUPONS,
    *CAMPAIGNS,
    *CARDS,
    *PROGRAMMES,
    *PURSES,
    *BENEFITS,
)

CATALOGUE: Final = MappingProxyType({problem.code: problem for problem in _ALL})
"""Every problem by its code. A code once given is never given another meaning."""

DECLINES: Final = frozenset(problem.code for problem in (*_DECLINED, *CONFIRMATION))
"""Codes that belong to a payment: it was recorded as declined and stays so."""
