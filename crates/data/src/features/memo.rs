//! The ids that a feature made of texts, kept by the codes of these: a text that comes again is not cut and hashed again.
//!
//! Codes are handed out in order (see [`Tag`](crate::rows::cell::Tag)), so the lower bits of one are its slot, and a dictionary of up to
//! [`SLOTS`] entries has a slot for each. Of two codes with one slot the later is kept.

/// A power of two.
const SLOTS: usize = 1 << 16;
/// Beyond so many ids all is forgotten.
const MOST_IDS: usize = 1 << 20;

/// What a feature made of codes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memo {
    /// Each a code and where its ids start and end; no slots at all before the first code.
    slots: Vec<[u32; 3]>,
    ids: Vec<u64>,
}

impl Memo {
    /// The ids of a code.
    #[inline]
    pub(crate) fn get(&self, code: u32) -> Option<&[u64]> {
        let [kept, start, end] = *self.slots.get(code as usize % SLOTS)?;
        (kept == code && code != 0).then(|| &self.ids[start as usize..end as usize])
    }

    /// Keeps the ids of a code; those of 0, which is none, are not kept.
    pub(crate) fn keep(&mut self, code: u32, ids: impl Iterator<Item = u64>) {
        if code == 0 {
            return;
        }
        if self.ids.len() > MOST_IDS {
            *self = Memo::default();
        }
        if self.slots.is_empty() {
            self.slots = vec![[0; 3]; SLOTS];
        }
        let start = self.ids.len() as u32;
        self.ids.extend(ids);
        self.slots[code as usize % SLOTS] = [code, start, self.ids.len() as u32];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_find_their_own_ids() {
        let mut memo = Memo::default();
        assert_eq!((memo.get(0), memo.get(5)), (None, None));
        memo.keep(0, [9].into_iter());
        memo.keep(5, [1, 2].into_iter());
        memo.keep(6, [].into_iter());
        assert_eq!((memo.get(0), memo.get(5), memo.get(6)), (None, Some(&[1, 2][..]), Some(&[][..])));
        let same_slot = 5 + SLOTS as u32;
        assert_eq!(memo.get(same_slot), None);
        memo.keep(same_slot, [3].into_iter());
        assert_eq!((memo.get(5), memo.get(same_slot)), (None, Some(&[3][..])));
    }

    #[test]
    fn memory_is_bounded() {
        let mut memo = Memo::default();
        for code in 1..100 {
            memo.keep(code, 0..MOST_IDS as u64 / 10);
            assert!(memo.get(code).is_some_and(|ids| ids.len() == MOST_IDS / 10));
            assert!(memo.ids.len() <= MOST_IDS + MOST_IDS / 10);
        }
    }
}
