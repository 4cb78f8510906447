"""Every "no" about campaigns: what residents hear of their applications, and staff of the rest."""

from functools import partial
from typing import Final

from wallet.api.wording import Problem
from wallet.api.wording import for_staff as _staff

_CLERK: Final = "お客様ご本人のスマートフォンでの手続きです。申込の一覧でも確かめられます。"

_in_the_app = partial(Problem, clerk=_CLERK)
"""Something between people and their phones; the office sees the same in its list."""

_HEARD: Final = (
    _in_the_app(
        code="campaign_unknown",
        status=404,
        title="There is no such campaign",
        headline="この商品券の募集は見つかりません",
        body="一覧を開き直して、募集中の商品券をお選びください。",
        easy="その 募集(ぼしゅう)は ありません。一覧(いちらん)を 見(み)て ください。",
    ),
    _in_the_app(
        code="campaign_suspended",
        status=409,
        title="The campaign is suspended; nothing about it goes on meanwhile",
        headline="この商品券の手続きを一時的に止めています",
        body="再開したらお知らせします。すでに届いた申込はそのまま残っています。",
        easy="いま 手続(てつづ)きを 止(と)めて います。申込(もうしこみ)は のこって います。",
    ),
    _in_the_app(
        code="applications_closed",
        status=409,
        title="Applications are not taken now",
        headline="いまは申込を受け付けていません",
        body="受付の期間は募集のページにあります。期間のうちなら、いつ申し込んでも当たりやすさは同じです。",
        easy="いまは 申込(もうしこみ)が できません。期間(きかん)を 見(み)て ください。",
    ),
    _in_the_app(
        code="frame_unknown",
        status=404,
        title="The campaign has no such frame",
        headline="この枠は選べません",
        body="募集のページにある枠からお選びください。",
        easy="その 枠(わく)は ありません。ほかの 枠(わく)を えらんで ください。",
    ),
    _in_the_app(
        code="units_too_many",
        status=422,
        title="More units than one person may ask for; `units_max` more are possible",
        headline="申し込める数をこえています",
        body="お一人で申し込める数は募集のページにあります。数を減らしてお申し込みください。",
        easy="数(かず)が 多(おお)すぎます。すくなく して ください。",
    ),
    _in_the_app(
        code="application_not_eligible",
        status=409,
        title="The frame is not for this person; `reasons` says why",
        headline="この枠の対象ではありません",
        body="住所、年齢、お子さまなどの条件は募集のページにあります。"
        "登録の内容が違うときは、市役所の窓口へお申し出ください。",
        easy="この 枠(わく)には 申(もう)し込(こ)めません。"
        "ちがう ときは 市役所(しやくしょ)に 来(き)て ください。",
    ),
    _in_the_app(
        code="application_exists",
        status=409,
        title="This person has applied for this frame with other units or another wallet",
        headline="すでに申し込んでいます",
        body="お一人、枠ごとに1回です。内容を変えるときは、受付の期間のうちに取り下げてからお申し込みください。",
        easy="もう 申(もう)し込(こ)んで います。変(か)える ときは 先(さき)に やめて ください。",
    ),
    _in_the_app(
        code="application_unknown",
        status=404,
        title="There is no such application",
        headline="この申込は見つかりません",
        body="申込の一覧を開き直してください。",
        easy="その 申込(もうしこみ)は ありません。一覧(いちらん)を 見(み)て ください。",
    ),
    _in_the_app(
        code="draw_unknown",
        status=404,
        title="This draw has not been committed to yet",
        headline="この抽選の記録はまだありません",
        body="抽選の準備ができると、ここで公開します。",
        easy="抽選(ちゅうせん)の 記録(きろく)は まだ ありません。",
    ),
)

_CAMPAIGNS: Final = (
    _staff(
        "campaign_exists",
        409,
        "There is a campaign with this code",
        "同じコードの募集があります",
        "別のコードを付けてください。",
    ),
    _staff(
        "campaign_invalid",
        422,
        "The terms of the campaign do not fit together; `problems` says how",
        "募集の内容に直すところがあります",
        "示された項目を直してから、もう一度保存してください。",
    ),
    _staff(
        "campaign_fixed",
        409,
        "Only a draft can be changed or approved",
        "いまは内容を変えられません",
        "公開の前なら、案に戻してから直してください。",
    ),
    _staff(
        "campaign_changed",
        409,
        "The terms were changed after approval was asked for",
        "承認を求めた後に内容が変わりました",
        "いまの内容で、もう一度承認を申請してください。",
    ),
    _staff(
        "campaign_frame_taken",
        409,
        "The programme `frame` is sold by the campaign `campaign`, which is not over",
        "ほかの募集で販売中の枠が含まれています",
        "その募集の利用期間が終わるのを待つか、別の枠を選んでください。",
    ),
    _staff(
        "campaign_step_unknown",
        409,
        "No step leads from the campaign's state to this one",
        "いまの段階からは進めません",
        "募集の段階を開き直して確かめてください。",
    ),
    _staff(
        "campaign_not_suspended",
        409,
        "The campaign is not suspended",
        "この募集は止まっていません",
        "すでに再開しています。一覧を開き直してください。",
    ),
    _staff(
        "campaign_too_early",
        409,
        "The moment that this step is planned for has not come",
        "まだ予定の時刻になっていません",
        "予定の時刻になると、自動で進みます。",
    ),
    _staff(
        "campaign_not_approved",
        409,
        "Two people have not agreed to the terms as they stand",
        "この内容はまだ承認されていません",
        "承認を申請して、別の職員の承認を受けてください。",
    ),
    _staff(
        "campaign_shops_missing",
        409,
        "Fewer shops are on the list than the terms ask for",
        "使えるお店の数が足りません",
        "お店の登録が決めた数に達してから公開してください。",
    ),
    _staff(
        "campaign_seed_missing",
        409,
        "No seed is committed to, so applications cannot open",
        "抽選の種がまだ公開されていません",
        "申込の前に、種のハッシュ値と使う公の値を公開してください。",
    ),
    _staff(
        "campaign_not_drawn",
        409,
        "The lots have not been drawn",
        "抽選がまだ終わっていません",
        "公の値を入力すると、自動で抽選します。",
    ),
    _staff(
        "campaign_not_told",
        409,
        "Not everybody has been told their result",
        "結果のお知らせがまだ終わっていません",
        "お知らせは自動で続いています。少し待ってから開き直してください。",
    ),
    _staff(
        "campaign_not_drawn_again",
        409,
        "The second round has not been drawn and told",
        "2回目の抽選がまだ終わっていません",
        "2回目の抽選とお知らせが終わると、自動で進みます。",
    ),
    _staff(
        "campaign_offers_open",
        409,
        "Some winners may still buy",
        "まだ購入できる方がいます",
        "購入の期限が終わると、自動で進みます。",
    ),
)

_APPLICATIONS: Final = (
    _staff(
        "applications_unchecked",
        409,
        "Some applications wait for somebody; `waiting` says how many",
        "確認の終わっていない申込があります",
        "重複の疑いがある申込を確かめてから、名簿を確定してください。",
    ),
    _staff(
        "applications_not_checked",
        409,
        "Applications are decided only while they are checked",
        "いまは申込の確認の期間ではありません",
        "受付が終わってから名簿を確定するまでの間に確認できます。",
    ),
    _staff(
        "application_decided",
        409,
        "The application stands like this already, or was withdrawn",
        "この申込はすでにその状態です",
        "申込を開き直して確かめてください。",
    ),
    _staff(
        "reason_unknown",
        422,
        "There is no such reason to reject an application",
        "この理由は選べません",
        "決められた理由から選んでください。",
    ),
)

_DRAWS: Final = (
    _staff(
        "draw_not_now",
        409,
        "This step of a draw is not taken in the campaign's state, or there is no such round",
        "いまはこの抽選の手続きができません",
        "募集の段階と、何回目の抽選かを確かめてください。",
    ),
    _staff(
        "draw_committed",
        409,
        "A seed is committed to, and there is only one",
        "抽選の種はすでに公開しています",
        "種は1回だけ作られ、取り替えられません。",
    ),
    _staff(
        "draw_listed",
        409,
        "The list of entries is fixed or being fixed",
        "抽選の名簿はすでに確定しています",
        "名簿を確定した後は、参加する申込も使う値も変えられません。",
    ),
    _staff(
        "draw_not_listed",
        409,
        "The list of entries is not fixed",
        "抽選の名簿がまだ確定していません",
        "先に名簿を確定して、公開してください。",
    ),
    _staff(
        "draw_revealed",
        409,
        "The public value has been written down",
        "公の値はすでに入力されています",
        "抽選は自動で進みます。",
    ),
    _staff(
        "draw_too_early",
        409,
        "Nobody can know the public value yet",
        "公の値はまだ決まっていません",
        "予定の時刻を過ぎてから入力してください。",
    ),
    _staff(
        "draw_value_invalid",
        422,
        "The public value is missing, or may be known already",
        "この公の値は使えません",
        "だれもまだ知らない、後の日の値を選んでください。",
    ),
)

CAMPAIGNS: Final = (*_HEARD, *_CAMPAIGNS, *_APPLICATIONS, *_DRAWS)
