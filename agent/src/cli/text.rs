//! Every sentence the command line and the agent's replies show, in both languages, one entry each.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

/// The language of the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    /// Japanese.
    Ja,
    /// English.
    En,
}

impl Lang {
    /// From `LC_ALL`, `LC_MESSAGES`, `LANG` in that order, as gettext does: Japanese if it begins with `ja`.
    pub fn from_environment() -> Self {
        let set = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        let value = set("LC_ALL").or_else(|| set("LC_MESSAGES")).or_else(|| set("LANG"));
        if value.is_some_and(|value| value.starts_with("ja")) { Self::Ja } else { Self::En }
    }

    /// The one of two texts that is read.
    pub fn pick<'a>(self, en: &'a str, ja: &'a str) -> &'a str {
        match self {
            Self::En => en,
            Self::Ja => ja,
        }
    }
}

macro_rules! texts {
    ($( $name:ident ( $($arg:ident),* ) $en:literal $ja:literal; )*) => { $(
        #[doc = $en]
        pub fn $name(lang: Lang $(, $arg: impl Display)*) -> String {
            match lang {
                Lang::En => format!($en $(, $arg = $arg)*),
                Lang::Ja => format!($ja $(, $arg = $arg)*),
            }
        }
    )* };
}

mod cutoff;
mod flows;
mod http;
mod incidents;
mod lists;
mod plan;
mod quarantine;
mod records;

pub use cutoff::*;
pub use flows::*;
pub use http::*;
pub use incidents::*;
pub use lists::*;
pub use plan::*;
pub use quarantine::*;
pub use records::*;

texts! {
    // Roles and requests.
    needs_role(needs, has) "this needs the role {needs}; yours is {has}" "この操作には {needs} の権限が必要です(現在の権限: {has})";
    reason_needed() "say why with --reason" "--reason で理由を入力してください";
    reason_too_long(limit) "a reason has at most {limit} bytes" "理由は{limit}バイト以内で入力してください";
    path_for_root(path) "only root may apply a policy from anywhere but {path}" "{path} 以外の方針を適用できるのは root だけです";
    no_agent(socket) "no agent answers at {socket}; what is enforced stays enforced. Start it with `sekimori agent --config FILE`"
        "エージェントが {socket} で応答しません。適用済みの防御は継続しています。`sekimori agent --config FILE` で起動してください";
    no_agent_cuts(socket) "NOTHING WAS CUT OFF: no agent answers at {socket}. As root, the same command cuts without it, and so does `sekimori-cut`; or pull the cable"
        "何も遮断していません: エージェントが {socket} で応答しません。root で同じコマンドか `sekimori-cut` を実行すればエージェントなしで遮断できます。またはケーブルを抜いてください";
    needs_agent(socket) "this needs a running agent, and none answers at {socket}; start it with `sekimori agent --config FILE`"
        "この操作には稼働中のエージェントが必要ですが、{socket} で応答がありません。`sekimori agent --config FILE` で起動してください";
    management_only_all() "--including-management goes with `all` only in this version" "--including-management はこの版では `all` の場合だけ指定できます";

    // Apply.
    applied(number, hash) "revision {number} ({hash}) is in force" "改訂 {number}({hash})を適用しました";
    apply_numbers(entries, ms, generation) "  {entries} entries staged and verified in {ms} ms, generation {generation}" "  {entries}件を{ms}ミリ秒で配置・検証、世代 {generation}";
    apply_invalid(count) "the policy has {count} error(s); nothing was changed" "方針に{count}件の誤りがあります。何も変更していません";
    apply_tests_failed(count) "{count} of the policy's own tests failed; nothing was changed" "方針に書かれたテストのうち{count}件が失敗しました。何も変更していません";
    apply_read_twice() "the policy files changed while they were read; nothing was changed, apply again" "読込み中に方針ファイルが変更されました。何も変更していません。もう一度適用してください";
    apply_loses_cuts(objects) "the policy was not applied: {objects} is cut off, and the new policy has nothing of that name, so that what is behind it would pass. Restore it first (sekimori restore), or keep its name until then" "方針は適用されていません: {objects} は遮断中ですが、新しい方針にその名前がなく、適用すると通信が通過します。先に復旧する(sekimori restore)か、それまで名前を残してください";
    apply_failed(why) "the policy was not applied, what was in force still is: {why}" "方針は適用されず、以前の状態のままです: {why}";
    attach_failed(why) "the policy is in force, but an interface could not be attached: {why}" "方針は適用されましたが、インターフェースに接続できません: {why}";
    management_lost(path, why) "this policy would shut the administrator out: {path} would be dropped ({why}). Nothing was changed. Permit it in the policy, or say it again with --allow-management-loss"
        "この方針では管理者が接続できなくなります: {path} が破棄されます({why})。何も変更していません。方針で許可するか、--allow-management-loss を付けて再実行してください";
    management_tried(packet, interface, pairs, source) "`{packet}` by {interface}, the first of {pairs} pair(s) of addresses tried from {source}," "{interface} からの `{packet}`({source} から試した{pairs}組のアドレスの最初)";
    management_nobody() "no pair of addresses to try: box.addresses has none of that family, or the source is the box itself" "試せるアドレスの組がありません: box.addresses に同じ種類のアドレスがないか、送信元が本装置自身です";
    clock_behind(seconds) "the clock is {seconds} s behind a time already seen: timed rules stay closed until it catches up. If the present time is right, `sekimori apply --accept-clock --reason …`"
        "時計が既知の時刻より{seconds}秒遅れています。追い付くまで時間指定の規則は閉じたままです。現在の時刻が正しければ `sekimori apply --accept-clock --reason …` を実行してください";

    // Cut-off.
    cut_done(object) "{object} is cut off, from this packet on" "{object} を遮断しました(以後のパケットから)";
    cut_again(object) "{object} was cut off already; the reason is updated" "{object} は既に遮断中です。理由を更新しました";
    restored(object) "{object} is restored" "{object} の遮断を解除しました";
    restore_absent(object, others) "{object} is not cut off; cut off are: {others}" "{object} は遮断されていません。遮断中: {others}";
    others_cut(others) "still cut off: {others}" "引き続き遮断中: {others}";
    nothing() "nothing" "なし";

    // Groups at run time.
    group_unknown(group, names) "the policy in force has no group {group}; it has: {names}" "適用中の方針にグループ {group} はありません。あるもの: {names}";
    group_no_prefix(text) "{text} is neither an address nor a prefix; write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/48" "{text} はアドレスでもプレフィックスでもありません。192.0.2.7、192.0.2.0/24、2001:db8::/48 のように書いてください";
    group_host_bits(text, net) "{text} has bits set behind its length; if the whole prefix is meant, write {net}" "{text} はプレフィックス長より後ろのビットが立っています。全体を指すなら {net} と書いてください";
    group_everything(text) "{text} cannot be changed at run time; write it in the policy and apply that" "{text} は実行時には変更できません。方針に書いて適用してください";
    group_nothing() "name at least one address or prefix" "アドレスまたはプレフィックスを一つ以上指定してください";
    group_absent(prefix, group) "no address of {prefix} is in the group {group} now; nothing was changed. `sekimori group list {group}` shows its members" "{prefix} のアドレスは現在グループ {group} にありません。何も変更していません。`sekimori group list {group}` で確認できます";
    group_management(prefix, group) "{prefix} is where the box is managed from, and {group} is named by a rule to the box; nothing was changed. Change the policy and apply it, which checks that the administrator still gets in" "{prefix} は本装置の管理元で、{group} は本装置宛ての規則で使われています。何も変更していません。方針を変更して適用してください(管理経路が検査されます)";
    group_full(limit) "an instance keeps at most {limit} run-time members; write them into the policy and remove them here" "実行時の変更は最大{limit}件です。方針に書き込み、ここからは削除してください";
    group_failed(group, why) "the group {group} was not changed: {why}" "グループ {group} は変更されませんでした: {why}";
    members_unread(why) "the run-time members of groups cannot be read ({why}): nothing changes until they can. Restore members.json in the state directory from a copy, or remove it to give up what it held, and restart the agent" "実行時のグループ変更を読み込めません({why})。読めるまで何も変更しません。状態ディレクトリの members.json を控えから戻すか、内容を諦めて削除し、エージェントを再起動してください";
    group_open() "the gate is open; `sekimori apply` closes it" "防御は解除中です。`sekimori apply` で再開してください";
    group_not_kept(why) "in force, but not kept: {why}. A restart may undo it; make room and do it again" "反映しましたが、保存できませんでした: {why}。再起動で元に戻ることがあります。空きを作り、もう一度実行してください";
    group_not_taken_back(why, undo) "{why}; and it could not be taken back: {undo}. It is in force and would not survive a restart: apply the policy again" "{why}。また取り消しもできませんでした: {undo}。現在は有効ですが再起動で失われます。方針をもう一度適用してください";
    group_wider(prefix, held) "{prefix} lies in {held} of the policy: the rest of that stays a member" "{prefix} は方針の {held} に含まれます。残りは引き続き有効です";
    group_duration(text) "{text} is not a duration; write 90s, 30m, 8h or 7d" "{text} は期間ではありません。90s、30m、8h、7d のように書いてください";
    group_added(group, prefixes) "added to {group}, from this packet on: {prefixes}" "{group} に追加しました(以後のパケットから): {prefixes}";
    group_removed(group, prefixes) "taken out of {group}, from this packet on: {prefixes}" "{group} から外しました(以後のパケットから): {prefixes}";
    group_until(until) "  until {until}" "  {until} まで";
    group_compiled(ms) "  the policy was compiled anew for it ({ms} ms)" "  このため方針を再構成しました({ms}ミリ秒)";
    group_line(group, policy, added, removed) "{group}  policy {policy}, added {added}, taken out {removed}" "{group}  方針 {policy}、追加 {added}、除外 {removed}";
    group_waits() "  not in the policy in force: has no effect until a policy has it" "  適用中の方針にないため無効です(方針に現れると有効になります)";
    h_members(count, groups) "run-time members: {count} in {groups}" "実行時の変更: {count}件({groups})";
    cut_failed(object, why) "{object} could NOT be cut off: {why}. Pull the cable" "{object} を遮断できません: {why}。ケーブルを抜いてください";
    restore_failed(object, why) "{object} could not be restored: {why}" "{object} の遮断を解除できません: {why}";
    cut_not_in_force(object) "{object} is noted as cut off but NOT in force: the gate is open (detached). `sekimori apply` puts both in force"
        "{object} の遮断を記録しましたが効いていません(防御は取り外されています)。`sekimori apply` で有効になります";
    cut_without_number(object) "{object} is noted as cut off but NOT in force: no tables know this name (is state/registry.json damaged?). `sekimori cutoff all` works without names"
        "{object} の遮断を記録しましたが効いていません(この名前に対応する表がありません。state/registry.json の破損の可能性があります)。`sekimori cutoff all` は名前なしで有効です";
    apply_not_enforcing(why) "the revision is in force, but the perimeter is not closed: {why}" "版は有効になりましたが、境界は閉じていません: {why}";
    cut_past_agent(objects, seconds, left) "{objects}: cut off, by writing the tables past the agent, which did not answer for {seconds} s. NOT PROVEN, and no interface was taken down: `sekimori cutoff verify` as soon as it answers. If it stays silent, restart it (systemctl restart sekimori); the cut stays{left}" "{objects}: エージェントが{seconds}秒応答しないため、表に直接書き込んで遮断しました。確認はできておらず、インターフェースは停止していません。応答し次第 `sekimori cutoff verify` を実行してください。応答しないままなら再起動してください(systemctl restart sekimori)。遮断は維持されます{left}";
    cut_agent_silent(objects, seconds) "{objects}: the agent took the request and did not answer for {seconds} s, and the tables could not be written past it (root, and an address instead of a device's name, are needed for that). NOTHING WAS CUT OFF as far as can be told: use `sekimori-cut --reason … network|zone|host|prefix NAME` as root, or pull the cable; `systemctl restart sekimori` afterwards" "{objects}: エージェントは要求を受け取りましたが{seconds}秒応答せず、表への直接書込みもできません(root権限と、機器名ではなくアドレスの指定が必要です)。何も遮断していない可能性があります。rootで `sekimori-cut --reason … network|zone|host|prefix 名前` を実行するか、ケーブルを抜いてください。その後 `systemctl restart sekimori` を実行してください";
    cut_not_kept(why) "the cut-off is in force, but: {why}" "遮断は有効ですが、次の問題があります: {why}";
    cut_level() "a logical cut in this box; sockets that bypass the queueing layer on the box itself are outside it (see `sekimori status`)"
        "この機器での論理的な遮断です。機器自身の一部のソケットは対象外です(`sekimori status` 参照)";
    cut_hits_management(path) "this cuts the management path's network; {path} stays open" "管理経路のある範囲を遮断しました。{path} は開いたままです";

    // Detach.
    detach_confirm() "this opens the gate: every packet passes unjudged and uncounted, cut-offs included, until the next apply. Say it again with --yes-open-the-gate"
        "防御を取り外すと、次に apply するまで全パケットが判定も計数もされずに通過します(遮断中のものも含む)。実行するには --yes-open-the-gate を付けてください";
    detached() "the gate is OPEN: programs, tables and the nftables guard are removed; `sekimori apply` closes it again" "防御を取り外しました。全パケットが通過します。`sekimori apply` で元に戻ります";
    detach_failed(why) "detaching failed: {why}" "取外しに失敗しました: {why}";

    // Status.
    enforcing() "ENFORCING" "防御中";
    not_enforcing() "NOT ENFORCING" "防御していません";
    why_no_policy() "no policy was ever applied" "方針が一度も適用されていません";
    why_not_loaded(why) "the data plane is not loaded: {why}" "データプレーンが読み込まれていません: {why}";
    why_detached(by, at, reason) "detached by {by} at {at}: {reason}" "{at} に {by} が取り外しました: {reason}";
    why_interface(name, error) "{name}: {error}" "{name}: {error}";
    why_no_interfaces() "no guarded interface exists" "監視対象のインターフェースがありません";
    why_no_guard() "the nftables guard is not up: forwarding by unguarded interfaces is not stopped" "nftables の防護壁がありません。監視対象外インターフェース間の転送は止まりません";
    missing_interface(name) "{name} does not exist now; it is attached when it comes" "{name} は現在存在しません。現れたときに接続します";
    generic_interface(name) "{name} runs in generic mode (slow)" "{name} は汎用モードです(低速)";
    short_timeout(name, is, floor, standard) "timeouts: {name} is {is}; {standard} asks for at least {floor}, and conversations idle for less may be dropped" "timeouts: {name} が {is} です。{standard} の下限 {floor} より短く、正常な通信が途中で切れることがあります";
    tcx_missing() "the way out is not attached" "出口側が接続されていません";
    xdp_missing() "the way in is not attached" "入口側が接続されていません";
    h_agent(state, version) "agent        {state}, version {version}" "エージェント {state}、版 {version}";
    agent_up() "running" "稼働中";
    agent_gone() "not running" "停止中";
    agent_down() "not running (enforcement goes on without it)" "停止中(防御は継続)";
    h_revision(number, hash, at, rules) "revision     {number} ({hash}), applied {at}, {rules} rules" "改訂         {number}({hash})、適用 {at}、規則 {rules}件";
    h_no_revision() "revision     none" "改訂         なし";
    h_policy(path, state) "policy       {path}: {state}" "方針         {path}: {state}";
    file_unknown() "not compared yet" "未確認";
    file_same() "as in force" "適用中の内容と同じ";
    file_changed() "CHANGED since it was applied; takes effect by `sekimori apply`" "適用後に変更あり。`sekimori apply` で有効になります";
    file_invalid() "CHANGED, with errors; see `sekimori check`" "適用後に変更あり、誤りを含む。`sekimori check` で確認してください";
    file_missing() "missing" "見つかりません";
    attached() "attached" "接続済み";
    h_interfaces() "interfaces" "インターフェース";
    h_fast() "fast path (established flows forwarded by the way in)" "高速経路(確立済み通信を入口で転送)";
    h_fast_on(network) "  {network}: on" "  {network}: 有効";
    h_fast_off(network) "  {network}: off" "  {network}: 無効";
    fast_only_in(text) "coming in: {text}" "受信方向: {text}";
    fast_only_out(text) "going out: {text}" "送信方向: {text}";
    fast_configured() "switched off in the agent's configuration (fast_path, fast_path_except)" "エージェントの設定(fast_path、fast_path_except)で無効";
    fast_not_attached() "the interface is missing or not fully attached" "インターフェースがないか、接続が完了していません";
    fast_generic() "XDP runs in generic mode" "XDPが汎用モードです";
    fast_no_redirect() "the driver cannot forward out of XDP" "ドライバーがXDPからの転送に対応していません";
    fast_no_transmit() "the driver does not send what XDP forwards to it (a veth does once its peer has GRO or XDP on)" "ドライバーがXDPから転送されたフレームの送信に対応していません(vethは相手側でGROかXDPを有効にすると対応)";
    fast_nat(rule) "{rule} translates addresses and would be bypassed" "{rule} のアドレス変換を通らなくなるため";
    fast_netfilter(rule) "rules of {rule} would be bypassed" "{rule} の規則を通らなくなるため";
    fast_legacy(table) "the old {table} table is loaded, and its rules cannot be seen here; move them to nftables and unload it" "旧方式の表 {table} が読み込まれており、内容を確認できません。nftables へ移して解除してください";
    fast_tc(what) "{what} would be bypassed" "{what} を通らなくなるため";
    fast_shaping(what) "the queueing discipline {what} would be bypassed" "キュー制御 {what} を通らなくなるため";
    fast_routing_rule(rule) "{rule} routes by more than addresses" "{rule} がアドレス以外の条件で経路を選んでいます";
    fast_ipsec() "IPsec policies would be bypassed" "IPsecのポリシーを通らなくなるため";
    fast_not_forwarding(what) "forwarding is off ({what})" "転送が無効です({what})";
    fast_bridge_stp(bridge) "{bridge} speaks spanning tree" "{bridge} でスパニングツリーが有効です";
    fast_bridge_vlans(bridge) "{bridge} filters VLANs" "{bridge} でVLANフィルタリングが有効です";
    fast_bridge_port(setting) "the bridge port has a setting of its own: {setting}" "ブリッジポートに個別の設定があります: {setting}";
    fast_upper(device) "{device} stands on it" "この上に {device} があります";
    fast_kind(kind) "devices of kind {kind} are not understood" "{kind} 型のデバイスには対応していません";
    fast_unknown(what) "the kernel did not tell: {what}" "カーネルから確認できません: {what}";
    fast_settling() "permitted, but only for seconds so far" "条件は整いましたが、まだ数秒しか経っていません";
    h_guard() "guard (nftables)" "防護壁(nftables)";
    h_guard_line(name, packets, bytes) "  {name}: {packets} packets, {bytes} bytes dropped" "  {name}: 破棄 {packets}パケット {bytes}バイト";
    h_cutoffs() "cut off" "遮断中";
    h_cutoff(object, age, by, reason, extra) "  {object}  since {age}, by {by}: {reason}{extra}" "  {object}  {age}前から、実行者 {by}: {reason}{extra}";
    including_management() " (management path included)" "(管理経路も含む)";
    not_in_force() " (NOT in force: no policy has this name)" "(無効: この名前は方針にありません)";
    h_tables() "tables" "テーブル";
    h_table(table, used, capacity, percent) "  {table}: {used} of {capacity} ({percent}%)" "  {table}: {used} / {capacity}({percent}%)";
    h_permissions() "permissions that ended or end within 30 days" "期限切れ・30日以内に切れる許可";
    h_permission(kind, name, until, state) "  {kind} {name}: {until} {state}" "  {kind} {name}: {until} {state}";
    expired() "ENDED" "期限切れ";
    ends_soon() "ends soon" "まもなく終了";
    kind_rule() "rule" "規則";
    kind_device() "device" "端末";
    kind_exemption() "exemption of" "検知の対象外";
    h_watch_off() "detection    OFF: the policy has no `detection`, attacks by inside machines are not looked for" "検知         無効。方針に detection がないため、内部の端末による攻撃を検知しません";
    h_watch(traps, exemptions, hosts, seconds) "detection    traps {traps}, exemptions {exemptions}, automatic quarantine of at most {hosts} host(s) in {seconds} s" "検知         囮アドレス {traps}件、対象外 {exemptions}件、自動隔離は{seconds}秒間に{hosts}台まで";
    h_watch_zone(zone, counts) "  {zone}: {counts}" "  {zone}: {counts}";
    h_clock_unsynchronised() "clock        not synchronised: times in records are the box's own" "時計         同期していません。記録の時刻は機器の時計によります";
    h_record(last, failures) "records      {last} lines, {failures} could not be written" "記録         {last}行、書込み失敗 {failures}件";
    h_faults() "FAULTS" "障害";
    h_unseen() "outside what this box can see" "この機器では見えないもの";
    unseen_bypass() "raw sockets of the box itself with PACKET_QDISC_BYPASS leave without passing the way out" "機器自身の PACKET_QDISC_BYPASS 付き raw ソケットは出口の判定を通りません";
    unseen_afxdp() "AF_XDP sockets and packets that other BPF programs on the box redirect" "AF_XDP ソケットや他の BPF プログラムが転送するパケット";
    unseen_router(zone) "zone {zone}: behind its inside routers devices are known by address only, their MAC is not visible" "区域 {zone}: 内部ルーター配下の端末はアドレスだけで識別し、MACは見えません";
    unseen_physical() "a cut-off is logical: it stops packets in this box, not on the wire before it" "遮断は論理的なもので、機器の手前の回線上の通信は止めません";

    // Faults.
    fault_cut_unreadable(aside, why) "the cut-off state could not be read ({why}); it is kept as {aside}, and EVERYTHING is cut off until `sekimori restore all`"
        "遮断状態を読み取れません({why})。{aside} に保存し、`sekimori restore all` まで全遮断とします";
    not_shown(error) "the command was carried out, but its answer could not be written: {error}" "コマンドは実行されましたが、結果を出力できません: {error}";
    fault_cut_gone(why) "nobody knows what was cut off ({why}): EVERYTHING is cut off until `sekimori restore all`; `sekimori records` says what was cut last"
        "遮断していたものが分かりません({why})。`sekimori restore all` まで全遮断とします。直前の遮断は `sekimori records` で確認してください";
    fault_record(why) "{why}" "記録に失敗: {why}";
    fault_torn(line) "line {line} of the record was cut short by a crash; it stays as it is" "記録の{line}行目が途中で切れています(異常終了)。そのまま残しています";
    fault_revision(number, why) "revision {number} could not be loaded ({why}): packets are judged by what is still in the kernel, and all dropped where nothing is. Apply a policy" "改訂 {number} を読み込めません({why})。カーネルに残っている方針で判定し、残っていなければ全パケットを破棄します。方針を適用してください";
    fault_first_policy(why) "the policy was not applied at the first start: {why}" "初回起動時に方針を適用できませんでした: {why}";
    fault_attach(why) "attaching failed: {why}" "接続に失敗: {why}";
    marks_taken(ours, rules, what) "mark bits {ours} carry the verdict, but the host's own rules use some of them: {rules}. {what}"
        "判定の受け渡しに使うマークのビット {ours} の一部を、この装置の別の規則が使っています: {rules}。{what}";
    marks_free(shift) "Set `mark_shift: {shift}` in the agent's configuration and restart the agent; those bits are free" "エージェントの設定で `mark_shift: {shift}` とし、再起動してください(そのビットは空いています)";
    marks_none_free(bits) "No mark_shift is free: let those rules use a mask of at most 9 bits at one end (`meta mark & 0xff`, `fwmark 0x1/0xff`); {bits} bits in a row are needed"
        "空いている mark_shift がありません。それらの規則で使うビットを、マスクで一方の端の9ビット以内に収めてください(`meta mark & 0xff`、`fwmark 0x1/0xff` など)。連続した{bits}ビットが必要です";
    fault_fast_except(names) "fast_path_except names what is no interface, zone or network here: {names}" "fast_path_except に、存在しないインターフェース・区域・外部網があります: {names}";
    fault_schedules(why) "schedules could not be refreshed: {why}; timed rules close at their horizon" "時間指定を更新できません: {why}。予定の範囲を過ぎると閉じます";

    // Explain, flows, records, check.
    explain_pass() "PASS" "通過";
    explain_drop() "DROP" "破棄";
    explain_rule(rule) "  rule     {rule}" "  規則     {rule}";
    explain_way(from, to) "  way      {from} -> {to}" "  経路     {from} -> {to}";
    explain_sender(mac, device) "  sender   {mac}, device {device}" "  送信元   {mac}、端末 {device}";
    explain_nearest(rule, failed) "  nearest  {rule}, but for: {failed}" "  最も近い規則  {rule}(不一致: {failed})";
    explain_limited() "  limits   the rule limits conversations; whether there is room now is not looked at" "  制限     この規則には通信数の制限があります(現在の空きは調べていません)";
    not_a_mac(text) "`{text}` is not a MAC address like 02:00:00:00:10:17" "`{text}` はMACアドレスではありません(例 02:00:00:00:10:17)";
    not_an_instant(text) "`{text}` is no time; write 2026-12-01T10:00 or 2026-12-01T10:00:00+09:00" "`{text}` は時刻ではありません(例 2026-12-01T10:00)";
    policy_invalid(path) "{path} has errors; nothing was judged" "{path} に誤りがあります。判定していません";
    flows_head() "interface\tprotocol\tpeer\tfar\trole\tstate\trule\tnetwork\tage" "インターフェース\tプロトコル\t外側\t内側\t役割\t状態\t規則\t外部網・区域\t経過";
    flows_none() "no live conversation" "通信はありません";
    flows_more(shown, total) "{shown} of {total} shown; --limit shows more" "{total}件中{shown}件を表示。--limit で増やせます";
    records_none() "nothing was recorded yet, or nothing of that" "該当する記録はまだありません";
    records_no_line() "there is no such line; `sekimori records list` shows the newest" "その番号の行はありません。`sekimori records list` で最新の行を確認できます";
    record_damaged(line, bytes) "line {line}: DAMAGED ({bytes} bytes)" "{line}行目: 破損({bytes}バイト)";
    check_good(rules, tests) "no errors: {rules} rules, {tests} of the policy's tests passed" "誤りなし: 規則 {rules}件、方針のテスト {tests}件合格";
    routing_not_here() "the policy was not held against routes and addresses: none of its interfaces exists in this network namespace" "経路とアドレスとの照合は行っていません: 方針のインターフェースがこのネットワーク名前空間にありません";
    routing_unread(why) "the policy was not held against routes and addresses: {why}" "経路とアドレスとの照合は行っていません: {why}";
    check_counts(errors, warnings) "{errors} error(s), {warnings} warning(s)" "誤り {errors}件、警告 {warnings}件";
    severity_error() "error" "誤り";
    severity_warning() "warning" "警告";
    test_failed(name, why) "test `{name}`: {why}" "テスト「{name}」: {why}";
    unknown_network(name, known) "no external network is called `{name}`; there are: {known}" "`{name}` という外部網はありません。登録されている外部網: {known}";
    unknown_zone(name, known) "no zone is called `{name}`; there are: {known}" "`{name}` という区域はありません。登録されている区域: {known}";
    unknown_device(name) "no device is called `{name}`; give its address or its MAC instead" "`{name}` という端末は登録されていません。アドレスまたはMACで指定してください";
    perhaps(object) "; perhaps `{object}` is meant" "(`{object}` のことかもしれません)";
    prefix_host_bits(given, network, address) "`{given}` is not a network address: write `{network}` for the network, or `{address}` for that one address" "`{given}` はネットワークアドレスではありません。ネットワーク全体なら `{network}`、その1台なら `{address}` と書いてください";
    no_prefix(text) "`{text}` is not a prefix; write it like 203.0.113.0/24 or 2001:db8::/32" "`{text}` はアドレス範囲ではありません。203.0.113.0/24 や 2001:db8::/32 のように指定してください";
    no_host(text) "`{text}` is not an address, a MAC or a device name; write 192.168.10.17, 02:00:00:00:10:17 or the name in the policy"
        "`{text}` はアドレスでもMACでも端末名でもありません。192.168.10.17、02:00:00:00:10:17 または方針にある名前で指定してください";
    around_ipv4(text) "`{text}` has all of IPv4 in it (::ffff:0:0/96) and no address of IPv6 that a machine uses; name 2000::/3, fc00::/7 or narrower, or use `cutoff all`" "`{text}` は IPv4 全体(::ffff:0:0/96)を含み、端末が使う IPv6 アドレスは含みません。2000::/3 や fc00::/7 など、より狭い範囲を指定するか、`cutoff all` を使用してください";
    no_machine(text) "`{text}` is no machine's: nobody may send from it; name the machine's own address, MAC or device" "`{text}` は端末のアドレスではありません(送信元になりません)。端末自身のアドレス、MAC、機器名を指定してください";
    covers_everything(text) "`{text}` covers every address; use `cutoff all`" "`{text}` は全アドレスを含みます。`cutoff all` を使用してください";
    usage_object(word, meant) "`{word}` is not network, zone, host, prefix or all; write: {meant}" "`{word}` は対象の指定として読めません。次のように書いてください: {meant}";
    usage_object_name(kind) "`{kind}` needs a name behind it" "`{kind}` の後に名前を書いてください";
    failed_at(what) "failed: {what}" "失敗: {what}";
}

/// A span of time in its largest unit.
pub fn age(lang: Lang, seconds: i64) -> String {
    let (value, en, ja) = match seconds.max(0) {
        s @ 0..=119 => (s, "s", "秒"),
        s @ 120..=7_199 => (s / 60, "min", "分"),
        s @ 7_200..=172_799 => (s / 3_600, "h", "時間"),
        s => (s / 86_400, "d", "日"),
    };
    match lang {
        Lang::En => format!("{value} {en}"),
        Lang::Ja => format!("{value}{ja}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_languages_say_different_things_about_the_same() {
        assert!(cut_done(Lang::En, "network internet").contains("network internet is cut off"));
        assert!(cut_done(Lang::Ja, "network internet").starts_with("network internet を遮断"));
        assert_eq!(age(Lang::Ja, 7_300), "2時間");
        assert_eq!(age(Lang::En, 59), "59 s");
    }
}
