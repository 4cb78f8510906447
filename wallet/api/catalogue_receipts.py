"""Every "no" about buying vouchers, about money that comes in, and about who reports it."""

from functools import partial
from typing import Final

from wallet.api.wording import (
    MONEY_IS_SAFE,
    MONEY_IS_SAFE_EASY,
    NextAction,
    Problem,
    for_staff,
)

_in_the_app = partial(
    Problem, clerk="お客様ご本人のスマートフォンでの手続きです。購入の状況はアプリで見られます。"
)

_SALES: Final = (
    _in_the_app(
        code="sale_unknown",
        status=404,
        title="This is not on sale",
        headline="この商品券は、いま販売していません",
        body="販売中の商品券の一覧から選び直してください。" + MONEY_IS_SAFE,
        easy="いま 売(う)って いません。一覧(いちらん)から えらんで ください。",
    ),
    _in_the_app(
        code="sale_not_open",
        status=409,
        title="The sale has not begun",
        headline="販売はまだ始まっていません",
        body="販売の始まる日時をアプリで確認してください。" + MONEY_IS_SAFE,
        easy="まだ 買(か)えません。始(はじ)まる 日(ひ)を 見(み)て ください。",
    ),
    _in_the_app(
        code="sale_over",
        status=410,
        title="The sale is over",
        headline="販売は終わりました",
        body="購入済みの商品券は、これまでどおり使えます。" + MONEY_IS_SAFE,
        easy="もう 買(か)えません。買(か)った 券(けん)は 使(つか)えます。",
    ),
    _in_the_app(
        code="sold_out",
        status=409,
        title="There are not as many units left",
        headline="ご希望の数は残っていません",
        body="数を減らすと購入できることがあります。"
        "お支払いのなかった分は、あとで販売に戻ることがあります。" + MONEY_IS_SAFE,
        easy="その 数(かず)は ありません。へらして ためして ください。" + MONEY_IS_SAFE_EASY,
    ),
    _in_the_app(
        code="units_per_person_exceeded",
        status=409,
        title="One person may not have as many units",
        headline="おひとりで購入できる数をこえています",
        body="これまでに購入・予約した数も含めて数えています。数を減らしてお試しください。"
        + MONEY_IS_SAFE,
        easy="1人(ひとり)の 数(かず)を こえました。へらして ください。" + MONEY_IS_SAFE_EASY,
    ),
    _in_the_app(
        code="tier_too_low",
        status=403,
        title="The holder is not known well enough for this sale",
        headline="購入には本人の確認が必要です",
        body="アプリか窓口で本人の確認をすると、購入できます。" + MONEY_IS_SAFE,
        easy="あなたか どうか 確認(かくにん)すると 買(か)えます。" + MONEY_IS_SAFE_EASY,
        next_action=NextAction.VISIT_COUNTER,
    ),
    _in_the_app(
        code="residents_only",
        status=403,
        title="This is sold to residents of the city alone",
        headline="市内にお住まいの方が購入できます",
        body="市内にお住まいの場合は、アプリか窓口で本人の確認をしてください。" + MONEY_IS_SAFE,
        easy="この 市(し)に 住(す)む 人(ひと)が 買(か)えます。" + MONEY_IS_SAFE_EASY,
        next_action=NextAction.VISIT_COUNTER,
    ),
    _in_the_app(
        code="offer_unknown",
        status=404,
        title="Nothing was offered to this wallet by this application",
        headline="購入できる当選が見つかりません",
        body="申し込みの結果をアプリで確認してください。" + MONEY_IS_SAFE,
        easy="当選(とうせん)が 見(み)つかりません。結果(けっか)を 見(み)て ください。",
    ),
    _in_the_app(
        code="offer_over",
        status=410,
        title="The offer was not taken up in time, or its winners are not told yet",
        headline="いまは購入できる期間ではありません",
        body="購入できる期間は、当選のお知らせにあります。" + MONEY_IS_SAFE,
        easy="いまは 買(か)えません。お知(し)らせの 日(ひ)を 見(み)て ください。",
    ),
    _in_the_app(
        code="offer_exceeded",
        status=409,
        title="Fewer units were won than are asked for",
        headline="当選した数をこえています",
        body="当選した数までで、もう一度お試しください。" + MONEY_IS_SAFE,
        easy="当選(とうせん)の 数(かず)を こえました。へらして ください。",
    ),
)

_PURCHASES: Final = (
    _in_the_app(
        code="purchase_unknown",
        status=404,
        title="The caller has no such purchase",
        headline="この購入は見つかりません",
        body="購入の一覧から選び直してください。" + MONEY_IS_SAFE,
        easy="それは 見(み)つかりません。一覧(いちらん)から えらんで ください。",
    ),
    _in_the_app(
        code="purchase_paid",
        status=409,
        title="The purchase is paid for",
        headline="お支払いは済んでいます",
        body="商品券はまもなく残高に入ります。二重に払う必要はありません。",
        easy="もう はらいました。すこし 待(ま)つと 券(けん)が 入(はい)ります。",
    ),
    _in_the_app(
        code="purchase_over",
        status=410,
        title="The reservation has lapsed or was given up",
        headline="予約は終わっています",
        body="期限までにお支払いがなかったか、取り消されました。" + MONEY_IS_SAFE,
        easy="予約(よやく)は おわりました。もう一度(いちど) えらんで ください。",
    ),
    _in_the_app(
        code="slips_too_many",
        status=409,
        title="No more payment slips are made for this purchase",
        headline="支払い番号をこれ以上つくれません",
        body="予約を取り消して、もう一度購入の手続きをしてください。" + MONEY_IS_SAFE,
        easy="番号(ばんごう)を もう つくれません。"
        "予約(よやく)を やめて、はじめから して ください。",
    ),
    _in_the_app(
        code="card_payment_cooling_off",
        status=403,
        title="How the person signs in was changed less than twelve hours ago",
        headline="安全のため、カードでのお支払いを少しのあいだ止めています",
        body="端末や暗証番号などを変えたあと、12時間はカードで払えません。"
        "コンビニや銀行では払えます。" + MONEY_IS_SAFE,
        easy="12時間(じかん) カードは 使(つか)えません。コンビニで 払(はら)えます。",
    ),
    _in_the_app(
        code="payment_too_late",
        status=410,
        title="The time to pay is over",
        headline="お支払いの期限を過ぎています",
        body="もう一度はじめから手続きしてください。" + MONEY_IS_SAFE,
        easy="はらう 時間(じかん)が おわりました。はじめから ためして ください。",
    ),
)

_PROVIDERS: Final = (
    for_staff(
        "report_unsigned",
        401,
        "The report is not signed by the provider's key within five minutes",
        "署名を確認できません",
        "収納事業者からの通知の署名か時刻が合いません。鍵と時計を確認してください。",
    ),
    for_staff(
        "report_invalid",
        422,
        "The report is not in the provider's form",
        "通知の形式がちがいます",
        "収納事業者からの通知を読み取れません。形式を確認してください。",
    ),
    for_staff(
        "receipt_differs",
        409,
        "The event was reported before, with another reference or amount",
        "同じ通知が、ちがう内容で届きました",
        "はじめの内容のまま記録しています。収納事業者に確認してください。",
    ),
)

_OFFICE: Final = (
    for_staff(
        "receipt_order_unknown",
        404,
        "There is no such payment order",
        "この支払いの依頼は見つかりません",
        "支払いの依頼の番号を確認してください。",
    ),
    for_staff(
        "receipt_order_over",
        409,
        "The payment order does not wait for money any more",
        "この支払いの依頼は終わっています",
        "支払い済みか、期限切れか、取り消しです。返金をご検討ください。",
    ),
    for_staff(
        "receipt_not_suspended",
        409,
        "A receipt is not in suspense, or was decided on before",
        "処理の終わった入金が含まれています",
        "仮受の一覧を開き直して、残っている入金から選んでください。",
    ),
    for_staff(
        "suspense_amount_differs",
        422,
        "The receipts together are not the order's amount",
        "入金の合計が、支払いの金額と合いません",
        "合計がちょうどになる入金を選ぶか、返金してください。",
    ),
    for_staff(
        "sale_without_frame",
        422,
        "The programme has no frame, so it is not sold in units",
        "この制度には販売する枠がありません",
        "枠のある制度を選んでください。",
    ),
    for_staff(
        "sale_beyond_frame",
        422,
        "The sale has more units than the frame",
        "販売の数が、枠の数をこえています",
        "枠の数までにしてください。",
    ),
    for_staff(
        "sale_of_campaign",
        409,
        "The programme is sold by the campaign `campaign`, so its sale is not changed by hand",
        "この枠は公開中の募集で販売しています",
        "販売の内容は募集で決まっています。止めるときは募集を一時停止してください。",
    ),
    for_staff(
        "sale_below_sold",
        409,
        "More units are reserved or sold already",
        "すでに予約・販売した数を下回っています",
        "予約と販売の数以上にしてください。",
    ),
)

RECEIPTS: Final = (*_SALES, *_PURCHASES, *_PROVIDERS, *_OFFICE)
