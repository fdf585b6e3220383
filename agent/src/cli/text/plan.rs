//! Texts about planned cut-offs and their notices.

use std::fmt::Display;

use super::Lang;

texts! {
    plan_made(number, objects, period) "plan {number}: {objects} will be cut off by the agent itself: {period}" "計画{number}: {objects} をエージェントが自動で遮断します: {period}";
    plan_overlaps(number, period) "plan {number} cuts some of it off as well: {period}" "計画{number}と重なります: {period}";
    plan_gone(number, objects, period) "plan {number} is taken back: {objects} will not be cut off ({period}). Tell whoever was given notice of it" "計画{number}を取り消しました: {objects} は遮断しません({period})。周知済みの相手に連絡してください";
    plan_put_away(number, objects, period) "plan {number} is put away: {objects} was not cut off ({period})" "計画{number}を片付けました: {objects} は遮断されませんでした({period})";
    plan_line(number, period, objects, by, reason, extra) "  {number}  {period}  {objects}, by {by}: {reason}{extra}" "  {number}  {period}  {objects}、計画者 {by}: {reason}{extra}";
    plan_line_failing(why) " (FAILS, tried again: {why})" "(失敗、再試行中: {why})";
    plan_line_missed(why) " (MISSED: {why})" "(未実行: {why})";
    plan_line_urgent() " (urgent)" "(緊急)";
    plan_none() "nothing is planned" "計画はありません";
    h_plans() "planned" "計画中の遮断";
    plan_at_what(text) "`{text}` is not a time; write 18:00 (the next), 2026-12-05T18:00, '2026-12-05 18:00' or '令和8年12月5日 18時'" "`{text}` は時刻ではありません(曜日の誤りも含みます)。18:00(次のその時刻)、2026-12-05T18:00、'2026-12-05 18:00'、'令和8年12月5日 18時' のように指定してください";
    plan_at_past(text) "`{text}` is over; name a time to come, or cut off at once: sekimori cutoff OBJECT --reason …" "`{text}` は過去の時刻です。これからの時刻を指定するか、今すぐ遮断してください: sekimori cutoff 対象 --reason …";
    plan_clock_behind(behind) "nothing was planned: the clock is {behind} behind a time it showed before, so nobody can say when that would be. Set the clock; if it is right now, `sekimori apply --accept-clock --reason …`; to cut off at once: sekimori cutoff OBJECT --reason …" "計画していません: 時計が以前に示した時刻より{behind}遅れており、実施時刻を決められません。時計を合わせてください。今の時刻が正しい場合は `sekimori apply --accept-clock --reason …`、今すぐ遮断する場合は sekimori cutoff 対象 --reason …";
    plan_at_far(text) "`{text}` is more than ten years ahead" "`{text}` は10年より先です";
    plan_until_what(text) "--until `{text}` is not a time; write 20:00, 2026-12-05T20:00 or '令和8年12月5日 20時'" "--until `{text}` は時刻ではありません。20:00、2026-12-05T20:00、'令和8年12月5日 20時' のように指定してください";
    plan_until_before(text) "--until `{text}` is not after the beginning" "--until `{text}` が開始より後ではありません";
    plan_lasting() "say either --for DURATION (1 s to ten years) or --until TIME, or neither: then it stays cut off until somebody restores it" "--for 期間(1秒~10年)か --until 時刻のどちらか一方を指定してください(どちらもなければ、復旧の操作まで遮断が続きます)";
    plan_too_soon(left, lead) "that is in {left}, and people are promised {lead} (plan_lead_time in the agent's configuration). Nothing was planned. Name a later time, or add --urgent if it cannot wait"
        "開始まで{left}しかありません。事前の周知に必要な期間は{lead}です(エージェントの設定 plan_lead_time)。計画していません。もっと先の時刻を指定するか、待てない場合は --urgent を付けてください";
    plan_full(limit) "at most {limit} plans are kept; take some back with `sekimori cutoff unplan N --reason …`" "計画は最大{limit}件です。`sekimori cutoff unplan 番号 --reason …` で減らしてください";
    plan_failed(objects, why) "{objects}: NOT planned: {why}" "{objects}: 計画できませんでした: {why}";
    unplan_failed(number, why) "plan {number} stands, it could not be taken back: {why}" "計画{number}を取り消せませんでした(計画は有効なままです): {why}";
    plan_unrecorded(why) "planned and on disk, but NOT recorded: {why}" "計画を保存しましたが、記録できませんでした: {why}";
    unplan_unrecorded(why) "taken back, but NOT recorded: {why}" "計画を取り消しましたが、記録できませんでした: {why}";
    plan_absent(number, known) "there is no plan {number}; there are: {known}" "計画{number}はありません。あるもの: {known}";
    plan_first(word) "write `{word}` right after `cutoff`: sekimori cutoff {word} …" "`{word}` は `cutoff` の直後に書いてください: sekimori cutoff {word} …";
    plans_unread(why) "planned cut-offs cannot be read ({why}): NONE is carried out, and none can be made. Restore plans.json in the state directory from a copy, or remove it to give up what it held, and restart the agent"
        "計画中の遮断を読み込めません({why})。どの計画も実行されず、新しい計画も作れません。状態ディレクトリの plans.json を控えから戻すか、内容を諦めて削除し、エージェントを再起動してください";
    plans_not_kept(why) "planned cut-offs could not be written to disk: {why}. After a restart of the agent a plan may be carried out a second time" "計画中の遮断をディスクに書き込めません: {why}。エージェントの再起動後、同じ計画がもう一度実行されるおそれがあります";
    fault_plans_missed(numbers) "planned cut-offs were MISSED: {numbers}. See `sekimori cutoff plans`; cut off or plan anew, then put them away: sekimori cutoff unplan N --reason …"
        "計画した遮断が実行されませんでした: 計画{numbers}。`sekimori cutoff plans` で確認し、遮断または計画し直した後、`sekimori cutoff unplan 番号 --reason …` で片付けてください";
    fault_plan_unproven(number) "planned cut-off {number} was carried out and is NOT proven: `sekimori cutoff verify` says what could not be verified" "計画した遮断 {number} は実行しましたが、確認が取れていません。`sekimori cutoff verify` で確認できない点を調べてください";
    fault_plans_failing(plans) "planned cut-offs FAIL and are tried again: {plans}. Cut off by hand: sekimori cutoff … --reason …" "計画した遮断に失敗し、再試行しています: {plans}。手動で遮断してください: sekimori cutoff … --reason …";

    notice_file_exists(path) "{path} exists already; name another file for the notice. Nothing was planned" "{path} は既にあります。案内文の保存先に別の名前を指定してください。計画していません";
    notice_written(path) "the notice for the people concerned is in {path}; read it over before you send it" "利用者への案内文を {path} に保存しました。内容を確かめてから送ってください";
    notice_unwritten(path, why) "planned, but the notice could not be written to {path}: {why}. It is printed here instead" "計画しましたが、案内文を {path} に保存できません: {why}。代わりに表示します";
    notice_head() "The notice for the people concerned; read it over before you send it:" "利用者への案内文(内容を確かめてから送ってください):";

    period(start, end, place) "{start} to {end}{place}" "{start}から{end}まで{place}";
    period_open(start, place) "{start}, until further notice{place}" "{start}から、復旧を改めてお知らせするまで{place}";
    period_zone(name) " ({name})" "({name})";

    notice_title() "Notice: a stop of the network" "ネットワークの停止について(お知らせ)";
    notice_opening() "We announce the following stop of the network." "次のとおりネットワークを停止しますので、お知らせします。";
    notice_what() "What is stopped" "停止するもの";
    notice_when() "When" "期間";
    notice_lost() "What will not work meanwhile" "停止中にできないこと";
    notice_why() "Why" "理由";
    notice_contact() "Contact" "問い合わせ先";
    notice_network(name) "network {name}" "外部網 {name}";
    notice_line(what, line) "{what} ({line})" "{what}({line})";
    notice_zone(name) "zone {name}" "区域 {name}";
    notice_host(name) "machine {name}" "端末 {name}";
    notice_prefix(prefix) "addresses {prefix}" "アドレス {prefix}";
    notice_all() "everything that passes this gate" "この装置を通るすべての通信";
    notice_lost_net(what) "anything to or from {what}" "{what} との通信";
    notice_lost_address(what) "anything to or from {what} that passes this gate" "{what} がこの装置を通って行う通信";
    notice_lost_all() "any connection between these networks" "ネットワーク間のすべての通信";
    notice_item(text) "- {text}" "・{text}";
    notice_more(count) "- and {count} more" "・ほか{count}件";
    notice_fill_in() "______________" "______________";
    notice_close() "Connections that are open when it begins will break. Save your work and finish before." "停止の開始時に通信中のものは途切れます。作業中のものは、それまでに保存して終了してください。";
}
