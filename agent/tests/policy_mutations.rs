//! Mutated policies never panic and are answered quickly. The seed is printed; `SEKIMORI_SEED` repeats a run and
//! `SEKIMORI_MUTATIONS` lengthens it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use sekimori::policy::{lint, load};

const FILES: [&str; 3] = ["10-places.yaml", "20-words.yml", "30-rules.yaml"];
/// Generous for a loaded machine with a debug build; the usual answer takes milliseconds.
const SLOWEST: Duration = Duration::from_secs(10);

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);
impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % (n.max(1) as u64)).unwrap()
    }
}

fn tokens(text: &[u8]) -> Vec<(usize, usize)> {
    let edge = |b: &u8| b" ,:[]{}\"\n#->/.".contains(b);
    let mut out = Vec::new();
    let mut start = 0;
    for (index, byte) in text.iter().enumerate() {
        if edge(byte) {
            if index > start {
                out.push((start, index));
            }
            start = index + 1;
        }
    }
    out
}

fn mutate(text: &mut Vec<u8>, random: &mut Random) {
    const SPICE: [&str; 24] = [
        "99999999999999999999999999",
        "-1",
        "0",
        "65536",
        "4294967296",
        "~",
        "null",
        "true",
        "!!int",
        "&a",
        "*a",
        "<<",
        "\"",
        "'",
        "[",
        "{",
        "]",
        "}",
        "|\n",
        "---\n",
        "\u{0}",
        "\u{feff}",
        "９",
        "::/0",
    ];
    match random.below(9) {
        0 if !text.is_empty() => {
            let at = random.below(text.len());
            text[at] ^= 1 << random.below(8);
        }
        1 | 2 => {
            let mut lines: Vec<Vec<u8>> = text.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
            let (from, to) = (random.below(lines.len()), random.below(lines.len()));
            match random.below(3) {
                0 => {
                    lines.remove(from);
                }
                1 => lines.insert(to, lines[from].clone()),
                _ => lines.swap(from, to),
            }
            *text = lines.join(&b'\n');
        }
        3 | 4 => {
            let all = tokens(text);
            if all.len() < 2 {
                return;
            }
            let (a, b) = (all[random.below(all.len())], all[random.below(all.len())]);
            let other = text[b.0..b.1].to_vec();
            text.splice(a.0..a.1, other);
        }
        5 | 6 => {
            let all = tokens(text);
            if all.is_empty() {
                return;
            }
            let (from, to) = all[random.below(all.len())];
            let word = SPICE[random.below(SPICE.len())];
            text.splice(from..to, word.bytes());
        }
        7 => {
            let at = random.below(text.len() + 1);
            let open = ["[", "{a: ", "- ", "? "][random.below(4)];
            let deep = open.repeat(1 + random.below(200));
            text.splice(at..at, deep.bytes());
        }
        _ => {
            let at = random.below(text.len() + 1);
            text.truncate(at);
        }
    }
}

#[test]
fn mutated_policies_are_answered() {
    let seed = std::env::var("SEKIMORI_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap()
    });
    let rounds: usize = std::env::var("SEKIMORI_MUTATIONS").ok().and_then(|s| s.parse().ok()).unwrap_or(4_000);
    println!("SEKIMORI_SEED={seed}");
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/full");
    let originals: Vec<Vec<u8>> = FILES.iter().map(|name| fs::read(full.join(name)).unwrap()).collect();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("lists")).unwrap();
    fs::copy(full.join("lists/cloud.txt"), folder.path().join("lists/cloud.txt")).unwrap();
    for (name, text) in FILES.iter().zip(&originals) {
        fs::write(folder.path().join(name), text).unwrap();
    }
    assert!(load(folder.path()).policy.is_some(), "the unmutated policy must be valid");

    let mut random = Random(seed);
    let now = "2026-12-01T00:00:00Z".parse().unwrap();
    let (mut good, mut slowest) = (0, Duration::ZERO);
    for round in 0..rounds {
        let which = random.below(FILES.len());
        let mut text = originals[which].clone();
        for _ in 0..=random.below(3) {
            mutate(&mut text, &mut random);
        }
        let path = folder.path().join(FILES[which]);
        fs::write(&path, &text).unwrap();
        let start = Instant::now();
        let answer = std::panic::catch_unwind(|| {
            let loaded = load(folder.path());
            for diagnostic in &loaded.diagnostics {
                assert!(!diagnostic.to_string().contains(char::is_control), "{:?}", diagnostic.to_string());
            }
            match &loaded.policy {
                Some(policy) => {
                    lint(policy, &loaded.spans, now, None);
                    true
                }
                None => {
                    assert!(!loaded.diagnostics.is_empty(), "refused without a word");
                    false
                }
            }
        });
        let took = start.elapsed();
        slowest = slowest.max(took);
        let Ok(valid) = answer else {
            let kept = std::env::temp_dir().join(format!("sekimori-mutation-{seed}-{round}"));
            fs::write(&kept, &text).unwrap();
            panic!("seed {seed}, round {round} panicked; input kept in {}", kept.display());
        };
        assert!(took < SLOWEST, "seed {seed}, round {round} took {took:?}");
        good += usize::from(valid);
        fs::write(&path, &originals[which]).unwrap();
    }
    println!("{rounds} mutations, {good} still valid, slowest {slowest:?}");
    assert!(good < rounds, "mutations that change nothing test nothing");
}

#[test]
fn large_hostile_files_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.yaml");
    let size = 8 << 20;
    let fill = |head: &str, unit: &str| {
        let mut text = head.to_owned();
        text.extend(std::iter::repeat_n(unit, (size - head.len()) / unit.len()));
        text
    };
    let chain: String = (0..60_000).map(|n| format!("  g{n}: [{{group: g{}}}]\n", n + 1)).collect();
    let doubling: String = (0..60).map(|n| format!("  s{n}: [s{0}, s{0}, s{0}]\n", n + 1)).collect();
    for (name, text) in [
        ("brackets", fill("", "[")),
        ("braces", fill("", "{")),
        ("dashes", fill("", "- ")),
        ("questions", fill("", "? ")),
        ("spaces", fill("version: 1", " ")),
        ("newlines", fill("version: 1", "\n")),
        ("one scalar", fill("organisation: ", "x")),
        ("open quote", fill("organisation: \"", "x\n")),
        ("block scalar", fill("organisation: |\n", " x\n")),
        ("colons", fill("", "a: ")),
        ("elements", fill("version: 1\nholidays: [", "a,")),
        ("comments", fill("version: 1\n", "#\n")),
        ("syntax errors", fill("version: 1\n", "a: [b\n")),
        ("top keys", fill("version: 1\n", "zones: }\n")),
        ("chain of groups", format!("version: 1\ngroups:\n{chain}")),
        ("doubling services", format!("version: 1\nservices:\n{doubling}  s60: [tcp/1]\n")),
    ] {
        fs::write(&path, text).unwrap();
        let start = Instant::now();
        let loaded = load(&path);
        let took = start.elapsed();
        println!("{name}: {took:?}, {} diagnostics", loaded.diagnostics.len());
        assert!(took < SLOWEST * 3, "{name} took {took:?}");
    }
}
