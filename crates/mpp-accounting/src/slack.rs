//! Room that one interval needed and those after it do not.
//!
//! What is kept from one interval to the next is kept for its room, so that nothing is allocated
//! while little changes. The trap: a single storm would set the size for ever. So it is noted
//! how much the latest intervals needed, and what is more than twice that is given back. In
//! between nothing is allocated anew, however the need goes up and down within the double.
//! Lists of what is remembered of thousands of processes do not double when one more comes, and
//! newcomers find their places by keys alone.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash};

/// So many intervals in a row must need less before room is given back. After a storm it is
/// given back within twice as many.
pub const INTERVALS: u32 = 10;

/// Room for so many is never given back.
const KEPT_MIN: usize = 64;

/// One more for each so many rows there is room for.
const NEWCOMERS_SHARE: usize = 16;

/// Makes room for so many more: where there is not enough, for a sixteenth of all on top, and not
/// for twice as many, which is never needed again.
pub fn make_room<T>(list: &mut Vec<T>, count: usize) {
    if list.capacity() - list.len() < count {
        let all = list.len().saturating_add(count);
        list.reserve_exact(count.saturating_add(all / NEWCOMERS_SHARE));
    }
}

/// So many rows are put into their places one by one: to sort even the keys of all takes room for
/// them.
const FEW: usize = 32;

/// Takes rows over into a list that ascends by key, each into its place.
///
/// Rows are moved by their keys alone: to merge them would take room for as many again.
pub fn merge<T, K: Ord>(list: &mut Vec<T>, newcomers: &mut Vec<T>, key_of: impl Fn(&T) -> K) {
    if newcomers.is_empty() {
        return;
    }
    if list.is_empty() {
        std::mem::swap(list, newcomers);
    } else {
        make_room(list, newcomers.len());
        list.append(newcomers);
    }
    let ascending = list.windows(2).position(|pair| key_of(&pair[1]) < key_of(&pair[0]));
    let Some(ascending) = ascending else { return };
    if list.len() - ascending > FEW {
        list.sort_by_cached_key(key_of);
        return;
    }
    for from in ascending + 1..list.len() {
        let (before, rest) = list.split_at(from);
        let to = before.partition_point(|row| key_of(row) <= key_of(&rest[0]));
        list[to..=from].rotate_right(1);
    }
}

/// How much of one list's room the latest intervals needed.
#[derive(Clone, Debug, Default)]
pub struct Slack {
    needed_max: usize,
    intervals: u32,
}

impl Slack {
    /// Takes account of so much having been needed at one time within the interval, of a list that
    /// is filled more than once.
    pub fn note(&mut self, needed: usize) {
        self.needed_max = self.needed_max.max(needed);
    }

    /// Ends an interval of a list, now that it is as long as it became in that interval. Returns
    /// whether room was given back.
    pub fn give_back<T>(&mut self, list: &mut Vec<T>) -> bool {
        let room = self.end_interval(list.len(), list.capacity());
        room.inspect(|room| list.shrink_to(*room)).is_some()
    }

    /// The same of a map.
    pub fn give_back_map<K, V, S>(&mut self, map: &mut HashMap<K, V, S>) -> bool
    where
        K: Eq + Hash,
        S: BuildHasher,
    {
        let room = self.end_interval(map.len(), map.capacity());
        room.inspect(|room| map.shrink_to(*room)).is_some()
    }

    /// The same of a set.
    pub fn give_back_set<T, S>(&mut self, set: &mut HashSet<T, S>) -> bool
    where
        T: Eq + Hash,
        S: BuildHasher,
    {
        let room = self.end_interval(set.len(), set.capacity());
        room.inspect(|room| set.shrink_to(*room)).is_some()
    }

    /// Notes what an interval needed. Returns how much room is enough, once what there is has
    /// been more than twice that for long.
    fn end_interval(&mut self, needed: usize, capacity: usize) -> Option<usize> {
        self.note(needed);
        self.intervals += 1;
        if self.intervals < INTERVALS {
            return None;
        }
        let needed_max = self.needed_max;
        *self = Slack::default();
        // A little more than was needed, or the next interval would have to grow it again.
        let enough = needed_max.saturating_add(needed_max / 4).max(KEPT_MIN);
        (capacity / 2 > enough).then_some(enough)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What room there is after each interval that needs so much.
    fn capacities(needs: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let (mut slack, mut list) = (Slack::default(), Vec::new());
        let capacity = |needed: usize| {
            list.clear();
            list.resize(needed, 0_u64);
            slack.give_back(&mut list);
            assert_eq!(list.len(), needed, "what is there stays");
            list.capacity()
        };
        needs.into_iter().map(capacity).collect()
    }

    #[test]
    fn room_for_a_storm_is_given_back_within_twice_the_intervals() {
        for quiet_before in 0..INTERVALS as usize {
            let storm = std::iter::repeat_n(100, quiet_before).chain([10_000]);
            let after = std::iter::repeat_n(100, 2 * INTERVALS as usize);
            let capacities = capacities(storm.chain(after));
            let last = *capacities.last().expect("one for each interval");
            assert!(last <= 250, "{last} after a storm behind {quiet_before} intervals");
        }
    }

    #[test]
    fn what_was_needed_within_an_interval_counts_whatever_is_left_at_its_end() {
        let (mut slack, mut list) = (Slack::default(), Vec::with_capacity(10_000));
        let mut capacity_after = |needed: usize| {
            for _ in 0..INTERVALS {
                slack.note(needed);
                list.clear();
                list.push(0_u64);
                slack.give_back(&mut list);
            }
            list.capacity()
        };
        assert!(capacity_after(9000) >= 9000);
        assert!(capacity_after(100) <= 250);
    }

    #[test]
    fn needs_that_go_up_and_down_within_the_double_move_nothing() {
        fn check(needs: &[usize]) {
            let rounds = 10 * INTERVALS as usize;
            let capacities = capacities(needs.iter().cycle().copied().take(rounds));
            let settled = &capacities[needs.len()..];
            assert!(settled.iter().all(|room| room == &settled[0]), "{needs:?}: {settled:?}");
        }
        check(&[1000]);
        check(&[1000, 600, 900]);
        check(&[0, 50]);
        check(&[2000, 0, 0, 0, 0]);
    }

    #[test]
    fn newcomers_are_merged_without_doubling_the_room() {
        fn check(list: &[u32], newcomers: &[u32]) {
            let (mut merged, mut rest) = (list.to_vec(), newcomers.to_vec());
            merge(&mut merged, &mut rest, |row| *row);
            let mut expected = [list, newcomers].concat();
            expected.sort_unstable();
            assert_eq!((merged, rest), (expected, Vec::new()));
        }
        check(&[], &[]);
        check(&[], &[3, 1]);
        check(&[1, 2], &[]);
        check(&[1, 2], &[3, 9]);
        check(&[1, 5, 9], &[0, 3, 7, 10]);
        check(&[], &[4, 5, 6, 1]);
        let many: Vec<u32> = (0..100).map(|number| number * 7 % 101).collect();
        check(&[50, 200], &many[..FEW]);
        check(&[50, 200], &many);
        let mut many: Vec<u32> = (0..10_000).collect();
        merge(&mut many, &mut vec![10_000], |row| *row);
        assert!(many.capacity() < 11_000, "{}", many.capacity());
        let room = many.capacity();
        merge(&mut many, &mut (10_001..10_400).collect(), |row| *row);
        assert_eq!(many.capacity(), room, "one more for each sixteen there already was");
    }

    #[test]
    fn maps_and_sets_give_back_as_lists_do() {
        let mut map: HashMap<u32, u32> = (0..10_000).map(|n| (n, n)).collect();
        let mut set: HashSet<u32> = (0..10_000).collect();
        let (mut of_map, mut of_set) = (Slack::default(), Slack::default());
        map.retain(|n, _| *n < 100);
        set.retain(|n| *n < 100);
        for _ in 0..INTERVALS {
            of_map.give_back_map(&mut map);
            of_set.give_back_set(&mut set);
        }
        assert!(map.capacity() < 1000 && set.capacity() < 1000);
        assert_eq!((map.len(), set.len()), (100, 100));
    }
}
