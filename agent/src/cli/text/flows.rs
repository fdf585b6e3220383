//! Texts about flow records.

use std::fmt::Display;

use super::Lang;

texts! {
    flow_head() "time\tfor\tverdict\tprotocol\thost\tdevice\tpeer\tway\trule or reason\t" "時刻\t長さ\t判定\tプロトコル\tホスト\t端末\t相手\t経路\t規則・理由\t";
    flow_none() "nothing of this is recorded" "該当する記録はありません";
    flow_more(shown) "the newest {shown} are shown; --limit shows more, --since and --until other times" "新しい順に{shown}件を表示。--limit で増やし、--since・--until で期間を指定できます";
    flow_open() "still open" "継続中";
    flow_unanswered() "no answer" "応答なし";
    flow_contacts_head() "host\tdevice\t\tlisted\tanswered\trefused packets\tfirst\tlast\tservices\trules, reasons" "ホスト\t端末\t\tリストのアドレス\t応答/通信\t破棄パケット\t最初\t最後\tサービス\t規則・理由";
    flow_nobody(oldest) "NOBODY: no recorded conversation or refused packet has any of these addresses. Records reach back to {oldest}" "該当なし: これらのアドレスとの通信も破棄も記録されていません。記録は {oldest} 以降です";
    flow_since(oldest) "records reach back to {oldest}" "記録は {oldest} 以降です";
    flow_unreadable(folder, why) "flow records in {folder} cannot be read: {why}" "{folder} の通信記録を読み込めません: {why}";
    flow_damaged(blocks) "{blocks} block(s) of the records are damaged and were skipped: what they held is missing here." "通信記録の{blocks}ブロックが破損しているため読み飛ばしました。その分は結果に含まれません。";
    flow_late(seconds) "The search was stopped after {seconds} s, with older records not looked at: narrow it with --since and --until." "{seconds}秒で検索を打ち切りました。それより古い記録は調べていません。--since・--until で期間を絞ってください。";
    flow_crowded() "There are more pairs of hosts than one answer holds: narrow the list or the time." "該当する組が多すぎて一部しか示せません。リストまたは期間を絞ってください。";
    flow_proto(name) "`{name}` is no protocol; write tcp, udp, icmp, icmpv6 or a number up to 255" "`{name}` というプロトコルはありません。tcp、udp、icmp、icmpv6 または255以下の番号で指定してください";
    flow_time(text) "`{text}` is no time; write 24h (ago), 2026-12-01, 2026-12-01T09:00 or 2026-12-01T09:00:00+09:00" "`{text}` は時刻ではありません。24h(24時間前)、2026-12-01、2026-12-01T09:00、2026-12-01T09:00:00+09:00 のように書いてください";
    flow_host(text) "`{text}` is no address, no prefix and no name of a device" "`{text}` はアドレスでもアドレス範囲でも端末名でもありません";
    flow_list(word, why) "`{word}` is neither an address nor a prefix, and cannot be read as a file: {why}" "`{word}` はアドレスでもアドレス範囲でもなく、ファイルとしても読み込めません: {why}";
    flow_list_empty(file) "{file} holds no address and no prefix; one a line is expected" "{file} にアドレスもアドレス範囲もありません。1行に1件書いてください";
    flow_list_long(most) "a back-check takes at most {most} addresses and prefixes" "一度に確認できるのは{most}件までです";
    flow_skipped(file, lines, first) "{file}: {lines} line(s) hold no address and were skipped, line {first} first" "{file}: {lines}行はアドレスでないため読み飛ばしました(最初は{first}行目)";
    fault_flow_records(why) "flow records are not kept: {why}" "通信記録を保存できません: {why}";
}
