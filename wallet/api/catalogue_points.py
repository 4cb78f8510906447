"""Every "no" about gifts, civic events, steps, exchanges and charges, and about shops' takings."""

from typing import Final

from wallet.api.wording import (
    MONEY_IS_SAFE,
    MONEY_IS_SAFE_EASY,
    NextAction,
    for_staff,
    in_the_app,
)

_GIFTS: Final = (
    in_the_app(
        code="gift_not_allowed",
        status=403,
        title="This money may not be given to others",
        headline="このお金は、ほかの人に送れません",
        body="送れるのは、送ることができる制度の、ご自分で購入したお金だけです。" + MONEY_IS_SAFE,
        easy="この お金(かね)は 人(ひと)に 送(おく)れません。" + MONEY_IS_SAFE_EASY,
    ),
    in_the_app(
        code="gift_receiver_unknown",
        status=404,
        title="Nobody who can be given money has this support code",
        headline="受け取る方が見つかりません",
        body="相手の方のサポート番号をもう一度ご確認ください。" + MONEY_IS_SAFE,
        easy="相手(あいて)が わかりません。番号(ばんごう)を もう一度(いちど) 見(み)て ください。"
        + MONEY_IS_SAFE_EASY,
    ),
    in_the_app(
        code="gift_receiver_full",
        status=409,
        title="The receiver cannot take this much more",
        headline="相手の方が、これ以上受け取れません",
        body="金額を減らすか、日をあらためてお試しください。" + MONEY_IS_SAFE,
        easy="相手(あいて)は これより 多(おお)く もらえません。" + MONEY_IS_SAFE_EASY,
    ),
    in_the_app(
        code="gift_not_for_tier",
        status=403,
        title="The person's tier neither gives nor is given",
        headline="いまの登録では、お金のやりとりはできません",
        body="本人の確認をすると、できるようになります。" + MONEY_IS_SAFE,
        easy="あなたか どうか 確認(かくにん)すると できます。" + MONEY_IS_SAFE_EASY,
    ),
    in_the_app(
        code="gift_cooling_off",
        status=403,
        title="How the person signs in was changed less than twelve hours ago",
        headline="安全のため、送金を少しのあいだ止めています",
        body="端末や暗証番号などを変えたあと、12時間は送れません。お店での少額のお支払いは使えます。"
        + MONEY_IS_SAFE,
        easy="12時間(じかん) 送(おく)れません。すこし 待(ま)って ください。" + MONEY_IS_SAFE_EASY,
    ),
    in_the_app(
        code="gift_to_self",
        status=409,
        title="The gift is the caller's own",
        headline="ご自分には送れません",
        body="やめるときは、送った方の画面で取り消してください。" + MONEY_IS_SAFE,
        easy="じぶんには 送(おく)れません。" + MONEY_IS_SAFE_EASY,
    ),
    in_the_app(
        code="gift_limit_transfer",
        status=402,
        title="The amount is above the limit of one gift",
        headline="1回に送れる金額をこえています",
        body="1回に送れるのは{limit_yen:,}円までです。" + MONEY_IS_SAFE,
        easy="1回に {limit_yen:,}円 まで 送(おく)れます。" + MONEY_IS_SAFE_EASY,
    ),
    in_the_app(
        code="gift_limit_daily",
        status=402,
        title="The amount is above what is left of today's limit",
        headline="今日送れる金額をこえています",
        body="1日の上限は{limit_yen:,}円で、今日はあと{left_yen:,}円送れます。" + MONEY_IS_SAFE,
        easy="今日(きょう)は あと {left_yen:,}円 送(おく)れます。" + MONEY_IS_SAFE_EASY,
    ),
    in_the_app(
        code="gift_limit_monthly",
        status=402,
        title="The amount is above what is left of this month's limit",
        headline="今月送れる金額をこえています",
        body="1か月の上限は{limit_yen:,}円で、今月はあと{left_yen:,}円送れます。" + MONEY_IS_SAFE,
        easy="今月(こんげつ)は あと {left_yen:,}円 送(おく)れます。" + MONEY_IS_SAFE_EASY,
    ),
    in_the_app(
        code="balance_limit",
        status=409,
        title="The wallet cannot hold this much more",
        headline="残高の上限をこえます",
        body="あと{left_yen:,}円まで受け取れます。使ってからもう一度お試しください。"
        + MONEY_IS_SAFE,
        easy="あと {left_yen:,}円 まで もらえます。使(つか)って から ためして ください。",
    ),
    in_the_app(
        code="holder_not_eligible",
        status=403,
        title="The programme is not for this person",
        headline="この制度の対象ではありません",
        body="住所などの条件がある制度です。条件に合う方は、本人の確認をすると使えます。"
        + MONEY_IS_SAFE,
        easy="この 制度(せいど)は 使(つか)えません。" + MONEY_IS_SAFE_EASY,
    ),
    in_the_app(
        code="gift_code_unknown",
        status=404,
        title="There is no gift of this code",
        headline="受け取りコードがちがいます",
        body="送った方に、コードをもう一度ご確認ください。",
        easy="コードが ちがいます。もう一度(いちど) 見(み)て ください。",
    ),
    in_the_app(
        code="gift_over",
        status=410,
        title="The gift was claimed or cancelled, or its code has run out",
        headline="この贈りものは、もう受け取れません",
        body="ほかの方が受け取ったか、取り消されたか、期限が過ぎています。"
        "受け取られなかったお金は、送った方に戻っています。",
        easy="もう もらえません。お金(かね)は 送(おく)った 人(ひと)に 戻(もど)ります。",
    ),
    in_the_app(
        code="gift_claimed",
        status=409,
        title="The gift was claimed before it was cancelled",
        headline="相手の方がもう受け取っています",
        body="受け取ったあとは取り消せません。心当たりがなければ{phone}へお電話ください。",
        easy="もう 相手(あいて)が もらいました。こまったら 電話(でんわ)して ください。{phone}",
        next_action=NextAction.CALL_SUPPORT,
    ),
    in_the_app(
        code="gift_on_hold",
        status=423,
        title="The giver's account is frozen",
        headline="いまは受け取れません",
        body="安全のため、この贈りものを止めています。送った方にご確認ください。",
        easy="いま 止(と)めて います。送(おく)った 人(ひと)に 聞(き)いて ください。",
    ),
    in_the_app(
        code="gift_unknown",
        status=404,
        title="The caller has given no such gift",
        headline="贈りものが見つかりません",
        body="送った贈りものの一覧からお選びください。",
        easy="その おくりものは ありません。",
    ),
)

_EARNING: Final = (
    in_the_app(
        code="event_code_unknown",
        status=404,
        title="The city has made no such code",
        headline="コードを読み取れませんでした",
        body="会場のコードを、もう一度読み取ってください。",
        easy="コードが わかりません。もう一度(いちど) 読(よ)んで ください。",
    ),
    in_the_app(
        code="event_code_used",
        status=409,
        title="Somebody has used this code before",
        headline="このコードは使用済みです",
        body="コードは1人1回だけ使えます。会場の係の人に、新しいコードをお聞きください。",
        easy="この コードは もう 使(つか)いました。新(あたら)しい コードを もらって ください。",
    ),
    in_the_app(
        code="event_code_not_today",
        status=410,
        title="The code is for another day",
        headline="このコードは今日のものではありません",
        body="コードは、行事に参加した日にだけ使えます。",
        easy="今日(きょう)の コード では ありません。",
    ),
    in_the_app(
        code="event_attended",
        status=409,
        title="The person has earned this event's points today",
        headline="今日の分は、もう受け取っています",
        body="同じ行事のポイントは、1日に1回です。",
        easy="今日(きょう)は もう もらいました。",
    ),
    in_the_app(
        code="event_closed",
        status=410,
        title="The event is not being held now",
        headline="この行事は受け付けていません",
        body="終わったか、まだ始まっていません。",
        easy="いま 受(う)け付(つ)けて いません。",
    ),
    in_the_app(
        code="event_full",
        status=409,
        title="As many have come as points were set aside for",
        headline="ポイントの定員に達しました",
        body="ご参加ありがとうございます。この行事のポイントは、定員の方にお配りしました。",
        easy="もう ポイントが ありません。来(き)て くれて ありがとう ございます。",
    ),
    in_the_app(
        code="points_over",
        status=410,
        title="The programme's last day has passed",
        headline="このポイントの期間は終わりました",
        body="新しくは受け取れません。",
        easy="この ポイントは 終(お)わりました。",
    ),
    in_the_app(
        code="points_exhausted",
        status=409,
        title="The budget is used up",
        headline="ポイントの予算がなくなりました",
        body="ご利用ありがとうございます。予定していた分をすべてお配りしました。",
        easy="もう ポイントが ありません。",
    ),
    in_the_app(
        code="steps_not_counted",
        status=404,
        title="Steps earn nothing of this money now",
        headline="いまは歩数のポイントがありません",
        body="歩数でもらえるポイントは、アプリの一覧で確認できます。",
        easy="いま 歩(ある)いても ポイントは ありません。",
    ),
    in_the_app(
        code="steps_not_today",
        status=422,
        title="Only today's steps count",
        headline="今日の歩数だけ送れます",
        body="過ぎた日の歩数は、あとから送れません。",
        easy="今日(きょう)の 歩数(ほすう)だけ 送(おく)れます。",
    ),
    in_the_app(
        code="steps_other_device",
        status=409,
        title="Another phone of the person's counts today",
        headline="今日は別の端末で数えています",
        body="歩数は1日に1台の端末で数えます。明日からこの端末で数えられます。",
        easy="今日(きょう)は 別(べつ)の 機械(きかい)で 数(かぞ)えて います。",
    ),
    in_the_app(
        code="exchange_not_allowed",
        status=403,
        title="This money may not become that one",
        headline="この交換はできません",
        body="交換できる組み合わせは、アプリの一覧で確認できます。" + MONEY_IS_SAFE,
        easy="この 交換(こうかん)は できません。" + MONEY_IS_SAFE_EASY,
    ),
    in_the_app(
        code="exchange_too_small",
        status=422,
        title="The amount would not bring a single yen",
        headline="金額が少なすぎます",
        body="もう少し多い金額で交換してください。" + MONEY_IS_SAFE,
        easy="もっと 多(おお)い 金額(きんがく)を 入(い)れて ください。" + MONEY_IS_SAFE_EASY,
    ),
)

_CHARGES: Final = (
    in_the_app(
        code="charge_not_allowed",
        status=403,
        title="This money is not charged",
        headline="このお金はチャージできません",
        body="チャージできるのは地域コインです。商品券は販売の画面からお求めください。",
        easy="この お金(かね)は チャージ できません。",
    ),
    in_the_app(
        code="charge_first_card",
        status=402,
        title="The first charge by card is above its limit",
        headline="はじめてのカードでのチャージは少額からお願いします",
        body="はじめは{limit_yen:,}円までで、いまはあと{left_yen:,}円チャージできます。"
        "安全のための上限です。コンビニや銀行振込では、この上限はありません。",
        easy="はじめは {limit_yen:,}円 まで です。いま あと {left_yen:,}円 できます。",
    ),
    in_the_app(
        code="charge_cooling_off",
        status=403,
        title="How the person signs in was changed less than twelve hours ago",
        headline="安全のため、カードでのチャージを少しのあいだ止めています",
        body="端末や暗証番号などを変えたあと、12時間はカードでチャージできません。"
        "コンビニや銀行振込は使えます。",
        easy="12時間(じかん) カードは 使(つか)えません。コンビニで チャージ できます。",
    ),
)

_OFFICE: Final = (
    for_staff(
        "event_unknown",
        404,
        "There is no such event",
        "この行事はありません",
        "行事の番号を確認してください。",
    ),
    for_staff(
        "event_days_invalid",
        422,
        "The days do not fit: the last before the first, or outside of the event",
        "日付が合っていません",
        "終わりの日が始まりより前か、行事の期間の外の日です。日付を確認してください。",
    ),
    for_staff(
        "step_ladder_invalid",
        422,
        "The rungs do not rise in both steps and yen",
        "歩数の段の設定が正しくありません",
        "歩数もポイントも、下の段より上の段を大きくしてください。",
    ),
    for_staff(
        "shop_unknown",
        404,
        "There is no such shop",
        "この店舗はありません",
        "店舗の番号を確認してください。",
    ),
    for_staff(
        "takings_to_self",
        422,
        "The shop would pay itself",
        "同じ店舗への支払いです",
        "支払う店舗と受け取る店舗を確認してください。",
    ),
)

POINTS: Final = (*_GIFTS, *_EARNING, *_CHARGES, *_OFFICE)
"""Codes of this room."""
