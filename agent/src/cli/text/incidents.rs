//! Texts about incidents, evidence and live capture.

use std::fmt::Display;

use super::Lang;

texts! {
    h_incidents() "INCIDENTS nobody has looked at (`sekimori incidents show N`, then `sekimori incidents close N --reason …`)"
        "未確認のインシデント(`sekimori incidents show 番号` で確認し、`sekimori incidents close 番号 --reason …` で完了)";
    incident_line(id, host, detector, age, packets, extra) "  {id}  {host}: {detector}, {age} ago, {packets} in all{extra}" "  {id}  {host}: {detector}、{age}前、計{packets}件{extra}";
    incidents_more(count) "  … and {count} more: `sekimori incidents list --open`" "  …ほか{count}件: `sekimori incidents list --open`";
    incident_undecided() "; NOT in quarantine: A PERSON MUST DECIDE" "、隔離されていません: 人の判断が必要です";
    guard_holds(hosts, seconds) "  ! detectors put {hosts} hosts in quarantine within {seconds} s, which is the most: further hosts are NOT put in quarantine, a person must decide. `sekimori quarantine host … --reason …`"
        "  ! 検知による隔離が{seconds}秒間に{hosts}台の上限に達しました。これ以上は自動で隔離しません。人の判断で `sekimori quarantine host … --reason …` を実行してください";
    incidents_none() "no incident" "インシデントはありません";
    incidents_head() "number\tstate\tlast seen\thost\tzone\twhat\taction\tcount" "番号\t状態\t最後の検知\t端末\t区域\t内容\t対処\t件数";
    incident_unknown(id) "there is no incident {id}; `sekimori incidents list` shows them (old ones make room, the record keeps their lines: `sekimori records list --object 'incident {id}'`)"
        "インシデント {id} はありません。`sekimori incidents list` で一覧を表示します(古いものは削除されますが、記録には残ります: `sekimori records list --object 'incident {id}'`)";
    incidents_how_many(limit) "name one to {limit} incidents" "インシデントを1~{limit}件指定してください";
    incident_closed(ids) "closed: {ids}" "完了: {ids}";
    incident_closed_already(ids) "closed before, nothing was changed: {ids}" "既に完了しています(変更なし): {ids}";
    incidents_open(count) "still open: {count}" "未確認: {count}件";
    incident_not_closed(why) "NOT closed: {why}" "完了にできません: {why}";
    incident_not_kept(id) "incident {id} is closed but not on disk; it is tried again, `sekimori status` says what is wrong" "インシデント {id} は完了しましたが保存できていません。再試行します。原因は `sekimori status` を確認してください";
    state_noted() "noted" "観察";
    state_open() "OPEN" "未確認";
    state_closed() "closed" "完了";
    action_observe() "noted" "記録のみ";
    action_alert() "alert" "警報";
    action_throttle() "throttled" "流量制限";
    action_block() "blocked" "一時遮断";
    action_quarantine() "quarantine" "隔離";
    incident_who(host, zone) "host         {host}, zone {zone}" "端末         {host}、区域 {zone}";
    incident_device(device, owner) "device       {device}, owner {owner}" "登録端末     {device}、責任者 {owner}";
    incident_mac(mac) "MAC          {mac}" "MAC          {mac}";
    incident_hosts(count, hosts) "hosts        {count}: {hosts}" "端末一覧     {count}: {hosts}";
    incident_what(detector, text) "what         {detector}: {text}" "内容         {detector}: {text}";
    incident_state(state) "state        {state}" "状態         {state}";
    incident_times(first, last) "seen         from {first} to {last}" "検知         {first} から {last} まで";
    incident_counts(packets, events, value, refused) "count        {packets} beyond the threshold, in {events} events; the detector's figure {value}; refused {refused}"
        "件数         閾値超過 {packets}、通知 {events}、検知の値 {value}、破棄 {refused}";
    incident_destinations(count, samples) "to           {count}: {samples}" "宛先         {count}: {samples}";
    incident_ports(count, samples) "ports        {count}: {samples}" "ポート       {count}: {samples}";
    incident_lists(lists) "lists        {lists}" "リスト       {lists}";
    incident_action(action) "action       {action}" "対処         {action}";
    incident_blocked(until) "blocked      until {until}" "一時遮断     {until} まで";
    incident_rule(rule, reason) "rule         {rule}, reason {reason}" "規則         {rule}、理由 {reason}";
    incident_revision(number, hash) "revision     {number} ({hash})" "改訂         {number}({hash})";
    incident_evidence(file, packets, sha256) "evidence     {file}, {packets} packets, SHA-256 {sha256}" "証拠         {file}、{packets}パケット、SHA-256 {sha256}";
    incident_evidence_removed() "             the file made room for newer ones; the hash is in the record" "             ファイルは新しい証拠のため削除されました(ハッシュは記録に残っています)";
    incident_closed_by(by, at, reason) "closed       by {by} at {at}: {reason}" "完了         {at} {by}: {reason}";
    incident_quarantine(what) "quarantine   {what}" "隔離         {what}";
    quarantine_done() "in quarantine" "隔離しました";
    quarantine_already() "was in quarantine already" "既に隔離中でした";
    quarantine_refused(why) "NOT in quarantine, a person must decide: {why}" "隔離していません(人の判断が必要): {why}";
    quarantine_held_back(why) "NOT in quarantine, a person must decide; the guard holds detectors back: {why}" "隔離していません(人の判断が必要)。自動隔離の上限に達しました: {why}";
    quarantine_not_done(why) "NOT in quarantine, it is tried again: {why}" "隔離できませんでした(再試行します): {why}";
    at_least(count) "{count} or more" "{count}以上";
    evidence_changed(id) "the packets of incident {id} are not what they were when they were saved: SHA-256 differs from the record. Keep the file as it is and find out who can write there"
        "インシデント {id} のパケットが保存時と異なります(SHA-256が記録と不一致)。ファイルに触れず、書込みできる者を確認してください";
    evidence_none(id) "incident {id} has no packets; its JSON is above" "インシデント {id} にパケットはありません(JSONのみ出力しました)";
    evidence_written(path, bytes, sha256) "{path}: {bytes} bytes, SHA-256 {sha256}" "{path}: {bytes}バイト、SHA-256 {sha256}";
    fault_incidents(why) "incidents could not be read: {why}. The files stay as they are (folder incidents of the state directory): restore them from a copy, or move them away, and restart the agent"
        "インシデントを読み込めません: {why}。状態ディレクトリの incidents はそのまま残しています。控えから戻すか移動し、エージェントを再起動してください";
    fault_incidents_not_kept(why) "incidents or the packets that prove them could not be written: {why}; make room" "インシデントまたは証拠を書き込めません: {why}。空きを作ってください";
    capture_seconds(limit) "a capture lasts 1 to {limit} seconds: --for 30s" "取得の期間は1~{limit}秒で指定してください(--for 30s)";
    capture_reason(code) "`{code}` is no reason; `sekimori_packets_total` in the metrics and `sekimori explain` name them: no_rule, mac_mismatch, blocked, …" "`{code}` という理由はありません。no_rule、mac_mismatch、blocked などを指定してください(メトリクスの sekimori_packets_total や `sekimori explain` に表示されます)";
    capture_net(name, known) "no zone or network is called `{name}`; there are: {known}" "`{name}` という区域・外部網はありません。あるもの: {known}";
    capture_busy(who) "{who} is capturing already, and there is one capture at a time; wait, it ends by itself" "{who} が取得中です。同時に取得できるのは1件です。終わるまでお待ちください";
    capture_over() "the capture is over; begin another" "取得は終了しました。もう一度開始してください";
    capture_failed(why) "nothing can be captured: {why}" "取得できません: {why}";
    capture_no_dataplane(why) "nothing can be captured: {why}. Is a policy in force, and is the agent of this version? `sekimori status`" "取得できません: {why}。方針が適用されているか、エージェントの版を確認してください(`sekimori status`)";
    capture_proto(text) "`{text}` is no protocol; write tcp, udp, icmp, icmpv6 or a number" "`{text}` はプロトコルではありません。tcp、udp、icmp、icmpv6 または番号で指定してください";
    capture_host(text) "`{text}` is not an address" "`{text}` はアドレスではありません";
    capture_done(packets) "{packets} packets" "{packets}パケット";
    capture_file(path, error) "{path}: {error}" "{path}: {error}";
    incidents_since(text) "`{text}` is neither a time like 2026-12-01T09:00:00+09:00 nor a span like 2h" "`{text}` は時刻(2026-12-01T09:00:00+09:00)でも期間(2h)でもありません";
}
