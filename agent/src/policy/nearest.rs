//! The known name a misspelt one most resembles.

/// Longest text worth comparing; keeps the cost bounded on hostile input.
const LONGEST: usize = 64;

/// The candidate nearest to `text`, if it is near enough to be what was meant: at most a third of its
/// letters differ (a swap of neighbours counts once).
pub(crate) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text: Vec<char> = text.chars().take(LONGEST + 1).flat_map(char::to_lowercase).collect();
    if text.is_empty() || text.len() > LONGEST {
        return None;
    }
    let limit = (text.len() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (distance(&text, &candidate.chars().collect::<Vec<_>>()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let width = b.len() + 1;
    let mut rows = vec![0usize; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            let value = if i == 0 || j == 0 {
                i + j
            } else {
                let same = usize::from(a[i - 1] != b[j - 1]);
                let mut best = (rows[(i - 1) * width + j] + 1)
                    .min(rows[i * width + j - 1] + 1)
                    .min(rows[(i - 1) * width + j - 1] + same);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[(i - 2) * width + j - 2] + 1);
                }
                best
            };
            rows[i * width + j] = value;
        }
    }
    rows[a.len() * width + b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_typing_mistakes_and_leaves_strangers_alone() {
        let known = ["internet", "lgwan", "vendor"];
        assert_eq!(nearest("intrenet", known), Some("internet"));
        assert_eq!(nearest("lgwn", known), Some("lgwan"));
        assert_eq!(nearest("LGWAN", known), Some("lgwan"));
        assert_eq!(nearest("office", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"i".repeat(10_000), known), None);
    }

    #[test]
    fn a_swap_of_neighbours_counts_once() {
        let chars = |s: &str| s.chars().collect::<Vec<_>>();
        assert_eq!(distance(&chars("abcd"), &chars("abdc")), 1);
        assert_eq!(distance(&chars(""), &chars("abc")), 3);
        assert_eq!(distance(&chars("kitten"), &chars("sitting")), 3);
    }
}
