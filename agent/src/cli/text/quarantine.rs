//! Texts about quarantine.

use std::fmt::Display;

use super::Lang;

texts! {
    quarantined(host) "{host} is in quarantine, from this packet on" "{host} を隔離しました(以後のパケットから)";
    quarantined_again(host) "{host} was in quarantine already; what is new was added" "{host} は既に隔離中です。新しい内容を加えました";
    released(host) "{host} is released from quarantine" "{host} の隔離を解除しました";
    unblocked(host) "{host} is not in quarantine; what detectors blocked it for is lifted" "{host} は隔離中ではありません。検知による遮断を解除しました";
    quarantine_covers(what) "  {what}" "  {what}";
    quarantine_until(until) "  until {until}, then released by itself" "  {until} に自動で解除";
    quarantine_permitted(rules) "  it still gets what these rules permit: {rules}" "  隔離中も次の規則の通信だけ可能: {rules}";
    quarantine_others(hosts) "in quarantine as well: {hosts}" "ほかに隔離中: {hosts}";
    quarantine_nobody() "nobody is in quarantine" "隔離中の端末はありません";
    quarantine_line(host, age, by, reason, extra) "  {host}  since {age}, by {by}: {reason}{extra}" "  {host}  {age}前から、実行者 {by}: {reason}{extra}";
    quarantine_line_until(until) " (until {until})" "({until} まで)";
    quarantine_line_automatic() " (automatic)" "(自動)";
    quarantine_line_refused(packets, bytes) "    refused since: {packets} packets, {bytes} bytes" "    以後に破棄: {packets}パケット、{bytes}バイト";
    quarantine_line_idle() " (NOT in force: the gate is open)" "(無効: 関門が開いています)";
    h_quarantine() "in quarantine" "隔離中";
    quarantine_hosts_only(object) "only hosts can be put in quarantine, not `{object}`; cut it off instead: sekimori cutoff {object} --reason …"
        "隔離できるのは端末だけです(`{object}` は不可)。遮断してください: sekimori cutoff {object} --reason …";
    quarantine_how_many(limit) "name one to {limit} hosts" "端末を1~{limit}台指定してください";
    quarantine_seconds(limit) "a quarantine lasts 1 to {limit} seconds, or without an end until it is released" "隔離の期間は1~{limit}秒、または解除まで(指定なし)です";
    quarantine_duration(text) "`{text}` is not a duration; write 90s, 30m, 8h or 7d" "`{text}` は期間ではありません。90s、30m、8h、7d のように指定してください";
    quarantine_full(why) "nothing was changed: {why}; release some, or cut off their zone" "何も変更していません: {why}。いくつか解除するか、区域ごと遮断してください";
    quarantine_is_box(host) "{host} is this box: it cannot be put in quarantine. Nothing was changed" "{host} は本装置です。隔離できません。何も変更していません";
    quarantine_is_router(host) "{host} is a router of the policy: everything behind it would go with it. Name the device or the address behind it, or cut it off: sekimori cutoff host {host} --reason …. Nothing was changed"
        "{host} は方針に登録されたルーターで、その先の全端末を巻き込みます。先にある端末またはアドレスを指定するか、遮断してください: sekimori cutoff host {host} --reason …。何も変更していません";
    quarantine_critical(host, device) "{host} is the device {device}, which the policy marks critical: nothing automatic puts it in quarantine. NOT in quarantine; a person decides: sekimori quarantine host {host} --reason …"
        "{host} は方針で critical とされた端末 {device} のため、自動では隔離しません。隔離していません。人の判断で実行してください: sekimori quarantine host {host} --reason …";
    quarantine_failed(hosts, why) "NOT in quarantine: {hosts}: {why}. Cut off instead: sekimori cutoff host … --reason …" "隔離できませんでした: {hosts}: {why}。遮断してください: sekimori cutoff host … --reason …";
    quarantine_not_kept(why) "the quarantine is in force, but something beside it went wrong and it may not survive a reboot: {why}" "隔離は有効ですが、付随する処理に失敗しました(再起動後に失われるおそれがあります): {why}";
    quarantine_not_in_force() "NOT in force: the gate is open; it takes effect with the next apply" "無効: 関門が開いています。次の適用で有効になります";
    quarantine_nothing_permitted() "no rule of the policy holds in quarantine (`quarantined: permit`): it gets nothing at all" "隔離中も有効な規則(`quarantined: permit`)がないため、通信は一切できません";
    quarantine_no_mac(host) "no MAC is known of {host}: under another address it is not held back" "{host} のMACが不明のため、アドレスを変えられると止められません";
    release_absent(host, known) "{host} is neither in quarantine nor blocked by a detector; in quarantine are: {known}" "{host} は隔離も検知による遮断もされていません。隔離中: {known}";
    release_failed(hosts, why) "NOT released: {hosts}: {why}" "解除できませんでした: {hosts}: {why}";
    quarantine_unread(why) "who was in quarantine cannot be read ({why}): nothing is put in force until it can. Restore quarantine.json in the state directory from a copy, or remove it to give up what it held, and restart the agent"
        "隔離中の端末の一覧を読み込めません({why})。読めるまで方針を適用しません。状態ディレクトリの quarantine.json を控えから戻すか、内容を諦めて削除し、エージェントを再起動してください";
}
