//! Texts about cutting off and restoring.

use std::fmt::Display;

use super::Lang;

texts! {
    nothing_cut() "NOTHING WAS CUT OFF by this command" "このコマンドでは何も遮断していません";
    and_nothing_cut(why) "{why}. NOTHING WAS CUT OFF by this command" "{why}。このコマンドでは何も遮断していません";
    and_perhaps_cut(why) "{why}. It may be cut off all the same; look at `sekimori cutoff list`" "{why}。それでも遮断された可能性があります。`sekimori cutoff list` で確認してください";
    and_quotes(why, reason) "{why}; if it belongs to the reason, quote the whole of it: --reason \"{reason} …\"" "{why}。理由の続きなら、理由全体を引用符で囲んでください: --reason \"{reason} …\"";
    cut_how_many(limit) "name one to {limit} objects" "対象を1~{limit}件指定してください";
    cut_link_of_what(object) "--level link takes interfaces down, and {object} is not behind one of its own; cut its network or zone at this level, or {object} at level flush"
        "--level link はインターフェースを停止します。{object} には専用のインターフェースがありません。外部網・区域をこのレベルで遮断するか、{object} を flush で遮断してください";
    cut_until_past(text) "`{text}` is over; name a time to come" "`{text}` は過去の時刻です。これからの時刻を指定してください";
    cut_until_what(text) "`{text}` is not a time; write 17:30, 2026-12-01T17:30 or 2026-12-01T17:30:00+09:00" "`{text}` は時刻ではありません。17:30、2026-12-01T17:30、2026-12-01T17:30:00+09:00 のように指定してください";
    cut_until_tomorrow(text) "{text} of today is over: the cut ends tomorrow at that time" "本日の {text} は過ぎているため、明日のその時刻に復旧します";
    cut_started_what(text) "--started `{text}` is no time of the last 12 hours; write 13:05 or 2026-12-01T13:05. No drill was done" "--started `{text}` は過去12時間以内の時刻ではありません。13:05 または 2026-12-01T13:05 のように指定してください。訓練は行っていません";
    cut_lasting() "say either --for DURATION (1 s to ten years) or --until TIME" "--for 期間(1秒~10年)か --until 時刻のどちらか一方を指定してください";
    cut_duration(text) "`{text}` is not a duration; write 90s, 30m, 8h or 7d" "`{text}` は期間ではありません。30m、8h、7d、2時間 のように指定してください";
    cut_endless(objects, why) "{objects}: cut off WITHOUT an end: {why}. Say the end by cutting off anew after a restore, or restore by hand" "{objects}: 期限なしで遮断しました: {why}。手動で復旧するか、復旧してから期限付きで遮断し直してください";
    cut_part_past_agent(said, left) "{said}. NOT cut off: {left}, which only the agent or its policy can tell; cut its addresses, its MAC, or `all`" "{said}。遮断していないもの: {left}(エージェントか方針がないと特定できません。アドレス、MAC、または `all` で遮断してください)";
    cut_disk_silent(seconds) "CUT OFF: it is in the tables, and packets are dropped. The disk has not answered for {seconds} s: this command waits to leave its note there and can be ended (Ctrl-C); write down who, when and why" "遮断しました: 表へ書き込み済みで、パケットは破棄されています。ディスクが{seconds}秒応答しないため引継ぎを待っています(Ctrl-C で終了可)。実施者・時刻・理由を控えてください";
    cut_strangers(whys, objects) "NOT everything that was named is cut off: {whys}. Cut off: {objects}" "指定の一部は遮断していません: {whys}。遮断したもの: {objects}";
    cut_without_agent() "no agent runs: this command wrote the pinned tables itself; the agent takes the cut over when it is back, and only then does an end (--for, --until) restore by itself" "エージェントが停止中のため、この命令が表へ直接書き込みました。エージェントは復帰時に遮断を引き継ぎます。期限(--for、--until)による自動復旧もそれまで働きません";
    cut_management_open(interface, sources, port) "the management path stays open: {interface}, from {sources}, port {port}; only `all --including-management` closes it" "管理経路は開いたままです: {interface}、送信元 {sources}、ポート {port}(閉じるには `all --including-management`)";
    cut_nothing() "nothing is cut off" "遮断中のものはありません";
    cut_flushed() "its conversations are forgotten: after a restore each has to begin anew" "通信の記憶を消去しました。復旧後は各通信を最初からやり直す必要があります";
    cut_address_only(object) "{object}: this address alone is cut off; no device is registered for it, and the machine may have others (IPv6!): cut its MAC off as well (ip neigh shows it)" "{object}: このアドレスだけを遮断しました。登録された機器がないため、ほかのアドレス(IPv6など)を持つ可能性があります。MACアドレスも遮断してください(ip neigh で確認できます)";
    cut_flush_by_mac(object) "{object} is known by its MAC alone: which conversations are its own is not known, none was forgotten" "{object} はMACしか分からないため、該当する通信を特定できず、記憶は消去していません";
    cut_level_link() "interfaces are to be administratively down as well (whether they are is said above); the cables are still in. With an interface its static routes and IPv6 addresses go: they must be put back after the restore (netplan apply, ifup, systemctl restart systemd-networkd)" "インターフェースも停止の対象です(実際の状態は上記)。ケーブルは挿さったままです。停止したインターフェースの静的経路と IPv6 アドレスは消えるため、復旧後に戻してください(netplan apply、ifup、systemctl restart systemd-networkd)";
    cut_link_management(interface) "{interface} carries the management path and stays up; with `all --including-management` it goes down too" "{interface} は管理経路のため停止しません。`all --including-management` で停止します";
    cut_link_shared(interface, other) "{interface} stays up: {other}, which is not cut off, is on it too" "{interface} は停止しません: 遮断していない {other} も利用しています";
    cut_link_failed(interface, why) "{interface} could NOT be taken down: {why}. Pull the cable" "{interface} を停止できません: {why}。ケーブルを抜いてください";
    restore_link_failed(interface, why) "{interface} could not be brought up: {why}; try `ip link set {interface} up`" "{interface} を起動できません: {why}。`ip link set {interface} up` を試してください";
    cable_head() "To separate physically, two people (the software cannot see the cable):" "物理的に切り離すには、二人で次を行ってください(ケーブルの状態はソフトウェアでは確認できません):";
    cable_line(interface) "  [ ] cable of {interface} pulled at ______ (time)" "  [ ] {interface} のケーブルを抜いた  時刻: ______";
    cable_stays(interface) "  [-] cable of {interface} STAYS IN: it carries the management path, or something that is not cut off" "  [-] {interface} のケーブルは抜かないでください(管理経路、または遮断していないものが利用しています)";
    cable_signed() "  done by: ______________   checked by: ______________" "  実施者: ______________   確認者: ______________";
    cut_until(until) "  until {until}, then restored by itself" "  {until} に自動で復旧";
    cut_forgotten(count) "  {count} conversation(s) forgotten" "  {count}件の通信の記憶を消去";
    cut_links_down(names) "  down: {names}" "  停止: {names}";
    restored_links(names) "  up again: {names}; the kernel took their static routes and IPv6 addresses when they went down: look at `ip route` and `ip -6 address`, and put them back (netplan apply, ifup, systemctl restart systemd-networkd)" "  起動: {names}。停止時に静的経路と IPv6 アドレスが消えています。`ip route` と `ip -6 address` を確認し、戻してください(netplan apply、ifup、systemctl restart systemd-networkd)";
    cut_drilled_while_cut(object) "DRILL: {object} IS cut off, since before this drill, which changed nothing; every step but the last was done" "訓練: {object} は訓練の前から遮断中で、そのままです。最後の一手以外をすべて行いました";
    cut_drilled(object) "DRILL: {object} was NOT cut off; every step but the last was done" "訓練: {object} は遮断していません。最後の一手以外をすべて行いました";
    drill_step(step, ms) "  {step}: ready, {ms} ms" "  {step}: 準備完了、{ms}ミリ秒";
    drill_step_bad(step, problem) "  {step}: would NOT have worked: {problem}" "  {step}: 実行できません: {problem}";
    drill_people(minutes, seconds) "  the people took {minutes} min {seconds} s, from the start that was named to this command" "  担当者の所要時間(開始からこのコマンドまで): {minutes}分{seconds}秒";
    drill_conversations(object, count) "  {object}: {count} conversation(s) would have been cut" "  {object}: {count}件の通信が遮断されるはずでした";
    cut_others(objects) "cut off as well: {objects}" "ほかに遮断中: {objects}";
    cut_list_refused(packets, bytes) "    refused since: {packets} packets, {bytes} bytes" "    以後に破棄: {packets}パケット、{bytes}バイト";
    cut_list_level(level) " [{level}]" " [{level}]";
    cut_list_until(until) " (until {until})" "({until} まで)";

    proof_head() "PROVEN: nothing passes" "確認済み: 何も通過していません";
    proof_head_but_management() "PROVEN: nothing passes but the management path, which stays open" "確認済み: 管理経路(開いたまま)のほかは何も通過していません";
    proof_not() "NOT PROVEN; look at this:" "確認できません。次を調べてください:";
    proof_switched(at, us) "  switched at {at}, {us} us after the request came in" "  切替え時刻 {at}(要求の到着から{us}マイクロ秒)";
    proof_settled(ms) "  {ms} ms later no processor was still at a packet of before" "  {ms}ミリ秒後、切替え前のパケットを処理中のCPUなし";
    proof_counters(object, ms) "  {object}: the counters of what passes stood still for {ms} ms" "  {object}: 通過カウンターは{ms}ミリ秒間変化なし";
    proof_refused(object, packets, bytes) "  {object}: {packets} packets ({bytes} bytes) refused since the cut" "  {object}: 遮断後に{packets}パケット({bytes}バイト)を破棄";
    proof_conversations(object, count) "  {object}: {count} conversation(s) were open and are cut" "  {object}: {count}件の通信を遮断";
    proof_probes(object, dropped, probes) "  {object}: {dropped} of {probes} test packets given to the programs in force were dropped" "  {object}: 稼働中のプログラムに渡した試験パケット{probes}件のうち{dropped}件を破棄";
    proof_interfaces(object, names) "  {object}: judged at {names}" "  {object}: 判定位置 {names}";
    proof_absent(name) "{name} (not there)" "{name}(存在しない)";
    proof_down(name) "{name} (down)" "{name}(停止)";
    proof_unsettled(why) "whether every processor is done with packets of before: the kernel would not say ({why})" "切替え前のパケットの処理完了を確認できません(カーネルの応答: {why})";
    proof_no_counters() "the counters cannot be read" "カウンターを読み込めません";
    proof_not_in_tables(object) "{object} is not in the tables of the data plane" "{object} がデータプレーンの表にありません";
    proof_passed(object, count) "{object}: {count} packet(s) were counted as passing after the cut" "{object}: 遮断後に{count}パケットの通過を計数しました";
    proof_probe_passed(object, count) "{object}: {count} test packet(s) were let through" "{object}: {count}件の試験パケットが通過しました";
    proof_no_probe(object) "{object}: no interface is there to try a packet at" "{object}: 試験パケットを渡せるインターフェースがありません";
    proof_unguarded(object, name) "{object}: the programs are not attached to {name}" "{object}: {name} にプログラムが接続されていません";
    proof_no_policy() "no policy is in force, so no program looks at any packet: nothing is stopped. `sekimori status` says why; pull the cable, or take the interface down (ip link set NAME down)" "有効な方針がなく、どのパケットも判定されていません。何も止まっていません。理由は `sekimori status` で確認し、ケーブルを抜くか、インターフェースを停止してください(ip link set NAME down)";
    proof_strangers(object, absent, names) "{object}: {absent} is not there, but {names} is up and in no policy: if that is where its cable is now, nothing is judged there. Give it its name back, or take it down (ip link set NAME down)" "{object}: {absent} がありません。一方、方針にない {names} が起動しています。ケーブルがそこに接続されている場合、通信は判定されません。名前を戻すか、停止してください(ip link set NAME down)";
    proof_link_up(object, name) "{object}: {name} is up" "{object}: {name} が起動しています";

    restore_two_people() "the policy demands a second person: a restore only asks, and somebody else confirms it with `sekimori restore confirm`" "方針により二人目の確認が必要です。復旧コマンドは申請となり、別の人が `sekimori restore confirm` で確認します";
    restore_waiting(objects, id, expires) "{objects}: NOT restored yet, waiting for a second person until {expires}; from another account: `sekimori restore confirm {id}`" "{objects}: まだ復旧していません。{expires} まで二人目の確認を待ちます。別のアカウントで実行してください: `sekimori restore confirm {id}`";
    request_failed(objects, why) "the restoration of {objects} could not be asked for, nothing was lifted: {why}" "{objects} の復旧を申請できません(何も解除していません): {why}";
    request_full(limit) "{limit} restorations wait for a second person already; `sekimori cutoff list` shows them, and they end by themselves" "確認待ちの復旧が既に{limit}件あります。`sekimori cutoff list` で確認できます(期限で自動的に消えます)";
    confirm_absent(id, waiting) "no restoration waits as {id}: its time is over, or what it was about was lifted or cut off again. Waiting: {waiting}. Ask again with `sekimori restore`" "{id} で待っている復旧はありません(期限切れ、または対象が復旧・再遮断されました)。確認待ち: {waiting}。`sekimori restore` でもう一度申請してください";
    confirm_same_person(id, name) "{name} asked for restoration {id} and cannot confirm it: a second person has to, from another account, token or certificate. Nothing was lifted" "復旧 {id} は {name} の申請です。同じアカウントでは確認できません。別の人が別のアカウント・トークン・証明書で確認してください。何も解除していません";
    confirm_alone() "--dry-run and --first go with the objects, not with `confirm`" "--dry-run と --first は `confirm` ではなく対象と一緒に指定してください";
    restored_first(object, first) "{object}: only {first} passes again, the rest stays cut off" "{object}: {first} だけが通信可能です。その他は遮断中のままです";
    restore_opens_first(object, first) "  {object}: {first} passes again as the policy says, nothing else does" "  {object}: {first} は方針どおり通信可能になります。その他は遮断のままです";
    stage_other(objects, first) "{objects} is being restored in stages already (for {first}), and there is one list for all: restore it whole first, or name it as well" "{objects} は段階的に復旧中です({first})。段階復旧の一覧は全体で一つです。先に完全に復旧するか、併せて指定してください";
    first_word(word) "`{word}` is neither host:ADDR|MAC|DEVICE nor service:NAME" "`{word}` は host:アドレス|MAC|端末名 でも service:サービス名 でもありません";
    first_host(name) "no host {name}: name an address, a MAC or a device of the policy in force" "ホスト {name} はありません。アドレス、MAC、または適用中の方針の端末名を指定してください";
    first_service(name) "no service {name}: name one that rules can name (https, tcp/8443, one of the policy's own)" "サービス {name} はありません。規則で使えるもの(https、tcp/8443、方針で定義したもの)を指定してください";
    first_full(limit) "at most {limit} protocols and port ranges can be restored first; name fewer services" "先に復旧できるプロトコル・ポート範囲は{limit}件までです。サービスを減らしてください";
    cut_list_first(first) " (restored in stages: {first} passes)" "(段階復旧中: {first} のみ通信可)";
    proof_staged(object, first) "{object} is restored in stages: {first} passes, so that counters and test packets prove nothing; what is in the tables was compared" "{object} は段階的に復旧中です。{first} が通信するため、カウンターと試験パケットでは確認できません(表の内容は照合しました)";
    usage_confirm() "write `sekimori restore confirm NUMBER`; `sekimori cutoff list` shows the numbers" "`sekimori restore confirm 番号` と指定してください。番号は `sekimori cutoff list` で確認できます";
    cut_list_waiting(name, reason, id, expires) "    restore asked for by {name} ({reason}), waiting for a second person until {expires}: `sekimori restore confirm {id}`" "    復旧の申請: {name}({reason})、{expires} まで二人目の確認待ち: `sekimori restore confirm {id}`";
    cut_list_asked(name, id) " (restore asked for by {name}, request {id})" "({name} が復旧を申請中、番号 {id})";

    restore_dry() "nothing was lifted; this is what a restore would do:" "何も解除していません。復旧すると次のようになります:";
    restore_opens(object, count) "  {object} passes again as the policy says; {count} conversation(s) may resume" "  {object} は方針どおり通信可能になります。{count}件の通信が再開できます";
    restore_opens_net(object, count, rules, views) "  {object} passes again by {count} rule(s): {rules}; {views} conversation(s) may resume" "  {object} は{count}件の規則で通信可能になります: {rules}。{views}件の通信が再開できます";
    restore_still_within(object, other) "  {object} stays shut: {other} is still cut off and covers it, or names the same machine" "  {object} は開きません: これを含む、または同じ端末を指す {other} が遮断中です";
    restore_absent_all() "; everything is cut off, which `sekimori restore all` ends" "。全体を遮断中です(`sekimori restore all` で復旧します)";
    restore_still_all(object) "  {object} stays shut: everything is cut off" "  {object} は全遮断中のため開きません";
}
