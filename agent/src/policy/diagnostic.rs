//! One thing to tell the author of a policy: where, what, what was expected, what was probably meant.

use std::{fmt, path::PathBuf};

use super::problem::{Problem, Severity};

/// Position in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// Position in [`Sink::files`].
    pub file: u32,
    /// From 1; 0: the file as a whole.
    pub line: u32,
    /// From 1, in characters.
    pub col: u32,
}

/// Language of user-facing texts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Lang {
    /// Japanese.
    Ja,
    /// English.
    #[default]
    En,
}

/// A text in both languages.
#[derive(Clone, PartialEq, Eq, Debug, PartialOrd, Ord, serde::Serialize)]
pub struct Text {
    /// English.
    pub en: String,
    /// Japanese.
    pub ja: String,
}
impl Text {
    /// Both languages.
    pub fn new(en: impl Into<String>, ja: impl Into<String>) -> Self {
        Self { en: en.into(), ja: ja.into() }
    }
    /// The same words in both, for keywords and numbers.
    pub fn same(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { ja: text.clone(), en: text }
    }
    /// One of them.
    pub fn get(&self, lang: Lang) -> &str {
        match lang {
            Lang::Ja => &self.ja,
            Lang::En => &self.en,
        }
    }
}

/// See the module documentation. Orders by file, line, column, then code.
#[derive(Clone, PartialEq, Eq, Debug, PartialOrd, Ord, serde::Serialize)]
pub struct Diagnostic {
    /// The file.
    pub file: PathBuf,
    /// From 1; 0: the file as a whole.
    pub line: u32,
    /// From 1, in characters; 0: the file as a whole.
    pub col: u32,
    /// Stable code, see [`super::problem`].
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// The offending text, shortened.
    pub text: String,
    /// What would have been right.
    pub expected: Option<Text>,
    /// The replacement that was probably meant.
    pub suggestion: Option<String>,
    /// The sentence.
    pub message: Text,
}

impl Diagnostic {
    /// One line for people: `file:line:col: error[E012]: …`.
    pub fn render(&self, lang: Lang) -> String {
        use fmt::Write;
        let mut out = printable(&self.file.display().to_string());
        if self.line > 0 {
            let _ = write!(out, ":{}:{}", self.line, self.col);
        }
        let kind = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let _ = write!(out, ": {kind}[{}]: {}", self.code, self.message.get(lang));
        if let Some(expected) = &self.expected {
            let _ = match lang {
                Lang::En => write!(out, "; expected {}", expected.en),
                Lang::Ja => write!(out, "。期待される値: {}", expected.ja),
            };
        }
        if let Some(suggestion) = &self.suggestion {
            let _ = match lang {
                Lang::En => write!(out, "; did you mean `{suggestion}`?"),
                Lang::Ja => write!(out, "。「{suggestion}」ではありませんか"),
            };
        }
        out
    }

    /// Sentences quote what a file says, wherever they get it from; here it is made fit for a terminal, once for all of them.
    fn make_printable(&mut self) {
        for text in [Some(&mut self.message), self.expected.as_mut()].into_iter().flatten() {
            text.en = printable(&text.en);
            text.ja = printable(&text.ja);
        }
        if let Some(suggestion) = &mut self.suggestion {
            *suggestion = printable(suggestion);
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Lang::En))
    }
}

/// Diagnostics kept in one run; a file that is wrong throughout must not fill the memory.
pub const MAX_DIAGNOSTICS: usize = 500;
/// Characters of offending text kept.
const TEXT_LIMIT: usize = 120;

/// Where diagnostics go, with the files their spans point into.
#[derive(Debug, Default)]
pub struct Sink {
    /// Files by [`Span::file`].
    pub files: Vec<PathBuf>,
    diagnostics: Vec<Diagnostic>,
    errors: usize,
}

impl Sink {
    /// Registers a file and gives its number.
    pub fn add_file(&mut self, path: PathBuf) -> u32 {
        self.files.push(path);
        u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX)
    }

    /// A sink over files that are already known (for lints after loading).
    pub fn over(files: Vec<PathBuf>) -> Self {
        Self { files, ..Self::default() }
    }

    /// Reports a problem; refine it with the returned [`Report`].
    pub fn report(&mut self, at: Span, problem: &Problem) -> Report<'_> {
        let severity = problem.severity();
        if severity == Severity::Error {
            self.errors += 1;
        }
        if self.diagnostics.len() >= MAX_DIAGNOSTICS {
            if self.diagnostics.len() == MAX_DIAGNOSTICS {
                let limit = Problem::TooManyProblems { limit: MAX_DIAGNOSTICS.to_string() };
                self.push(at, &limit, severity);
            }
            return Report(None);
        }
        self.push(at, problem, severity);
        Report(self.diagnostics.last_mut())
    }

    fn push(&mut self, at: Span, problem: &Problem, severity: Severity) {
        self.diagnostics.push(Diagnostic {
            file: self.path(at),
            line: at.line,
            col: at.col,
            code: problem.code(),
            severity,
            text: String::new(),
            expected: None,
            suggestion: None,
            message: Text::new(problem.en(), problem.ja()),
        });
    }

    /// The file of a span.
    pub fn path(&self, at: Span) -> PathBuf {
        self.files.get(at.file as usize).cloned().unwrap_or_default()
    }

    /// `file:line`, for texts that point to an earlier definition.
    pub fn place(&self, at: Span) -> String {
        format!("{}:{}", self.path(at).display(), at.line)
    }

    /// Errors reported so far, those past the limit included.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Everything reported, sorted by place.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        let cap = if self.diagnostics.len() > MAX_DIAGNOSTICS { self.diagnostics.pop() } else { None };
        self.diagnostics.sort();
        self.diagnostics.dedup();
        self.diagnostics.extend(cap);
        self.diagnostics.iter_mut().for_each(Diagnostic::make_printable);
        self.diagnostics
    }
}

/// A diagnostic just reported, to be refined.
pub struct Report<'a>(Option<&'a mut Diagnostic>);

impl Report<'_> {
    /// The offending text.
    pub fn text(mut self, text: &str) -> Self {
        if let Some(diagnostic) = &mut self.0 {
            diagnostic.text = shorten(text);
        }
        self
    }
    /// What would have been right.
    pub fn expected(mut self, expected: Text) -> Self {
        if let Some(diagnostic) = &mut self.0 {
            diagnostic.expected = Some(expected);
        }
        self
    }
    /// Why, behind the sentence.
    pub fn because(mut self, why: Text) -> Self {
        if let Some(diagnostic) = &mut self.0 {
            diagnostic.message.en += &format!(": {}", why.en);
            diagnostic.message.ja += &format!(": {}", why.ja);
        }
        self
    }
    /// The replacement that was probably meant.
    pub fn suggest(mut self, suggestion: Option<impl Into<String>>) -> Self {
        if let Some(diagnostic) = &mut self.0 {
            diagnostic.suggestion = suggestion.map(Into::into);
        }
        self
    }
}

/// At most [`TEXT_LIMIT`] characters, [`printable`].
pub fn shorten(text: &str) -> String {
    let mut out: String = text.chars().take(TEXT_LIMIT).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    printable(&out)
}

/// Control characters shown as `\u{…}`, so that a terminal stays sane and a line stays one.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(name: &str) -> Problem {
        Problem::UnknownName { kind: "zone".into(), name: name.into() }
    }

    #[test]
    fn renders_place_code_expectation_and_suggestion() {
        let mut sink = Sink::default();
        let file = sink.add_file("p.yaml".into());
        sink.report(Span { file, line: 3, col: 7 }, &problem("offce"))
            .text("offce")
            .expected(Text::same("a zone"))
            .suggest(Some("office"));
        let all = sink.finish();
        assert_eq!(
            all[0].to_string(),
            "p.yaml:3:7: error[E040]: no zone is called `offce`; expected a zone; did you mean `office`?"
        );
        assert!(all[0].render(Lang::Ja).contains("「office」ではありませんか"));
        let json = serde_json::to_value(&all[0]).unwrap_or_default();
        assert_eq!(json["code"], "E040");
        assert_eq!(json["severity"], "error");
        assert_eq!(json["line"], 3);
    }

    #[test]
    fn sorts_by_place_and_stops_at_the_limit() {
        let mut sink = Sink::default();
        let file = sink.add_file("p.yaml".into());
        for line in (1..=MAX_DIAGNOSTICS as u32 + 50).rev() {
            sink.report(Span { file, line, col: 1 }, &problem("x"));
        }
        assert_eq!(sink.errors(), MAX_DIAGNOSTICS + 50);
        let all = sink.finish();
        assert_eq!(all.len(), MAX_DIAGNOSTICS + 1);
        assert!(all.windows(2).take(MAX_DIAGNOSTICS - 1).all(|w| w[0].line < w[1].line));
        assert_eq!(all.last().map(|d| d.code), Some("E099"));
    }

    #[test]
    fn control_characters_never_reach_a_terminal() {
        assert_eq!(shorten("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        let mut sink = Sink::default();
        let file = sink.add_file("p\u{1b}.yaml".into());
        sink.report(Span { file, line: 3, col: 7 }, &problem("a\u{1b}[2J\n\u{7}"))
            .text("a\u{1b}[2J")
            .expected(Text::same("b\u{1b}"))
            .because(Text::same("c\u{9b}"))
            .suggest(Some("d\u{1b}"));
        let all = sink.finish();
        for line in [all[0].render(Lang::En), all[0].render(Lang::Ja)] {
            assert!(!line.contains(char::is_control), "{line:?}");
            for quoted in ["p\\u{1b}.yaml", "a\\u{1b}[2J\\n", "b\\u{1b}", "c\\u{9b}", "d\\u{1b}"] {
                assert!(line.contains(quoted), "{line} does not show {quoted}");
            }
        }
        let held = [&all[0].message.en, &all[0].message.ja, &all[0].text];
        assert!(held.iter().all(|text| !text.contains(char::is_control)), "{held:?}");
        assert_eq!(shorten(&"あ".repeat(500)).chars().count(), TEXT_LIMIT + 1);
    }
}
