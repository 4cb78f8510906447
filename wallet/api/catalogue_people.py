"""Every "no" that people hear about themselves: signing in, factors, contacts, who helps whom."""

from typing import Final

from wallet.api.wording import NextAction, Problem, in_the_app

DPOP: Final = 'DPoP algs="ES256"'

_AT_THE_COUNTER: Final = "窓口での本人確認をご案内ください。"
_TO_BEGIN_AGAIN: Final = "もう一度はじめからお試しください。"
_TO_BEGIN_AGAIN_EASY: Final = "もう一度(いちど) はじめから ためして ください。"


def _again(code: str, title: str, headline: str, *, status: int = 401) -> Problem:
    """Return a problem with a confirmation that has to be asked for once more."""
    return Problem(
        code=code,
        status=status,
        title=title,
        headline=headline,
        body="もう一度、本人の確認からお願いします。変更はまだされていません。",
        easy="もう一度(いちど) あなたか どうか 確認(かくにん)します。"
        "まだ 何(なに)も 変(か)わって いません。",
        clerk="お客様側でもう一度、本人の確認が必要です。",
        next_action=NextAction.STEP_UP,
        scheme=DPOP,
    )


_SIGNED_OUT: Final = (
    Problem(
        code="signed_out",
        status=401,
        title="The session or the proof of the device key is missing, wrong or over",
        headline="もう一度サインインしてください",
        body="サインインの有効期限が切れたか、この端末では使えなくなっています。"
        "お金は守られています。",
        easy="もう一度(いちど) サインインして ください。お金は だいじょうぶ です。",
        clerk="お客様のアプリで、もう一度サインインが必要です。",
        next_action=NextAction.SIGN_IN,
        scheme=DPOP,
    ),
    Problem(
        code="proof_replayed",
        status=401,
        title="The proof of this request was used before; make a new one",
        headline="もう一度お試しください",
        body="同じ操作が二重に届きました。二重に処理されることはありません。",
        easy="もう一度(いちど) ためして ください。同(おな)じ ことは 1回だけ です。",
        clerk="お客様のアプリで、もう一度操作してもらってください。",
        scheme=DPOP,
    ),
    in_the_app(
        code="credentials_wrong",
        status=401,
        title="Something of the sign-in is wrong; it is not said what",
        headline="サインインできませんでした",
        body="メールアドレス、パスワード、確認コードのどれかが違うか、はじめての端末です。"
        "はじめての端末では、パスキーまたはデジタル認証アプリをお使いください。",
        easy="サインイン できません。もう一度(いちど) ためして ください。"
        "新(あたら)しい 機械(きかい)では パスキーを 使(つか)って ください。",
        scheme=DPOP,
    ),
    in_the_app(
        code="pin_wrong",
        status=401,
        title="The PIN is wrong",
        headline="暗証番号がちがいます",
        body="もう一度入力してください。続けてまちがえると、しばらく使えなくなります。",
        easy="番号(ばんごう)が ちがいます。もう一度(いちど) 入(い)れて ください。",
        scheme=DPOP,
    ),
    in_the_app(
        code="passkey_refused",
        status=403,
        title="The passkey's answer was not accepted",
        headline="パスキーを確認できませんでした",
        body=_TO_BEGIN_AGAIN + "ほかのパスキーやデジタル認証アプリも使えます。",
        easy="パスキーが わかりません。" + _TO_BEGIN_AGAIN_EASY,
    ),
    Problem(
        code="account_frozen",
        status=423,
        title="The account is frozen; only looking and unfreezing are possible",
        headline="安全のため、いま止めています",
        body="残高はそのまま残っています。本人の確認をすると、また使えます。"
        "心当たりがなければ{phone}へお電話ください。",
        easy="いま 止(と)めて います。お金は だいじょうぶ です。電話(でんわ)して ください。{phone}",
        clerk="別の支払い方法をご案内ください。理由は聞かないでください。",
        next_action=NextAction.CALL_SUPPORT,
    ),
    Problem(
        code="too_many_tries",
        status=429,
        title="Too many tries; come again after Retry-After",
        headline="しばらくお待ちください",
        body="試した回数が多いため、少しのあいだ止めています。時間をおいてお試しください。",
        easy="何回(なんかい)も ためしました。すこし 待(ま)って ください。",
        clerk="お客様に、時間をおいてもう一度試すようご案内ください。",
        next_action=NextAction.WAIT,
        retryable=True,
    ),
    Problem(
        code="sign_in_busy",
        status=429,
        title="Too many people sign in by password at this moment; nothing was looked at",
        headline="ただいま混み合っています",
        body="数秒待って、もう一度お試しください。お店でのお支払いはいつも通り使えます。",
        easy="いま 人(ひと)が 多(おお)いです。すこし 待(ま)って ください。",
        clerk="サインインが混み合っています。お支払いはいつも通りできます。",
        next_action=NextAction.WAIT,
        retryable=True,
    ),
    Problem(
        code="push_too_often",
        status=429,
        title="This phone was asked too often; come again after Retry-After",
        headline="確認のお願いが続いています",
        body="確認の通知を何度も送ったため、しばらく止めています。心当たりがなければ、"
        "承認せずにアカウントを止めてください。",
        easy="お知(し)らせが 多(おお)いです。すこし 待(ま)って ください。",
        clerk="お客様に、時間をおいてもう一度試すようご案内ください。",
        next_action=NextAction.WAIT,
        retryable=True,
    ),
)

_CONFIRMATION: Final = (
    Problem(
        code="step_up_required",
        status=401,
        title="This needs a stronger confirmation (RFC 9470); the challenge is in this answer",
        headline="本人の確認をします",
        body="安全のため、本人の確認をします。指紋・顔・パスキー、または"
        "デジタル認証アプリで確認してください。",
        easy="あなたか どうか 確認(かくにん)します。ゆびを さわって ください。",
        clerk="お客様側の操作待ちです。",
        next_action=NextAction.STEP_UP,
        scheme=DPOP,
    ),
    _again("step_up_unknown", "There is no such challenge for this caller", "確認を取り直します"),
    _again("step_up_used", "The challenge was used before", "この確認は使用済みです"),
    _again("step_up_expired", "The challenge has expired", "確認の時間が切れました"),
    _again("step_up_mismatch", "The challenge is of another operation", "内容が変わりました"),
    _again("step_up_not_passed", "The challenge has not been answered", "確認がまだ済んでいません"),
    _again("step_up_insufficient", "What was shown does not reach the level", "別の確認が必要です"),
    _again("step_up_failed", "The answer to the challenge is wrong", "確認できませんでした"),
    _again("step_up_passed", "The challenge was answered before", "確認は済んでいます", status=409),
    _again(
        "step_up_dead", "Five answers to the challenge were wrong", "確認を止めました", status=409
    ),
    Problem(
        code="factor_not_enrolled",
        status=403,
        title="Nothing that this account has enrolled would do",
        headline="窓口での確認が必要です",
        body="この変更には、パスキー、デジタル認証アプリ、または窓口での本人確認が必要です。"
        "お問い合わせ {phone}",
        easy="窓口(まどぐち)で 確認(かくにん)します。"
        "本人(ほんにん)の カードを 持(も)って きて ください。",
        clerk=_AT_THE_COUNTER,
        next_action=NextAction.VISIT_COUNTER,
    ),
)

_IDENTITY: Final = (
    Problem(
        code="identity_app_unavailable",
        status=503,
        title="The identity app does not answer now; nothing was changed",
        headline="デジタル認証アプリにつながりません",
        body="少し待って、もう一度お試しください。お店でのお支払いはいつも通り使えます。",
        easy="いま つながりません。すこし 待(ま)って ください。お金は 使(つか)えます。",
        clerk="デジタル認証アプリが混み合っています。お支払いはいつも通りできます。",
        next_action=NextAction.RETRY_SAME_KEY,
        retryable=True,
        retry_after_s=30,
    ),
    Problem(
        code="identity_not_accepted",
        status=403,
        title="The identity app's answer was not accepted",
        headline="本人の確認ができませんでした",
        body=_TO_BEGIN_AGAIN + "続くときは{phone}へお電話ください。",
        easy="確認(かくにん) できませんでした。" + _TO_BEGIN_AGAIN_EASY,
        clerk=_AT_THE_COUNTER,
        next_action=NextAction.CALL_SUPPORT,
    ),
    in_the_app(
        code="identity_flow_unknown",
        status=410,
        title="This visit to the identity app is over, was used, or was of another device",
        headline="確認の時間が切れました",
        body=_TO_BEGIN_AGAIN,
        easy="時間(じかん)が すぎました。" + _TO_BEGIN_AGAIN_EASY,
    ),
    Problem(
        code="identity_already_used",
        status=409,
        title="The same person has another account already",
        headline="すでに別のアカウントで確認済みです",
        body="本人の確認はお一人につき1つのアカウントです。前のアカウントをお使いください。"
        "前の端末がないときは「復旧」を選ぶか、{phone}へお電話ください。",
        easy="もう 別(べつ)の アカウントが あります。"
        "前(まえ)の アカウントを 使(つか)って ください。{phone}",
        clerk=_AT_THE_COUNTER,
        next_action=NextAction.CALL_SUPPORT,
    ),
    Problem(
        code="identity_other_person",
        status=403,
        title="The identity app says that this is somebody else",
        headline="別の方のカードです",
        body="このアカウントのご本人のカードで確認してください。",
        easy="ちがう 人(ひと)の カード です。あなたの カードで 確認(かくにん)して ください。",
        clerk=_AT_THE_COUNTER,
    ),
    Problem(
        code="identity_unknown",
        status=404,
        title="The city has not met this person",
        headline="アカウントが見つかりません",
        body="この方のアカウントはまだありません。新しく登録するか、窓口でご相談ください。{phone}",
        easy="アカウントが ありません。新(あたら)しく 登録(とうろく)して ください。{phone}",
        clerk=_AT_THE_COUNTER,
        next_action=NextAction.VISIT_COUNTER,
    ),
)

_CONTACTS: Final = (
    in_the_app(
        code="contact_invalid",
        status=422,
        title="This is no e-mail address or telephone number that a code could be sent to",
        headline="メールアドレスまたは電話番号をご確認ください",
        body="書き方が正しくないようです。もう一度入力してください。",
        easy="書(か)き方(かた)が ちがいます。もう一度(いちど) 入(い)れて ください。",
    ),
    in_the_app(
        code="contact_code_wrong",
        status=422,
        title="The code is wrong, used, too old, or was never sent",
        headline="確認コードがちがいます",
        body="届いたコードをもう一度入力してください。10分を過ぎたときや、"
        "5回まちがえたときは、新しいコードを送ってください。",
        easy="コードが ちがいます。もう一度(いちど) 入(い)れて ください。"
        "新(あたら)しい コードも 送(おく)れます。",
    ),
    in_the_app(
        code="contact_in_use",
        status=409,
        title="The contact has become somebody else's in between",
        headline="この連絡先は使われています",
        body="別の連絡先を入力するか、{phone}へお電話ください。",
        easy="この 連絡先(れんらくさき)は 使(つか)えません。"
        "別(べつ)の ものを 入(い)れて ください。",
        next_action=NextAction.CALL_SUPPORT,
    ),
)

_DEVICES: Final = (
    in_the_app(
        code="factor_missing",
        status=422,
        title="The device has neither a second key nor a PIN",
        headline="画面ロックまたは暗証番号が必要です",
        body="指紋・顔・画面ロックを使うか、6けたの暗証番号を決めてください。",
        easy="番号(ばんごう)を きめて ください。6けた です。",
    ),
    in_the_app(
        code="device_key_invalid",
        status=422,
        title="A key is no point of P-256, or the second key has not signed the first one",
        headline="この端末を登録できませんでした",
        body="アプリを新しくして、もう一度お試しください。",
        easy="アプリを 新(あたら)しく して ください。",
        next_action=NextAction.UPDATE_APP,
    ),
    in_the_app(
        code="device_key_taken",
        status=409,
        title="The device is enrolled already, or was revoked; sign in, or make a new key",
        headline="この端末は登録済みです",
        body="サインインしてください。できないときは、アプリを入れ直してお試しください。",
        easy="この スマホは もう 登録(とうろく)して います。サインインして ください。",
        next_action=NextAction.SIGN_IN,
    ),
    in_the_app(
        code="devices_too_many",
        status=409,
        title="The account has as many devices as it may have",
        headline="登録できる端末の数をこえています",
        body="使っていない端末を外してから、もう一度お試しください。",
        easy="スマホが 多(おお)すぎます。使(つか)わない ものを 外(はず)して ください。",
    ),
    in_the_app(
        code="device_unknown",
        status=404,
        title="The account has no such device",
        headline="端末が見つかりません",
        body="一覧を開き直してください。",
        easy="スマホが ありません。もう一度(いちど) 見(み)て ください。",
    ),
    in_the_app(
        code="invitation_unknown",
        status=404,
        title="The invitation is unknown, used, withdrawn or too old",
        headline="この招待は使えません",
        body="新しい招待を作ってもらい、もう一度お試しください。",
        easy="この 招待(しょうたい)は 使(つか)えません。新(あたら)しい ものを もらって ください。",
    ),
)

_FACTORS: Final = (
    in_the_app(
        code="pin_malformed",
        status=422,
        title="A PIN has six digits",
        headline="暗証番号は6けたの数字です",
        body="6けたの数字で入力してください。",
        easy="番号(ばんごう)は 6けた です。",
    ),
    in_the_app(
        code="pin_weak",
        status=422,
        title="The PIN is among the first that a thief would try",
        headline="別の暗証番号にしてください",
        body="続き番号、同じ数字、電話番号などは使えません。",
        easy="その 番号(ばんごう)は あぶない です。別(べつ)の 番号に して ください。",
    ),
    in_the_app(
        code="otp_wrong",
        status=422,
        title="The code of the authenticator app is wrong or was used",
        headline="確認コードがちがいます",
        body="認証アプリに表示されている、いまのコードを入力してください。",
        easy="コードが ちがいます。いまの コードを 入(い)れて ください。",
    ),
    in_the_app(
        code="totp_unknown",
        status=404,
        title="The account has no authenticator app",
        headline="認証アプリは登録されていません",
        body="一覧を開き直してください。",
        easy="認証(にんしょう)アプリが ありません。",
    ),
    in_the_app(
        code="passkey_known",
        status=409,
        title="The passkey is somebody's already, or the account has as many as it may have",
        headline="このパスキーは登録できません",
        body="別のパスキーを使うか、使っていないパスキーを外してください。",
        easy="この パスキーは 使(つか)えません。別(べつ)の ものを 使って ください。",
    ),
    in_the_app(
        code="passkey_unknown",
        status=404,
        title="The account has no such passkey",
        headline="パスキーが見つかりません",
        body="一覧を開き直してください。",
        easy="パスキーが ありません。もう一度(いちど) 見(み)て ください。",
    ),
    in_the_app(
        code="password_unusable",
        status=422,
        title="The password is too long or has characters that cannot be typed",
        headline="このパスワードは使えません",
        body="128文字までの、ふつうの文字で決めてください。",
        easy="その パスワードは 使(つか)えません。別(べつ)の ものに して ください。",
    ),
    in_the_app(
        code="password_too_short",
        status=422,
        title="The password is too short",
        headline="パスワードが短すぎます",
        body="長いことばをいくつか並べると、覚えやすく安全です。",
        easy="パスワードが 短(みじか)い です。もっと 長(なが)く して ください。",
    ),
    in_the_app(
        code="password_leaked",
        status=422,
        title="The password is on a list of leaked ones",
        headline="このパスワードは知られています",
        body="ほかのサービスから流出したパスワードの一覧にあります。別のものにしてください。",
        easy="その パスワードは あぶない です。別(べつ)の ものに して ください。",
    ),
    in_the_app(
        code="password_guessable",
        status=422,
        title="The password is easily guessed, or is about its owner",
        headline="パスワードが当てられやすいです",
        body="名前や電話番号、よくあることばは避けて、長くしてください。",
        easy="その パスワードは あぶない です。もっと 長(なが)く して ください。",
    ),
)

_PEOPLE: Final = (
    Problem(
        code="my_number_refused",
        status=422,
        title="Something in the request looks like a My Number, which is never taken",
        headline="マイナンバーは入力しないでください",
        body="12けたのマイナンバーは、どこにも入力する必要がありません。"
        "送られた内容は保存していません。",
        easy="マイナンバーは 書(か)かないで ください。どこにも のこして いません。",
        clerk="マイナンバーは受け取らないでください。",
    ),
    in_the_app(
        code="request_invalid",
        status=422,
        title="A field is missing, unknown or out of its range",
        headline="受け付けられませんでした",
        body="アプリを新しくして、もう一度お試しください。" + "変更はされていません。",
        easy="アプリを 新(あたら)しく して ください。まだ 何(なに)も 変(か)わって いません。",
        next_action=NextAction.UPDATE_APP,
    ),
    in_the_app(
        code="wallet_unknown",
        status=404,
        title="The caller has no such wallet",
        headline="財布が見つかりません",
        body="一覧を開き直してください。",
        easy="さいふが ありません。もう一度(いちど) 見(み)て ください。",
    ),
    in_the_app(
        code="helper_unknown",
        status=404,
        title="The caller has no such helper, and helps nobody by that name",
        headline="お手伝いの登録が見つかりません",
        body="一覧を開き直してください。",
        easy="手伝(てつだ)う 人(ひと)が いません。もう一度(いちど) 見(み)て ください。",
    ),
    in_the_app(
        code="helper_limits",
        status=422,
        title="The limits are more than a helper may have; see limit_yen and day_yen",
        headline="お手伝いの上限をこえています",
        body="1回{limit_yen:,}円までの金額を選んでください。",
        easy="お金が 多(おお)すぎます。1回に {limit_yen:,}円 まで です。",
    ),
    in_the_app(
        code="helper_not_proven",
        status=403,
        title="A visitor, and whoever is frozen, helps nobody",
        headline="このアカウントではお手伝いできません",
        body="画面ロックか暗証番号を登録してから、もう一度お試しください。",
        easy="まだ 手伝(てつだ)う ことが できません。番号(ばんごう)を きめて ください。",
    ),
    in_the_app(
        code="helper_of_self",
        status=409,
        title="Nobody is a helper of their own wallet",
        headline="ご自身の財布です",
        body="招待は、手伝ってくれる方のスマートフォンで開いてもらってください。",
        easy="これは あなたの さいふ です。手伝(てつだ)う 人(ひと)が 開(ひら)いて ください。",
    ),
    in_the_app(
        code="helpers_too_many",
        status=409,
        title="The wallet, or the helper, has as many as there may be",
        headline="お手伝いの人数をこえています",
        body="使っていない登録を外してから、もう一度お試しください。",
        easy="手伝(てつだ)う 人(ひと)が 多(おお)すぎます。1人(ひとり) 外(はず)して ください。",
    ),
)

PEOPLE: Final = (
    *_SIGNED_OUT,
    *_CONFIRMATION,
    *_IDENTITY,
    *_CONTACTS,
    *_DEVICES,
    *_FACTORS,
    *_PEOPLE,
)
"""In this part of the catalogue."""
