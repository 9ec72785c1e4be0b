//! How far words are from each other.

/// Whether one text becomes the other by so many insertions, deletions and replacements of characters.
pub(super) fn is_within(one: &str, other: &str, edits: usize) -> bool {
    // No character has more than four bytes.
    if one.len().abs_diff(other.len()) > edits * 4 {
        return false;
    }
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if one.len().abs_diff(other.len()) > edits {
        return false;
    }
    // The table of distances between beginnings, row by row: of each row what lies as near to the diagonal as there may be
    // edits. All else is over.
    let over = edits + 1;
    let mut row: Vec<usize> = (0..=2 * edits).map(|at| at.checked_sub(edits).unwrap_or(over)).collect();
    for (before, left) in one.iter().enumerate() {
        let mut inserted = over;
        for at in 0..row.len() {
            let value = |at: usize| row.get(at).copied().unwrap_or(over);
            let distance = match (before + 1 + at).checked_sub(edits) {
                Some(0) => before + 1,
                Some(place) if place <= other.len() => {
                    let replaced = value(at) + usize::from(other.get(place - 1) != Some(left));
                    replaced.min(value(at + 1) + 1).min(inserted + 1)
                }
                _ => over,
            };
            inserted = distance.min(over);
            if let Some(distance) = row.get_mut(at) {
                *distance = inserted;
            }
        }
        if row.iter().all(|distance| *distance == over) {
            return false;
        }
    }
    let end = (other.len() + edits).checked_sub(one.len());
    end.and_then(|end| row.get(end)).is_some_and(|distance| *distance <= edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_near_by_edits() {
        for (one, other, edits) in [
            ("quick", "quick", 0),
            ("quick", "quik", 1),
            ("quick", "quicks", 1),
            ("quick", "qvick", 1),
            ("quick", "qucik", 2),
            ("kitten", "sitting", 3),
            ("", "ab", 2),
            ("ab", "ba", 2),
            ("abc", "ca", 3),
            ("ü", "u", 1),
        ] {
            assert!(is_within(one, other, edits) && is_within(other, one, edits), "{one} {other}");
            assert!(is_within(one, other, edits + 1) && is_within(other, one, edits + 1), "{one} {other}");
            assert!(edits == 0 || !is_within(one, other, edits - 1), "{one} {other}");
        }
    }
}
