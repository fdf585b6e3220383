//! Texts about the HTTP API and who may use it.

use std::fmt::Display;

use super::Lang;

texts! {
    token_added(id, role) "{id} may use the HTTP API as {role}" "{id} は HTTP API を {role} として利用できます";
    token_secret(token) "its token, shown this once and kept nowhere:\n{token}" "トークン(表示は今回限りで、どこにも保存されません):\n{token}";
    token_certificate(subject) "  by a client certificate of {subject}" "  クライアント証明書: {subject}";
    token_objects(objects) "  acts on nothing but: {objects}" "  操作できる対象: {objects}";
    token_until(until) "  until {until}" "  有効期限: {until}";
    token_revoked(id) "{id} may no longer use the HTTP API" "{id} の利用を取り消しました";
    token_line(id, role, at, by, reason) "{id}  {role}, added {at} by {by}: {reason}" "{id}  {role}、{at} に {by} が追加: {reason}";
    token_line_expired() " (EXPIRED)" "(期限切れ)";
    token_nobody() "nobody may use the HTTP API; `sekimori token add ID --role viewer --reason …` adds somebody"
        "HTTP API を利用できる者はいません。`sekimori token add ID --role viewer --reason …` で追加します";
    token_root() "only root may add and revoke tokens" "トークンの追加と取消しができるのは root だけです";
    token_id(id) "`{id}` is not an id of 1 to 63 of [a-z0-9._-]" "`{id}` は使えません([a-z0-9._-] の1~63文字で指定してください)";
    token_proof() "a credential is known by the SHA-256 of its token, or by the subject of a certificate (1 to 512 bytes)" "トークンのSHA-256、または証明書のサブジェクト(1~512バイト)が必要です";
    token_taken(id) "there is a token {id} already; revoke it first, or choose another id" "{id} は既にあります。先に取り消すか、別の名前にしてください";
    token_proof_taken(id) "{id} is known by the same already" "同じものが既に {id} として登録されています";
    token_full(count) "there are {count} tokens, which is the most; revoke those nobody uses" "トークンが上限の{count}件あります。不要なものを取り消してください";
    token_absent(id, known) "there is no token {id}; there are: {known}" "{id} というトークンはありません。登録されているもの: {known}";
    token_seconds() "a token holds 1 s to ten years, or without an end until it is revoked" "有効期間は1秒~10年、または取消しまで(指定なし)です";
    token_duration(text) "`{text}` is not a duration; write 8h or 90d" "`{text}` は期間ではありません。8h や 90d のように指定してください";
    token_role() "say what it may: --role viewer, operator or admin; or --receiver, for alerts only" "権限を指定してください: --role viewer|operator|admin、または --receiver(警報の受信のみ)";
    token_receiver_objects() "what a receiver may put in quarantine is in the policy (alert_receivers), not here" "受信者が隔離できる対象は方針の alert_receivers に書きます";
    token_random(why) "the kernel gives no random numbers ({why}); nothing was added" "乱数を取得できません({why})。何も追加していません";
    token_not_added(id, why) "{id} was NOT added: {why}" "{id} を追加できませんでした: {why}";
    token_not_kept(id, why) "{id} is revoked, but something beside it went wrong and it may be back after a restart: {why}" "{id} の取消しは有効ですが、付随する処理に失敗しました(再起動後に復活するおそれがあります): {why}";
    tokens_unread(why) "who may use the HTTP API cannot be read ({why}): nobody may. Restore tokens.json in the state directory from a copy, or remove it and add everybody anew, and restart the agent"
        "HTTP API の利用者一覧を読み込めません({why})。誰も利用できません。状態ディレクトリの tokens.json を控えから戻すか、削除して登録し直し、エージェントを再起動してください";
    fault_http(why) "the HTTP API is not served: {why}" "HTTP API を提供できません: {why}";
    http_unauthorised() "show a valid token (Authorization: Bearer …) or a client certificate that is known here" "有効なトークン(Authorization: Bearer …)または登録済みのクライアント証明書が必要です";
    http_forbidden_object(id, object) "{id} may not act on {object}" "{id} は {object} を操作できません";
    http_receiver_only(id) "{id} may deliver alerts and nothing else" "{id} は警報の送信だけが許可されています";
    http_management_admin(id) "cutting the management path off takes the role admin, which {id} does not have" "管理経路の遮断には admin の権限が必要です({id} にはありません)";
    http_too_fast(seconds) "too many requests; try again in {seconds} s" "要求が多すぎます。{seconds}秒後に再試行してください";
    http_not_found(path) "there is nothing at {path}; /v1/openapi.json says what there is" "{path} はありません。/v1/openapi.json を参照してください";
    http_method(method) "{method} is not for this path; /v1/openapi.json says what is" "このパスでは {method} を使えません。/v1/openapi.json を参照してください";
    http_not_json() "send JSON, with Content-Type: application/json" "Content-Type: application/json を付けて JSON を送ってください";
    http_body(why) "the body cannot be understood: {why}; /v1/openapi.json says what is expected" "本文を解釈できません: {why}。/v1/openapi.json を参照してください";
    http_body_large(limit) "a body has at most {limit} bytes" "本文は{limit}バイト以内にしてください";
    http_body_slow() "the body did not come in time" "本文が時間内に届きませんでした";
    alert_not_receiver(id, receiver) "{id} may not deliver to a receiver {receiver}: the policy in force has no such one, or names another token for it (alert_receivers)"
        "{id} は受信者 {receiver} に送信できません。適用中の方針の alert_receivers に、その受信者がないか、別のトークンが指定されています";
    alert_not_permitted(receiver, object) "the policy does not let {receiver} put {object} in quarantine (alert_receivers: may_quarantine). NOT in quarantine; a person decides: sekimori quarantine {object} --reason …"
        "方針は {receiver} に {object} の隔離を許していません(alert_receivers の may_quarantine)。隔離していません。人の判断で実行してください: sekimori quarantine {object} --reason …";
    alert_no_label(label) "the alert has no label {label}, which names the host (alert_receivers: label)" "警報に、端末を示すラベル {label} がありません(alert_receivers の label)";
    alert_version(version) "version {version} of Alertmanager's webhook is not 4" "Alertmanager の webhook のバージョンが 4 ではありません({version})";
    http_lost() "the request was given up; look at `status` before trying again" "処理が中断しました。再試行の前に状態を確認してください";
}
