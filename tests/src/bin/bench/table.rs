//! What a person reads on the terminal and in the page: one table a cell.

use std::fmt::Write as _;

use crate::{
    cell::{Cell, Cells},
    traffic::Fate,
};

/// The floor of a cell's path.
pub(crate) fn floor(cell: &Cell) -> &'static str {
    if cell.kind.fate == Fate::Drop { "xdp-drop" } else { "xdp-fwd" }
}

/// Cells of one title, as Markdown rows that read well in a terminal too. `own` is the cost above the floor of the
/// path; the last column is Sekimori's share of the row's subject.
pub(crate) fn render(cells: &Cells, stage: usize, title: &str) -> String {
    let rows: Vec<&Cell> = cells.0.iter().filter(|cell| cell.stage == stage && cell.title() == title).collect();
    let mut text = format!("### {title}\n\n");
    text.push_str("| subject            |   min | median |    max |   own | sekimori ÷ it |\n");
    text.push_str("| :----------------- | ----: | -----: | -----: | ----: | ------------: |\n");
    let sekimori = rows.iter().find(|cell| cell.subject == "sekimori").and_then(|cell| cell.min());
    for cell in &rows {
        if let Some(why) = &cell.void {
            writeln!(text, "| {:18} | no figure: {why} |", cell.subject).ok();
            continue;
        }
        let least = rows.iter().find(|other| other.subject == floor(cell)).and_then(|floor| floor.min());
        let shown = |ns: Option<u64>| ns.map_or("-".into(), |ns| ns.to_string());
        let own = match (cell.min(), least) {
            (Some(ns), Some(least)) => (i128::from(ns) - i128::from(least)).to_string(),
            _ => "-".into(),
        };
        let ratio = match (sekimori, cell.min()) {
            (Some(ours), Some(theirs)) if cell.subject != "sekimori" => {
                format!("{:.2}", ours as f64 / theirs.max(1) as f64)
            }
            _ => String::new(),
        };
        writeln!(
            text,
            "| {:18} | {:>5} | {:>6} | {:>6} | {own:>5} | {ratio:>13} |",
            cell.subject,
            shown(cell.min()),
            shown(cell.median()),
            shown(cell.max())
        )
        .ok();
    }
    text
}

/// Stages and titles in the order in which they were measured.
pub(crate) fn titles(cells: &Cells) -> Vec<(usize, String)> {
    let mut titles = Vec::new();
    for cell in &cells.0 {
        let title = (cell.stage, cell.title());
        if !titles.contains(&title) {
            titles.push(title);
        }
    }
    titles
}
