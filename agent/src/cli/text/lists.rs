//! Texts about lists that others keep.

use std::fmt::Display;

use super::Lang;

texts! {
    // Why a delivery is refused.
    list_unreadable(file, why) "{file} cannot be read: {why}. Deliver it again" "{file} を読み取れません: {why}。配置し直してください";
    list_outside(file) "{file} leads out of the policy folder. Deliver the list into that folder, or mount its own there" "{file} は方針フォルダーの外を指しています。フォルダーの中に置くか、マウントしてください";
    list_no_files(folder) "{folder} holds no list file (names that begin with a dot or end in ~, .new, .part, .tmp do not count)" "{folder} にリストのファイルがありません(「.」で始まる名前と ~、.new、.part、.tmp で終わる名前は対象外です)";
    list_foreign(file, what) "{file} is {what}" "{file} は{what}";
    list_html() "an HTML page, not a list: look at how it is downloaded, most likely the server answered with an error or asks for a login" "リストではなくHTMLページです。取得方法を確認してください(サーバーのエラー画面やログイン画面と思われます)";
    list_packed() "packed: unpack it before it is delivered" "圧縮されたファイルです。展開してから置いてください";
    list_utf16() "UTF-16 text: deliver it as UTF-8" "UTF-16の文字列です。UTF-8で置いてください";
    list_json_array() "one JSON document: only JSON lines, one object a line, are read (`jq -c '.[]'` makes them)" "1つのJSON文書です。1行1件のJSON lines だけを読み取れます(`jq -c '.[]'` で変換できます)";
    list_too_large(file, limit) "{file} is too large: the limit is {limit}" "{file} は大きすぎます(上限 {limit})";
    list_limit_lines(lines) "{lines} lines" "{lines}行";
    list_limit_entries(entries) "{entries} prefixes a list" "1リスト{entries}件";
    list_limit_files(files) "{files} files a folder" "1フォルダー{files}ファイル";
    list_limit_together(entries) "{entries} prefixes in all lists together" "全リスト合計{entries}件";
    list_too_slow(file, seconds) "{file} could not be read within {seconds} s: look at the disk" "{file} を{seconds}秒以内に読み取れませんでした。ディスクを確認してください";
    list_changing(file) "{file} was written to while it was read. Download beside it and rename; it is read again in a moment" "{file} は読込み中に書き換えられました。別名で取得してから名前を変更してください。まもなく再度読み込みます";
    list_cut_short(file, promised, found) "{file} says that it has {promised} entries, and has {found}: the download was cut short. Deliver it again" "{file} は{promised}件と記載されていますが{found}件しかありません。取得が途中で切れています。配置し直してください";
    list_bad_lines(bad, lines, limit, first) "{bad} of {lines} lines cannot be read, more than {limit} %; the first is {first}. Look at the file, or name its `format`" "{lines}行のうち{bad}行を読み取れません({limit}%超)。最初は {first} です。ファイルを確認するか format を指定してください";
    list_empty() "no address is on it. An empty list is taken for a failed delivery; take the list out of the policy if it is not wanted" "アドレスが1つもありません。空のリストは配信の失敗とみなします。不要であれば方針から削除してください";
    list_only_names(names) "no address is on it: its {names} lines give names only, and nothing resolves them. Use a list of addresses" "アドレスがありません。{names}行すべてが名前です(名前解決は行いません)。アドレスのリストを使用してください";
    list_everything(at, text) "{at}: `{text}` is every address" "{at}: 「{text}」は全アドレスです";
    list_half() "together its lines are half of all addresses or more" "全体で全アドレスの半分以上になります";
    list_covers(prefix, owner, owned, at) "it holds {prefix}{at}, which touches {owned} of {owner}. If that is right, let the policy leave it out of the list (`except`)" "{prefix}{at} が含まれており、{owner}の {owned} に掛かります。問題なければ方針の except でリストから除外してください";
    list_at(at) " ({at})" "({at})";
    list_owner_zone(zone) "the inside zone {zone}" "区域「{zone}」";
    list_owner_box() "this box itself" "本装置";
    list_owner_management(interface) "the management path at {interface}" "管理経路({interface})";
    list_shrunk(from, to) "{to} prefixes are left of {from}: half of it or more is gone. If that is right: sekimori lists reload NAME --accept-shrunk --reason \"...\"" "{from}件から{to}件に減りました(半減以上)。問題なければ sekimori lists reload 名前 --accept-shrunk --reason \"…\" を実行してください";

    // What becomes of a list.
    list_refused(list, why) "list {list}: refused: {why}" "リスト {list}: 採用しません: {why}";
    list_kept(list, why) "list {list}: what is on disk is refused, the last good delivery is used: {why}" "リスト {list}: 現在のファイルは採用せず、最後に正常だった内容を使用中です: {why}";
    list_none(list, why) "list {list}: nothing of it is used, because no delivery was good so far: {why}" "リスト {list}: 正常な配信がまだないため、何も使用していません: {why}";
    list_expired(list, at, source) "list {list}: what is used is out of date since {at}; it is used all the same. See why nothing new is delivered from {source}" "リスト {list}: {at} に期限が切れています(引き続き使用中)。{source} から新しい内容が届かない理由を確認してください";
    list_unkept(list, why) "list {list}: the last good delivery is not on disk: {why}" "リスト {list}: 最後に正常だった内容をディスクに保持できていません: {why}";
    list_unknown(list, known) "the policy in force has no threat list {list}; it has: {known}" "適用中の方針に脅威リスト {list} はありません。あるもの: {known}";
    list_not_reloaded(why) "the lists were not read again: {why}" "リストを再読込みできません: {why}";

    // For people.
    lists_none() "the policy in force names no threat list" "適用中の方針に脅威リストはありません";
    lists_head() "list\tstate\tprefixes\tage\tfresh until\tformat\tsource" "リスト\t状態\t件数\t経過\t有効期限\t形式\t入手元";
    list_used() "used" "使用中";
    list_old() "REFUSED, last good one used" "不採用(旧内容を使用中)";
    list_nothing() "NOTHING USED" "使用なし";
    list_is_expired() ", OUT OF DATE" "、期限切れ";
    list_names(list, names) "  {list}: {names} line(s) give names only; nothing resolves them" "  {list}: {names}行は名前だけのため効果がありません(名前解決は行いません)";
    list_bad(list, bad) "  {list}: {bad} line(s) could not be read and are left out; `sekimori lists check FILE` shows them" "  {list}: {bad}行を読み取れず除外しています。`sekimori lists check ファイル` で確認できます";
    list_why(why) "  ! {why}" "  ! {why}";
    list_taken(names) "read again and in use: {names}" "再読込みして使用中: {names}";
    list_check_taken(file, prefixes, entries, format) "{file}: would be taken: {prefixes} prefixes from {entries} lines ({format})" "{file}: 採用できます: {entries}行から{prefixes}件({format})";
    list_check_refused(file, why) "{file}: would be REFUSED: {why}" "{file}: 採用されません: {why}";
    list_check_names(names) "  {names} line(s) give names only: nothing resolves them" "  {names}行は名前だけです(名前解決は行いません)";
    list_check_more(shown, bad) "  {shown} of {bad} bad lines shown" "  読み取れない{bad}行のうち{shown}行を表示しています";
    list_check_alone(why) "zones, the box and the management path were not compared: {why}" "区域・本装置・管理経路との照合は行っていません: {why}";
    list_no_format(word) "`{word}` is no format; there are auto, plain, netset, drop, drop-json, abuse-csv, hosts" "`{word}` という形式はありません。auto、plain、netset、drop、drop-json、abuse-csv、hosts から指定してください";
    h_lists() "threat lists" "脅威リスト";
    h_list(list, state, prefixes, age) "  {list}: {state}, {prefixes} prefixes, {age} old" "  {list}: {state}、{prefixes}件、{age}経過";
}
