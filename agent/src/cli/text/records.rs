//! Texts about the record.

use std::fmt::Display;

use super::Lang;

texts! {
    records_action(name) "`{name}` is no action of the record; see the third column of `sekimori records`" "`{name}` という操作は記録にありません。`sekimori records` の3列目を参照してください";
    records_unsure() "(a ? behind a time: the clock of the box was not synchronised then)" "(時刻の後の ? は、当時この装置の時計が同期していなかったことを示します)";
    records_whole(lines, first, last) "WHOLE: {lines} lines from {first} to {last}, numbered without a gap, each vouched for by the one after it" "完全です: {first} から {last} までの{lines}行。番号の欠落がなく、各行が次の行で裏付けられています";
    records_unchained(lines) "  the first {lines} are from a version that did not chain lines: nothing vouches for them one by one" "  最初の{lines}行は行の連鎖がない版の記録のため、個別には裏付けられません";
    records_head(number, hash) "  last line {number}, SHA-256 {hash}: written down on paper, it vouches for all" "  最終行 {number}、SHA-256 {hash}: 紙に控えておくと全体の証拠になります";
    records_broken(lines) "NOT WHOLE: {lines} lines, and something is wrong:" "完全ではありません: {lines}行、次の問題があります:";
    records_problem(line, what) "  line {line}: {what}" "  {line}行目: {what}";
    records_unreadable() "not a line of a record, and no crash explains it" "記録の行ではなく、異常終了でも説明できません";
    records_number(expected, found) "has number {found} where {expected} comes: lines are missing, or were put in" "番号が {found} です({expected} のはず)。行の欠落または挿入があります";
    records_changed(line) "line {line} is not what it was when this one was written" "{line}行目がこの行の記録時と異なります";
    records_not_chained() "says nothing of the line before it, though lines before do" "前の行を裏付ける値がありません";
    records_end(number) "the end: line {number} was written and is not there, or was changed" "末尾: 記録された{number}番の行がないか、変更されています";
    records_head_unreadable() "records.head.json cannot be read: whether lines are missing at the end is not known" "records.head.json を読み込めないため、末尾の欠落を確認できません";
    records_head_gone() "the end: records.head.json is gone, and lines may be gone with it" "末尾: records.head.json がありません。行も失われている可能性があります";
    records_said() "says that lines before it were gone or changed when it was written" "この行の記録時に、前の行の欠落または変更が見つかっています";
    fault_record_damaged(lines) "the record is not whole at line(s) {lines}: somebody changed it, or the file system did; `sekimori records verify` says what" "記録の{lines}行目が完全ではありません(改変またはファイルシステムの障害)。`sekimori records verify` で確認してください";
    records_what_now() "Keep the files as they are (copy the state directory), compare them with a backup or a printed hash, and find out who can write there" "ファイルに触れず(状態ディレクトリを複写)、控えや紙に記したハッシュと照合し、書込みできる者を確認してください";
}
