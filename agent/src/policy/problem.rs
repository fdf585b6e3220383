//! Everything a policy can be told it does wrong: one table of stable codes with their texts in both
//! languages. Codes are never reused; a problem that retires keeps its code.

/// Error or warning.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy is refused.
    Error,
    /// The policy may be applied; somebody should look.
    Warning,
}

macro_rules! problems {
    ($( $code:literal $name:ident $({ $($field:ident),* })? $en:literal $ja:literal; )*) => {
        /// See the module documentation. Fields are the words the texts quote.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Problem { $( #[doc = $en] $name $({ $(#[doc = "Quoted in the text."] $field: String),* })?, )* }

        /// Every code with its two texts (placeholders unfilled), in order of the table.
        pub const CATALOGUE: &[(&str, &str, &str)] = &[ $( ($code, $en, $ja), )* ];

        impl Problem {
            /// The stable code: `E…` for errors, `W…` for warnings.
            pub const fn code(&self) -> &'static str {
                match self { $( Self::$name $({ $($field: _),* })? => $code, )* }
            }
            /// The sentence in English.
            pub fn en(&self) -> String {
                match self { $( Self::$name $({ $($field),* })? => { $($(let _ = $field;)*)? format!($en) } )* }
            }
            /// The sentence in Japanese.
            pub fn ja(&self) -> String {
                match self { $( Self::$name $({ $($field),* })? => { $($(let _ = $field;)*)? format!($ja) } )* }
            }
        }
    };
}

impl Problem {
    /// Errors start with `E`.
    pub fn severity(&self) -> Severity {
        if self.code().starts_with('W') { Severity::Warning } else { Severity::Error }
    }
}

problems! {
    // Files and YAML.
    "E001" Unreadable { why } "cannot be read: {why}" "読み取れません: {why}";
    "E002" TooLarge { limit } "too large: the limit is {limit}" "大きすぎます(上限 {limit})";
    "E003" NotUtf8 "not UTF-8 text" "UTF-8の文字列ではありません";
    "E004" Syntax { why } "YAML syntax: {why}" "YAMLの構文エラー: {why}";
    "E005" TooDeep { limit } "nested deeper than {limit} levels" "入れ子が{limit}段を超えています";
    "E006" DuplicateKey { key, line } "`{key}` is given twice; first on line {line}" "「{key}」が二重に書かれています(最初は{line}行目)";
    "E007" Anchor "YAML anchors and aliases are not accepted: write the value out" "YAMLのアンカーと別名は使えません。値を直接書いてください";
    "E008" YamlTag "YAML tags are not accepted" "YAMLのタグは使えません";
    "E009" MultipleDocuments "a second YAML document in one file: use one file each" "1つのファイルに複数のYAML文書があります。ファイルを分けてください";
    "E010" NoFiles "no policy file (*.yaml, *.yml) here" "方針ファイル(*.yaml、*.yml)がありません";
    "E011" KeyNotText "a key must be plain text" "キーは文字列でなければなりません";

    // Shape.
    "E012" UnknownField { field, owner } "unknown field `{field}` in {owner}" "{owner}に「{field}」という項目はありません";
    "E013" MissingField { field, owner } "`{field}` is missing in {owner}" "{owner}に「{field}」がありません";
    "E014" WrongType { found } "a {found} does not belong here" "ここに{found}は書けません";
    "E015" EmptyValue "no value: give one or remove the key" "値がありません。値を書くか、キーごと削除してください";
    "E016" BadWord { found, what } "`{found}` is not a {what}" "「{found}」は正しい値ではありません({what})";
    "E017" EmptyList "an empty list: it would match nothing" "空のリストです(何にも一致しません)";
    "E018" BadVersion { found } "version `{found}` is not supported" "バージョン「{found}」には対応していません";
    "E019" MissingVersion "`version` is missing" "「version」がありません";
    "E020" GivenTwice { field, place } "`{field}` is already given at {place}" "「{field}」は既に{place}で指定されています";
    "E021" BadName { name } "`{name}` is not a name" "「{name}」は名前に使えません";
    "E022" ReservedName { name } "`{name}` is a reserved word" "「{name}」は予約語です";
    "E023" Conflict { one, other } "`{one}` and `{other}` do not go together" "「{one}」と「{other}」は同時に指定できません";

    // Values.
    "E030" HostBits { prefix } "`{prefix}` has bits set beyond its length" "「{prefix}」はプレフィックス長より後ろのビットが立っています";
    "E031" GroupMac { mac } "`{mac}` is a group or zero MAC, not a device's" "「{mac}」はグループまたはゼロのMACです(端末のものではありません)";
    "E032" RangeBackwards { range } "`{range}` runs backwards" "「{range}」は始まりが終わりより後です";
    "E033" MixedFamilies { text } "`{text}` mixes IPv4 and IPv6" "「{text}」にIPv4とIPv6が混在しています";
    "E034" UnknownTimeZone { name } "no such time zone: `{name}`" "タイムゾーン「{name}」はありません";
    "E035" EmptyHours "opens and closes at the same time" "開始と終了が同じ時刻です";
    "E036" BadProtocol { number } "protocol {number} cannot be named here" "プロトコル番号{number}はここでは指定できません";
    "E037" IcmpTypeRefused { kind } "ICMP type {kind} never opens a conversation" "ICMP種別{kind}は通信を開始できない種別です";
    "E038" PrefixEverything { prefix } "`{prefix}` is everything: write `default` on one network" "「{prefix}」は全アドレスです。外部網の1つに default と書いてください";
    "E039" NotUnicast { address } "`{address}` is not an address a host can have" "「{address}」は端末が持てるアドレスではありません";

    // Names.
    "E040" UnknownName { kind, name } "no {kind} is called `{name}`" "「{name}」という名前の{kind}はありません";
    "E041" NameTaken { kind, name, place } "{kind} `{name}` is already defined at {place}" "{kind}「{name}」は既に{place}で定義されています";
    "E042" Cycle { path } "defined in terms of itself: {path}" "自分自身を参照しています: {path}";
    "E043" BuiltinService { name } "`{name}` is a built-in service: choose another name" "「{name}」は組込みサービス名です。別の名前にしてください";
    "E044" AnyService "`any` is not a service: name what is needed" "「any」はサービスではありません。必要なものを列挙してください";
    "E045" WrongKind { name, is, needed } "`{name}` is a {is}, but a {needed} is needed" "「{name}」は{is}ですが、ここには{needed}が必要です";

    // Nets and devices.
    "E050" PortTaken { port, owner } "{port} already belongs to `{owner}`" "{port}は既に「{owner}」のものです";
    "E051" PrefixTaken { prefix, owner } "`{prefix}` already belongs to `{owner}`" "「{prefix}」は既に「{owner}」のものです";
    "E052" DefaultTaken { owner } "only one network can be the default; `{owner}` is" "default にできる外部網は1つだけです(既に「{owner}」)";
    "E053" AddressTaken { address, owner } "`{address}` already belongs to `{owner}`" "「{address}」は既に「{owner}」のものです";
    "E054" MacTaken { mac, owner } "`{mac}` already belongs to `{owner}`" "「{mac}」は既に「{owner}」のものです";
    "E055" AddressElsewhere { address, net, owner } "`{address}` does not live in `{net}` ({owner})" "「{address}」は「{net}」の範囲にありません({owner})";
    "E056" TooMany { what, limit } "too many {what}: the limit is {limit}" "{what}が多すぎます(上限 {limit})";
    "E057" RaNeedsRouters "`ra: client` needs `routers`: nobody else is believed" "「ra: client」には routers が必要です(登録ルーター以外は信用しません)";

    // Rules.
    "E060" InboundNeedsPublish { from, to } "from external `{from}` into zone `{to}`: use `publish`" "外部網「{from}」から区域「{to}」への規則は publish に書いてください";
    "E061" NetworkToNetwork { from, to } "from external `{from}` to external `{to}`: never permitted" "外部網「{from}」から外部網「{to}」への通信は許可できません";
    "E062" BoxToBox "from the box to itself: not judged" "自機から自機への通信は判定の対象外です";
    "E063" NoPlace "say where: a zone, a network or the box" "場所(zone、network、box)を指定してください";
    "E064" DeviceNotThere { device, zone } "device `{device}` lives in `{zone}`, which is not named here" "端末「{device}」は「{zone}」にあり、ここで指定した場所にはありません";
    "E065" DeviceWithoutAddress { device } "device `{device}` has no address to send to" "端末「{device}」には宛先にできるアドレスが登録されていません";
    "E066" FamilyMismatch { why } "can never match: {why}" "どの通信にも一致しません: {why}";
    "E067" PublishService { service } "only TCP and UDP can be published, not `{service}`" "公開できるのはTCPとUDPだけです(「{service}」は不可)";
    "E068" PublishPort "`port` needs exactly one service with one port" "port を指定できるのは、ポート1つのサービスを1つだけ書いたときです";
    "E069" ServerIsBox { address } "`{address}` is the box itself: use a rule to `box`" "「{address}」は自機です。宛先を box とする規則を書いてください";
    "E085" LimitsNothing "`limits` limits nothing: give `flows`, `flows_per_host`, `new` or `new_per_host`" "limits に何も指定されていません(flows、flows_per_host、new、new_per_host のいずれかを書いてください)";
    "E086" LimitNeverActs { one, other } "`{one}` allows more than `{other}`: it would never act" "「{one}」が「{other}」より緩いため、効くことがありません";

    // Lists and tests.
    "E070" OutsideFolder { file } "`{file}` leads out of the policy folder" "「{file}」は方針フォルダーの外を指しています";
    "E071" BadListLine { found } "`{found}` is neither an address, a prefix nor a range" "「{found}」はアドレス・プレフィックス・範囲のいずれでもありません";
    "E072" ListEmpty { file } "list `{file}` holds no entries" "リスト「{file}」に項目がありません";
    "E073" ListEverything { found } "`{found}` would put every address on the list" "「{found}」では全アドレスがリストに入ります";
    "E080" BadPacket { why } "not a packet: {why}" "パケットの書き方が違います: {why}";
    "E081" UnknownReason { code } "no reason is called `{code}`" "「{code}」という理由コードはありません";
    "E082" ReasonContradicts { code, expect } "reason `{code}` never goes with `expect: {expect}`" "理由「{code}」は「expect: {expect}」と両立しません";
    "E083" BoxTestMac "the box's own packet has no incoming MAC" "自機のパケットには受信MACがありません";
    "E084" BoxTestSource { address } "`{address}` is not one of the box's addresses" "「{address}」は自機のアドレスではありません";
    "E099" TooManyProblems { limit } "more than {limit} problems: the rest is not shown" "問題が{limit}件を超えたため、以降は省略します";

    // Warnings.
    "W001" Shadowed { rule, by } "rule `{rule}` never decides: `{by}` above it covers it" "規則「{rule}」は働きません。上の「{by}」に含まれています";
    "W002" Redundant { rule, by } "rule `{rule}` adds nothing: `{by}` below permits the same" "規則「{rule}」は不要です。下の「{by}」が同じ通信を許可しています";
    "W003" AnyAny { rule } "rule `{rule}` permits almost anything: unlimited addresses and wide ports" "規則「{rule}」はほぼ何でも許可します(アドレスもポートも広すぎます)";
    "W004" Nested { inner, outer, of } "`{inner}` lies inside `{outer}` of `{of}`: the longer prefix wins" "「{inner}」は「{of}」の「{outer}」の内側です(長い方を優先)";
    "W005" RouteContradicts { prefix, net, route } "`{prefix}` of `{net}`: the routing table says {route}" "「{net}」の「{prefix}」: 経路表では{route}";
    "W006" Expired { what, date } "{what} ended on {date}" "{what}は{date}に期限が切れています";
    "W007" ExpiresSoon { what, date } "{what} ends on {date}" "{what}の期限は{date}です";
    "W008" NoPort { rule } "rule `{rule}` names no port" "規則「{rule}」はポートを限定していません";
    "W009" NoAddressNorMac { rule } "rule `{rule}` limits neither addresses nor devices on either end" "規則「{rule}」は両端ともアドレスも端末も限定していません";
    "W010" OldSurvey { network, date } "the survey of `{network}` dates from {date}" "「{network}」の調査記録は{date}のものです";
    "W011" UnusedGroup { name } "group `{name}` is never used" "グループ「{name}」は使われていません";
    "W012" UnusedService { name } "service `{name}` is never used" "サービス「{name}」は使われていません";
    "W013" DeviceWithoutBinding { device, zone } "device `{device}` has no address in registered zone `{zone}`" "端末「{device}」は登録制の区域「{zone}」でアドレスが未登録です";
    "W014" BoxAddressNotLive { address } "`{address}` is on no interface of this box" "自機アドレス「{address}」はどのインターフェースにもありません";
    "W015" UnusedHours { name } "hours `{name}` are never used" "時間帯「{name}」は使われていません";
    "W016" AddressNotThere { address, place } "`{address}` does not live in {place}: it never matches" "「{address}」は{place}の範囲外のため一致しません";
    "W017" FutureSurvey { network, date } "the survey of `{network}` is dated {date}, in the future" "「{network}」の調査日{date}は未来の日付です";
    "W018" LintStopped "too many large address sets: shadowed and redundant rules were only partly searched" "アドレス集合が大きいため、重複規則の検査を途中で終えました";
    "W019" BoxAddressNotListed { address, interface } "`{address}` of `{interface}` is not among the box's addresses" "「{interface}」のアドレス「{address}」が自機アドレスとして登録されていません";
    "W020" QuarantineWide { rule } "rule `{rule}` holds in quarantine and names no destination: a host in quarantine could reach all of it" "規則「{rule}」は隔離中も有効ですが宛先を限定していません(隔離した端末がその先のどこへでも届きます)";
    "W021" TrapInUse { address, device } "trap `{address}` belongs to device `{device}`: whoever talks to it would be taken for an attacker" "囮アドレス「{address}」は端末「{device}」のものです(通信した端末がすべて攻撃者とみなされます)";
    "W022" TrapOutside { address } "trap `{address}` lives in no zone: give one that a machine inside might look for" "囮アドレス「{address}」はどの区域にもありません。内部の端末が探しそうなアドレスにしてください";
    "W023" GuardNotGiven { hosts, minutes } "detectors put hosts in quarantine, at most {hosts} within {minutes} minutes: say how many with `guard`, such as {{hosts: {hosts}, within: {minutes}m}}" "検知器が自動隔離するのは{minutes}分間に{hosts}台までです。{{hosts: {hosts}, within: {minutes}m}} のように guard を書いて台数を決めてください";
    "W024" NothingWatched "no `detection`: attacks by inside machines are not looked for; write `detection: {{}}` for what is built in" "detection がないため、内部の端末による攻撃を検知しません。組込みの設定でよければ「detection: {{}}」と書いてください";
    "W030" ThreatListRefused { list } "the delivery of threat list `{list}` on disk would be refused" "脅威リスト「{list}」の現在のファイルは採用されません";
    "W031" ThreatListLine { found } "`{found}` would be left out of the list" "「{found}」はリストから除外されます";
    "W032" ThreatListNames { list, lines } "{lines} line(s) of threat list `{list}` give names only: nothing resolves them, they have no effect" "脅威リスト「{list}」の{lines}行は名前だけのため効果がありません(名前解決は行いません)";
    "W033" ThreatListOld { list } "the file of threat list `{list}` is older than its `expires`" "脅威リスト「{list}」のファイルは expires の期間を過ぎています";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_texts_are_present() {
        let mut codes: Vec<_> = CATALOGUE.iter().map(|entry| entry.0).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CATALOGUE.len());
        for (code, en, ja) in CATALOGUE {
            assert!(code.len() == 4 && !en.is_empty(), "{code}");
            assert!(!ja.is_ascii(), "{code} has no Japanese text");
        }
    }

    #[test]
    fn texts_quote_their_fields() {
        let problem = Problem::UnknownField { field: "vlan".into(), owner: "zone".into() };
        assert_eq!((problem.code(), problem.severity()), ("E012", Severity::Error));
        assert!(problem.en().contains("`vlan`") && problem.ja().contains("「vlan」"));
    }
}
