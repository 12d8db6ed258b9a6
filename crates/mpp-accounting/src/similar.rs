//! The nearest of some words: what a misspelt one was probably meant to be.

/// The candidate that most resembles `word`, or `None` where none is near enough to
/// be worth a question.
///
/// Near enough is one slip in every three letters: a letter missing, added, wrong, or
/// exchanged with its neighbour. Of equally near candidates the first one wins.
#[must_use]
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(WORD_LENGTH_MAX).collect();
    let slips_max = (word.len() / 3).max(1);
    let mut best = None;
    for candidate in candidates {
        let letters: Vec<char> = candidate.chars().take(WORD_LENGTH_MAX).collect();
        if letters.len().abs_diff(word.len()) > slips_max {
            continue;
        }
        let slips = slips_between(&word, &letters);
        if slips <= slips_max && best.is_none_or(|(least, _)| slips < least) {
            best = Some((slips, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Longer words are compared by their beginning, so that a megabyte of nonsense costs nothing.
const WORD_LENGTH_MAX: usize = 64;

/// The optimal string alignment distance.
fn slips_between(a: &[char], b: &[char]) -> usize {
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut row = vec![0; b.len() + 1];
    for i in 1..=a.len() {
        row[0] = i;
        for j in 1..=b.len() {
            let wrong = usize::from(a[i - 1] != b[j - 1]);
            let mut slips = (last[j - 1] + wrong).min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                slips = slips.min(before_last[j - 2] + 1);
            }
            row[j] = slips;
        }
        std::mem::swap(&mut before_last, &mut last);
        std::mem::swap(&mut last, &mut row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(word: &str, expected: Option<&str>) {
        assert_eq!(closest(word, ["name", "user", "cmdline", "pidfile"]), expected, "{word}");
    }

    #[test]
    fn finds_the_word_that_was_meant() {
        check("name", Some("name"));
        check("nmae", Some("name"));
        check("usr", Some("user"));
        check("comdline", Some("cmdline"));
        check("pid-file", Some("pidfile"));
    }

    #[test]
    fn asks_nothing_about_a_word_far_from_all() {
        check("", None);
        check("colour", None);
        check(&"name".repeat(100_000), None);
    }

    proptest! {
        #[test]
        fn a_word_is_nearest_to_itself(word in "[a-z.]{1,20}") {
            prop_assert_eq!(closest(&word, [word.as_str()]), Some(word.as_str()));
        }

        #[test]
        fn the_distance_is_the_same_in_both_directions(a in "[ab]{0,8}", b in "[ab]{0,8}") {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            prop_assert_eq!(slips_between(&a, &b), slips_between(&b, &a));
        }
    }
}
