//! Looking for rows that ascend by key, where the keys that are asked for mostly ascend, too.
//!
//! Two lists of a storm's thousands are joined this way without a hash table and without looking
//! through the whole list for each: the next one is rarely far.

use std::cell::Cell;

use crate::process::ProcessKey;

/// So many rows are looked at one by one before the steps double.
const NEAR: usize = 4;

/// How far rows have been walked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Walk {
    position: Cell<usize>,
}

impl Walk {
    /// Where the row of a key is; `None` where there is none. Costs least where it stands near
    /// behind the one that was asked for before, and finds it wherever it stands.
    ///
    /// Between two calls rows may come and go, as long as they ascend by key.
    pub(crate) fn find<T>(
        &self,
        rows: &[T],
        key: ProcessKey,
        key_of: impl Fn(&T) -> ProcessKey,
    ) -> Option<usize> {
        let position = self.seek(rows, |row| key_of(row) < key);
        rows.get(position).filter(|row| key_of(row) == key).map(|_| position)
    }

    /// All rows of a key, which may be several.
    pub(crate) fn find_all<'a, T>(
        &self,
        rows: &'a [T],
        key: ProcessKey,
        key_of: impl Fn(&T) -> ProcessKey,
    ) -> &'a [T] {
        let begin = self.seek(rows, |row| key_of(row) < key);
        let rest = rows.get(begin..).unwrap_or_default();
        let length = rest.iter().take_while(|row| key_of(row) == key).count();
        rest.get(..length).unwrap_or_default()
    }

    /// Walks to the first row that is not before what is looked for.
    fn seek<T>(&self, rows: &[T], is_before: impl Fn(&T) -> bool) -> usize {
        let mut position = self.position.get().min(rows.len());
        if position > 0 && !is_before(&rows[position - 1]) {
            position = rows[..position].partition_point(is_before);
        } else {
            let mut looked_at = 0;
            while looked_at < NEAR && rows.get(position).is_some_and(&is_before) {
                (position, looked_at) = (position + 1, looked_at + 1);
            }
            if looked_at == NEAR {
                position = seek_far(rows, position, is_before);
            }
        }
        self.position.set(position);
        position
    }
}

/// The same from a position on, in steps that double, and then between the last two.
fn seek_far<T>(rows: &[T], mut begin: usize, is_before: impl Fn(&T) -> bool) -> usize {
    let mut step = NEAR;
    while rows.get(begin + step - 1).is_some_and(&is_before) {
        begin += step;
        step *= 2;
    }
    let end = (begin + step).min(rows.len());
    begin + rows[begin..end].partition_point(is_before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pid: u32) -> ProcessKey {
        ProcessKey { pid, start_time_ticks: 5 }
    }

    #[test]
    fn every_row_is_found_in_whatever_order_it_is_asked_for() {
        fn check(rows: &[u32], asked: &[u32]) {
            let walk = Walk::default();
            for pid in asked {
                let expected = rows.iter().position(|row| row == pid);
                assert_eq!(walk.find(rows, key(*pid), |row| key(*row)), expected, "{asked:?}");
            }
        }
        check(&[], &[1, 0]);
        check(&[4], &[4, 4, 3, 5, 4]);
        let many: Vec<u32> = (0..100).map(|n| n * 3).collect();
        check(&many, &(0..310).collect::<Vec<_>>());
        check(&many, &(0..310).rev().collect::<Vec<_>>());
        check(&many, &[0, 297, 3, 296, 298, 1, 150, 149, 151, 150]);
    }

    #[test]
    fn rows_of_one_key_are_found_together() {
        fn check(asked: &[(u32, usize)]) {
            let rows = [1, 1, 3, 3, 3, 7];
            let walk = Walk::default();
            for (pid, count) in asked {
                let found = walk.find_all(&rows, key(*pid), |row| key(*row));
                assert_eq!(found, vec![*pid; *count], "{asked:?}");
            }
        }
        check(&[(1, 2), (2, 0), (3, 3), (7, 1), (8, 0)]);
        check(&[(7, 1), (3, 3), (3, 3), (1, 2), (0, 0)]);
    }
}
