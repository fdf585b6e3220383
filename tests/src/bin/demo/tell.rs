//! What the audience reads, in Japanese or English.

use std::io::IsTerminal as _;

/// A text in both languages.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    en: String,
    ja: String,
}

/// Both versions of a text.
pub(crate) fn text(en: impl Into<String>, ja: impl Into<String>) -> Text {
    Text { en: en.into(), ja: ja.into() }
}

/// Speaks one of them.
#[derive(Debug)]
pub(crate) struct Teller {
    japanese: bool,
    colour: bool,
    step: std::cell::Cell<u32>,
}

impl Teller {
    /// In the language of the environment, English unless it is Japanese.
    pub(crate) fn new() -> Self {
        let language = ["LC_ALL", "LC_MESSAGES", "LANG"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
            .unwrap_or_default();
        Self {
            japanese: language.starts_with("ja"),
            colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            step: std::cell::Cell::new(0),
        }
    }

    /// The audience's version of a text.
    pub(crate) fn pick<'a>(&self, text: &'a Text) -> &'a str {
        if self.japanese { &text.ja } else { &text.en }
    }

    /// `ja` or `en`, as the command line wants it.
    pub(crate) fn language(&self) -> &'static str {
        if self.japanese { "ja" } else { "en" }
    }

    /// A chapter: bilingual, so that both halves of a room can follow.
    pub(crate) fn chapter(&self, title: &Text) {
        println!("\n{}", self.paint("1;36", &format!("{} / {}", title.ja, title.en)));
    }

    /// The next numbered step.
    pub(crate) fn step(&self, title: &Text) {
        self.step.set(self.step.get() + 1);
        println!("\n{}", self.paint("1", &format!("{:2}. {}", self.step.get(), self.pick(title))));
    }

    /// What somebody typed, and where.
    pub(crate) fn tried(&self, place: &str, command: &str) {
        self.line(&text("tried", "試行"), &format!("{place} $ {command}"));
    }

    /// What came of it.
    pub(crate) fn happened(&self, what: &Text) {
        self.line(&text("happened", "結果"), self.pick(what));
    }

    /// Which rule or reason decided.
    pub(crate) fn decided(&self, what: &Text) {
        self.line(&text("decided", "根拠"), self.pick(what));
    }

    /// A remark.
    pub(crate) fn remark(&self, what: &Text) {
        println!("    {}", self.pick(what));
    }

    /// Output of a program, indented.
    pub(crate) fn quote(&self, output: &str) {
        for line in output.trim_end().lines() {
            println!("    {} {line}", self.paint("2", "|"));
        }
    }

    fn line(&self, label: &Text, what: &str) {
        // Two Japanese characters are as wide as four Latin ones.
        let label = if self.japanese { format!("{}    ", label.ja) } else { format!("{:<8}", label.en) };
        println!("    {}  {what}", self.paint("2", &label));
    }

    fn paint(&self, code: &str, what: &str) -> String {
        if self.colour { format!("\x1b[{code}m{what}\x1b[0m") } else { what.to_owned() }
    }
}
