//! What is wrong with a capture, where, and what to do about it.

use super::report::Lang;

/// A flaw and where it begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// Offset of the first byte after the last good record.
    pub offset: u64,
    /// Packets read before it.
    pub packets: u64,
    /// What is wrong there.
    pub flaw: Flaw,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// Not a single byte.
    Empty,
    /// Neither pcap nor pcapng.
    NotACapture {
        /// The first four bytes.
        magic: [u8; 4],
    },
    /// The file ends in the middle of a record.
    Cut {
        /// Bytes the record needs here.
        wanted: u64,
        /// Bytes there are.
        got: u64,
    },
    /// A packet claims more bytes than any capture tool writes.
    PacketLength {
        /// What it claims.
        length: u64,
        /// The most that is read.
        limit: u64,
    },
    /// A pcapng block whose length cannot be.
    BlockLength {
        /// What it claims.
        length: u64,
    },
    /// A pcapng block whose two lengths differ.
    BlockTrailer {
        /// Length at its start.
        head: u64,
        /// Length at its end.
        tail: u64,
    },
    /// A pcapng section without a valid byte order mark.
    ByteOrder,
    /// A format version nobody defined.
    Version {
        /// Major version.
        major: u16,
    },
    /// A packet of an interface its section does not describe.
    NoInterface {
        /// The interface number.
        number: u32,
    },
    /// More interfaces than are kept.
    TooManyInterfaces,
    /// Not Ethernet.
    LinkType {
        /// As registered with tcpdump.org.
        number: u16,
    },
    /// The file could not be read.
    Read(String),
}

impl From<std::io::Error> for Flaw {
    fn from(error: std::io::Error) -> Self {
        Self::Read(error.to_string())
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.text(Lang::En))
    }
}

impl Fault {
    /// The whole message.
    pub fn text(&self, lang: Lang) -> String {
        let Self { offset, packets, flaw } = self;
        match lang {
            Lang::En => format!(
                "capture: byte {offset}, after packet {packets}: {}. Verdicts given before this stand. {}",
                flaw.en(),
                flaw.hint_en()
            ),
            Lang::Ja => format!(
                "キャプチャー: {offset}バイト目、{packets}個目のパケットの後: {}。ここまでの判定は有効です。{}",
                flaw.ja(),
                flaw.hint_ja()
            ),
        }
    }
}

impl Flaw {
    fn en(&self) -> String {
        match self {
            Self::Empty => "the file is empty, not even a capture header".into(),
            Self::NotACapture { magic } => {
                format!("neither pcap nor pcapng (it begins with {})", hex(magic))
            }
            Self::Cut { wanted, got } => {
                format!("the file ends inside a record ({got} of {wanted} bytes)")
            }
            Self::PacketLength { length, limit } => {
                format!("a packet claims {length} bytes (at most {limit})")
            }
            Self::BlockLength { length } => {
                format!("a block claims {length} bytes, which cannot be")
            }
            Self::BlockTrailer { head, tail } => {
                format!("a block says {head} bytes at its start and {tail} at its end")
            }
            Self::ByteOrder => "a section without a byte order mark".into(),
            Self::Version { major } => format!("format version {major} is unknown"),
            Self::NoInterface { number } => {
                format!("a packet of interface {number}, which its section does not describe")
            }
            Self::TooManyInterfaces => "more than 65,536 interfaces in one section".into(),
            Self::LinkType { number } => format!("link type {number} ({}) is not Ethernet", link_name(*number)),
            Self::Read(error) => format!("the file cannot be read: {error}"),
        }
    }

    fn ja(&self) -> String {
        match self {
            Self::Empty => "ファイルが空で、先頭のヘッダーもありません".into(),
            Self::NotACapture { magic } => {
                format!("pcapでもpcapngでもありません(先頭は{})", hex(magic))
            }
            Self::Cut { wanted, got } => {
                format!("記録の途中でファイルが終わっています({wanted}バイト中{got}バイト)")
            }
            Self::PacketLength { length, limit } => {
                format!("{length}バイトと称するパケットです(上限{limit})")
            }
            Self::BlockLength { length } => {
                format!("{length}バイトと称するブロックで、ありえない長さです")
            }
            Self::BlockTrailer { head, tail } => {
                format!("ブロックの先頭の長さ{head}と末尾の長さ{tail}が違います")
            }
            Self::ByteOrder => "バイト順の印がないセクションです".into(),
            Self::Version { major } => format!("形式の版{major}は知られていません"),
            Self::NoInterface { number } => {
                format!("セクションに記述のないインターフェース{number}のパケットです")
            }
            Self::TooManyInterfaces => "1セクションのインターフェースが65,536個を超えています".into(),
            Self::LinkType { number } => {
                format!("リンク種別{number}({})はイーサネットではありません", link_name(*number))
            }
            Self::Read(error) => format!("ファイルを読めません: {error}"),
        }
    }

    fn hint_en(&self) -> &'static str {
        match self {
            Self::Empty => "Capture again, and stop the capture tool with Ctrl-C so that it writes out what it holds.",
            Self::NotACapture { magic } => match packed(magic) {
                Some(_) => "It looks compressed: unpack it first.",
                None => "Convert it with `editcap -F pcapng IN OUT`.",
            },
            Self::LinkType { .. } => {
                "MAC addresses are part of every judgement: capture on the Ethernet interface itself (`tcpdump -i lan0`), not on `any` or a tunnel."
            }
            Self::Read(_) => "Check the file's permissions and the disk.",
            _ => "Capture again, or repair it with `editcap IN OUT`.",
        }
    }

    fn hint_ja(&self) -> &'static str {
        match self {
            Self::Empty => "取り直してください。採取の終了はCtrl-Cで行うと、保持分が書き出されます。",
            Self::NotACapture { magic } => match packed(magic) {
                Some(_) => "圧縮されているようです。展開してから渡してください。",
                None => "`editcap -F pcapng 元 先` で変換してください。",
            },
            Self::LinkType { .. } => {
                "判定にはMACアドレスが必要です。`any`やトンネルではなく、イーサネットのインターフェースで採取してください(例 `tcpdump -i lan0`)。"
            }
            Self::Read(_) => "ファイルの権限とディスクを確認してください。",
            _ => "取り直すか、`editcap 元 先` で直してください。",
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// gzip, zstd, xz, bzip2.
fn packed(magic: &[u8; 4]) -> Option<()> {
    let starts = [&[0x1f, 0x8b][..], &[0x28, 0xb5, 0x2f, 0xfd], &[0xfd, 0x37, 0x7a, 0x58], b"BZh"];
    starts.iter().any(|start| magic.starts_with(start)).then_some(())
}

/// Names of link types people do meet (tcpdump.org/linktypes.html).
fn link_name(number: u16) -> &'static str {
    match number {
        0 => "BSD loopback",
        9 => "PPP",
        12 | 14 | 101 => "raw IP",
        51 => "PPPoE",
        105 => "802.11",
        108 => "OpenBSD loopback",
        113 => "Linux cooked, SLL",
        127 => "802.11 with radiotap",
        228 => "raw IPv4",
        229 => "raw IPv6",
        276 => "Linux cooked, SLL2",
        _ => "unnamed here",
    }
}
