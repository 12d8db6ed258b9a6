//! Totals in half the room.
//!
//! Of thousands of processes everything is remembered twice, and hardly any of them has done more
//! than four billion of anything.

use super::Totals;

/// [`Totals`], in 32 bits each as long as that is enough for all of them.
///
/// Equal ones are kept alike, so they can be compared as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NarrowTotals<const N: usize> {
    Narrow([u32; N]),
    /// Boxed, since few processes have any.
    Wide(Box<Totals<N>>),
}

impl<const N: usize> NarrowTotals<N> {
    /// What is kept.
    pub(crate) fn get(&self) -> Totals<N> {
        match self {
            NarrowTotals::Narrow(narrow) => Totals(narrow.map(u64::from)),
            NarrowTotals::Wide(wide) => **wide,
        }
    }

    /// Keeps these instead, in the same room where they need a box again.
    pub(crate) fn replace(&mut self, totals: Totals<N>) {
        match (narrowed(totals), &mut *self) {
            (Some(narrow), _) => *self = NarrowTotals::Narrow(narrow),
            (None, NarrowTotals::Wide(wide)) => **wide = totals,
            (None, NarrowTotals::Narrow(_)) => *self = NarrowTotals::Wide(Box::new(totals)),
        }
    }
}

impl<const N: usize> From<Totals<N>> for NarrowTotals<N> {
    fn from(totals: Totals<N>) -> Self {
        match narrowed(totals) {
            Some(narrow) => NarrowTotals::Narrow(narrow),
            None => NarrowTotals::Wide(Box::new(totals)),
        }
    }
}

/// All of them in 32 bits, or `None`.
fn narrowed<const N: usize>(Totals(totals): Totals<N>) -> Option<[u32; N]> {
    let all_bits = totals.iter().fold(0, |bits, number| bits | number);
    #[expect(clippy::cast_possible_truncation, reason = "no bit beyond is set")]
    u32::try_from(all_bits).is_ok().then(|| totals.map(|number| number as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_was_given() {
        fn check(totals: [u64; 2]) {
            let totals = Totals(totals);
            assert_eq!(NarrowTotals::from(totals).get(), totals);
            for before in [[0, 0], [0, u64::MAX]] {
                let mut kept = NarrowTotals::from(Totals(before));
                kept.replace(totals);
                assert_eq!(kept, NarrowTotals::from(totals), "after {before:?}");
            }
        }
        let edge = u64::from(u32::MAX);
        check([0, 0]);
        check([1, edge]);
        check([edge + 1, 0]);
        check([0, edge + 1]);
        check([u64::MAX, 1 << 40]);
    }

    #[test]
    fn it_takes_little_more_than_half_the_room() {
        assert_eq!(size_of::<NarrowTotals<7>>(), 32);
        assert_eq!(size_of::<Option<NarrowTotals<2>>>(), 16);
    }
}
