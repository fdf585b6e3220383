//! What an input method leaves in a command line that is typed in haste: wide letters and spaces, dashes that are no hyphens.
//!
//! Only for the commands that are typed in haste, and there only where no text of the administrator's own can stand.

use std::ffi::OsString;

use crate::cutoff::dates::narrow;

/// Commands whose words are names and addresses.
const HASTY: [&str; 4] = ["cutoff", "restore", "quarantine", "release"];
/// Options that may stand before the command, each with a value.
const BEFORE: [&str; 4] = ["--format", "--lang", "--config", "--socket"];
/// Options whose value is the administrator's own text, or a file.
const OWN: [&str; 4] = ["--reason", "--notice", "--config", "--socket"];
/// What an input method writes between words.
const WIDE_SPACE: char = '\u{3000}';

/// The arguments of this process, as they were meant.
pub(super) fn meant(given: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let given: Vec<OsString> = given.into_iter().collect();
    let Some(command) = hasty(&given) else { return given };
    let mut meant = Vec::with_capacity(given.len());
    // Behind the first option a word may be anything.
    let (mut words, mut own) = (true, false);
    for (place, arg) in given.into_iter().enumerate() {
        let text = arg.to_str().filter(|_| place >= command && !own);
        let Some(mut left) = text else {
            own = false;
            meant.push(arg);
            continue;
        };
        if !words {
            let option = option(left);
            own = option.as_ref().is_some_and(|option| OWN.contains(&option.as_str()));
            meant.push(option.map_or(arg, OsString::from));
            continue;
        }
        while !left.is_empty() {
            let (word, rest) = left.split_once(WIDE_SPACE).unwrap_or((left, ""));
            let key = option(word);
            if key.as_ref().is_some_and(|key| key.contains('=')) {
                // The value goes on to the end.
                meant.extend(option(left).map(OsString::from));
                words = false;
                break;
            }
            words &= key.is_none() && !word.starts_with('-');
            own = key.as_ref().is_some_and(|key| OWN.contains(&key.as_str()));
            if !word.is_empty() {
                meant.push(key.unwrap_or_else(|| word.chars().map(narrow).collect()).into());
            }
            left = rest;
            if own && !left.is_empty() {
                meant.push(left.into());
                own = false;
                break;
            }
        }
    }
    meant
}

/// Where one of these commands stands, if the first word that is no option is one.
fn hasty(given: &[OsString]) -> Option<usize> {
    let mut place = 1;
    loop {
        let word = given.get(place)?.to_str()?;
        if !word.starts_with('-') {
            let first: String = word.split(WIDE_SPACE).next()?.chars().map(narrow).collect();
            return HASTY.contains(&first.as_str()).then_some(place);
        }
        place += if BEFORE.contains(&word) { 2 } else { 1 };
    }
}

/// An option as ASCII has it, if this is one; a value behind `=` stays as it is.
fn option(word: &str) -> Option<String> {
    let name = word.trim_start_matches(is_dash);
    if name.len() == word.len() {
        return None;
    }
    let (key, value) = match name.find(['=', '\u{ff1d}']) {
        None => (name, None),
        Some(at) => (name.get(..at)?, name.get(at..)?.chars().next().and_then(|sign| name.get(at + sign.len_utf8()..))),
    };
    let key: String = key.chars().map(narrow).collect();
    let is_name = key.len() > 1 && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    is_name.then(|| value.map_or_else(|| format!("--{key}"), |value| format!("--{key}={value}")))
}

/// What a key with a dash on it gives, with an input method or a word processor behind it.
fn is_dash(letter: char) -> bool {
    matches!(letter, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{30fc}' | '\u{ff0d}' | '\u{ff70}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &[&str]) -> Vec<String> {
        let given = line.iter().map(OsString::from);
        meant(given).into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn wide_letters_spaces_and_dashes_are_what_was_meant() {
        let plain = ["sekimori", "cutoff", "network", "internet", "--reason", "不審な通信"];
        assert_eq!(read(&plain), plain);
        for typed in [
            &["sekimori", "cutoff", "ｎｅｔｗｏｒｋ", "ｉｎｔｅｒｎｅｔ", "－－ｒｅａｓｏｎ", "不審な通信"][..],
            &["sekimori", "cutoff　network", "internet　－－reason", "不審な通信"],
            &["sekimori", "cutoff", "network", "internet", "—reason", "不審な通信"],
            &["sekimori", "cutoff", "network", "internet", "ーーreason", "不審な通信"],
            &["sekimori", "ｃｕｔｏｆｆ", "network　internet", "–reason", "不審な通信"],
        ] {
            assert_eq!(read(typed), plain, "{typed:?}");
        }
    }

    #[test]
    fn what_people_write_themselves_stays() {
        for line in [
            &["sekimori", "cutoff", "all", "--reason", "ＰＣ－１７　から感染", "--for", "2h"][..],
            &["sekimori", "cutoff", "all", "--reason=ＰＣ－１７　から感染", "--level=drop"],
            &["sekimori", "cutoff", "all", "--reason", "—worm"],
            &["sekimori", "cutoff", "all", "--for", "2h", "--reason", "ーworm"],
            &["sekimori", "restore", "all", "--reason", "――対処済み"],
            &["sekimori", "--config", "/etc/関守　一/a.yaml", "cutoff", "list"],
            &["sekimori", "cutoff", "plan", "all", "--notice", "案内　ＡＢ.txt"],
            &["sekimori", "check", "方針　案.yaml", "－－x"],
            &["sekimori", "apply", "方針　案.yaml", "--reason", "restore"],
            &["sekimori", "cutoff", "all", "-h"],
            &["sekimori"],
            &["sekimori", "--lang", "ja"],
        ] {
            assert_eq!(read(line), line);
        }
    }

    #[test]
    fn options_before_the_command_and_values_with_a_sign() {
        let typed = ["sekimori", "--lang", "ja", "ｃｕｔｏｆｆ", "ａｌｌ", "－－ｒｅａｓｏｎ＝ＰＣ　感染"];
        assert_eq!(read(&typed), ["sekimori", "--lang", "ja", "cutoff", "all", "--reason=ＰＣ　感染"]);
        let typed = ["sekimori", "cutoff　all　－－reason　ＰＣ　感染"];
        assert_eq!(read(&typed), ["sekimori", "cutoff", "all", "--reason", "ＰＣ　感染"]);
    }
}
