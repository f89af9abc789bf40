//! A bounded queue that shares its places and its turns between callers: one that sends more than its share
//! waits behind itself, not in front of the others. Pure, so that it can be tested without a device.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::hash::Hash;

/// An item that lost its place to a caller with a shorter line; whoever waits for it must be told.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "somebody waits for the evicted item's answer"]
pub(crate) struct Evicted<T>(pub(crate) T);

/// The item that found no place: the queue is full and nobody's line is longer than its caller's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue is full")]
pub(crate) struct Full<T>(pub(crate) T);

/// First in, first out for each caller; callers take turns. Keeps nothing of a caller without items, so its
/// memory is bounded by the items it may hold.
#[derive(Debug)]
pub(crate) struct FairQueue<K, T> {
    /// Who has items; none of them is empty.
    lines: HashMap<K, VecDeque<T>>,
    /// The callers that have items, each once, the next in turn first.
    turns: VecDeque<K>,
    len: usize,
    capacity: usize,
}

impl<K: Hash + Eq + Clone, T> FairQueue<K, T> {
    /// A queue for at most `capacity` items of all callers together.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { lines: HashMap::new(), turns: VecDeque::new(), len: 0, capacity }
    }

    /// Puts an item at the end of its caller's line. In a full queue the newest item of the longest line makes
    /// room. No line becomes longer than the one it takes from: callers with equal lines cannot evict each
    /// other in turn.
    ///
    /// # Errors
    /// The queue is full, and the item would make its caller's line the longest or as long as that.
    pub(crate) fn push(&mut self, key: K, item: T) -> Result<Option<Evicted<T>>, Full<T>> {
        let mut evicted = None;
        if self.len >= self.capacity {
            let own = self.lines.get(&key).map_or(0, VecDeque::len);
            let longest = self.lines.values_mut().max_by_key(|line| line.len());
            // Two items at least are in such a line: it does not become empty, its caller keeps its turn.
            match longest.filter(|line| line.len() > own + 1).and_then(VecDeque::pop_back) {
                Some(newest) => evicted = Some(Evicted(newest)),
                None => return Err(Full(item)),
            }
            self.len -= 1;
        }
        match self.lines.entry(key) {
            Entry::Occupied(mut line) => line.get_mut().push_back(item),
            Entry::Vacant(vacant) => {
                self.turns.push_back(vacant.key().clone());
                vacant.insert(VecDeque::new()).push_back(item);
            }
        }
        self.len += 1;
        Ok(evicted)
    }

    /// Takes up to `n` items, one of each caller in turn, and appends them to `out`. How many it took.
    pub(crate) fn pop_many(&mut self, n: usize, out: &mut Vec<T>) -> usize {
        let before = out.len();
        out.reserve(n.min(self.len));
        while out.len() - before < n
            && let Some(key) = self.turns.pop_front()
        {
            let Entry::Occupied(mut line) = self.lines.entry(key) else { continue };
            out.extend(line.get_mut().pop_front());
            if line.get().is_empty() {
                line.remove();
            } else {
                self.turns.push_back(line.key().clone());
            }
        }
        self.len -= out.len() - before;
        out.len() - before
    }

    /// Takes everything, in the order in which it would have been popped.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        let mut all = Vec::new();
        self.pop_many(self.len, &mut all);
        all
    }

    /// Changes how many items it takes; what is in it stays.
    pub(crate) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Items of all callers.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody waits.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A caller and the number of its item.
    type Item = (u8, u32);

    #[derive(Debug, Clone)]
    enum Step {
        Push(u8),
        Pop(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Caller 0 is the noisy one.
        let push = prop_oneof![3 => Just(0), 2 => 0u8..6].prop_map(Step::Push);
        vec(prop_oneof![4 => push, 1 => (0usize..5).prop_map(Step::Pop)], 0..300)
    }

    /// Plays the steps beside a list of lines and checks every answer against it. What came out, in order.
    fn play(capacity: usize, steps: &[Step]) -> Result<Vec<Item>, TestCaseError> {
        let mut queue = FairQueue::new(capacity);
        let mut model: BTreeMap<u8, Vec<Item>> = BTreeMap::new();
        let mut popped = Vec::new();
        let mut lost = 0;
        let mut pushed = 0;
        for step in steps {
            match *step {
                Step::Push(caller) => {
                    let item = (caller, pushed);
                    pushed += 1;
                    let own = model.get(&caller).map_or(0, Vec::len);
                    let longest = model.values().map(Vec::len).max().unwrap_or(0);
                    let full = model.values().map(Vec::len).sum::<usize>() == capacity;
                    match queue.push(caller, item) {
                        Ok(None) => prop_assert!(!full),
                        Ok(Some(Evicted(victim))) => {
                            prop_assert!(full);
                            prop_assert_ne!(victim.0, caller);
                            let line = model.get_mut(&victim.0).unwrap();
                            prop_assert_eq!(line.len(), longest);
                            prop_assert!(longest > own + 1, "{longest} gave way to {own}");
                            prop_assert_eq!(line.pop(), Some(victim), "not the newest");
                            lost += 1;
                        }
                        Err(Full(refused)) => {
                            prop_assert!(full && own + 1 >= longest, "{own} of {longest} was refused");
                            prop_assert_eq!(refused, item);
                            lost += 1;
                            continue;
                        }
                    }
                    model.entry(caller).or_default().push(item);
                }
                Step::Pop(n) => {
                    let before = popped.len();
                    let waiting = model.values().map(Vec::len).sum::<usize>();
                    prop_assert_eq!(queue.pop_many(n, &mut popped), n.min(waiting));
                    prop_assert_eq!(popped.len() - before, n.min(waiting));
                    for item in &popped[before..] {
                        prop_assert_eq!(model.get_mut(&item.0).unwrap().remove(0), *item, "not the oldest");
                    }
                    model.retain(|_, line| !line.is_empty());
                }
            }
            let waiting = model.values().map(Vec::len).sum::<usize>();
            prop_assert!(waiting <= capacity);
            prop_assert_eq!(queue.len(), waiting);
            prop_assert_eq!(queue.is_empty(), waiting == 0);
            prop_assert_eq!(queue.lines.len(), model.len(), "keeps callers that have nothing");
            prop_assert_eq!(queue.turns.len(), model.len());
        }
        popped.extend(queue.drain());
        prop_assert!(queue.is_empty() && queue.turns.is_empty());
        prop_assert_eq!(popped.len() + lost, pushed as usize);
        Ok(popped)
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_doubled_and_each_caller_is_served_in_order(
            capacity in 0usize..20,
            steps in steps(),
        ) {
            let popped = play(capacity, &steps)?;
            let mut last: BTreeMap<u8, u32> = BTreeMap::new();
            for (caller, number) in popped {
                prop_assert!(last.insert(caller, number).is_none_or(|before| before < number));
            }
        }

        #[test]
        fn a_quiet_callers_item_comes_within_one_round(
            lines in vec(1usize..40, 1..8),
            already in 0usize..40,
        ) {
            let mut queue = FairQueue::new(1000);
            for (caller, length) in lines.iter().enumerate() {
                for _ in 0..*length {
                    prop_assert_eq!(queue.push(caller, caller), Ok(None));
                }
            }
            queue.pop_many(already, &mut Vec::new());
            prop_assert_eq!(queue.push(99, 99), Ok(None));
            let round = queue.turns.len();
            let mut out = Vec::new();
            queue.pop_many(round, &mut out);
            prop_assert_eq!(out.last(), Some(&99));
            out.sort_unstable();
            out.dedup();
            prop_assert_eq!(out.len(), round, "somebody had two turns in one round");
        }

        #[test]
        fn whoever_keeps_within_an_even_share_is_neither_refused_nor_evicted(
            share in 1usize..6,
            pushes in vec(0usize..5, 0..300),
        ) {
            // Callers 0 and 1 push whatever comes, the others only up to their share.
            let mut queue = FairQueue::new(share * 5);
            let mut quiet = [0; 5];
            for caller in pushes {
                if caller < 2 {
                    if let Ok(Some(Evicted(victim))) = queue.push(caller, caller) {
                        prop_assert!(victim < 2, "{caller} evicted {victim}");
                    }
                } else if quiet[caller] < share {
                    quiet[caller] += 1;
                    let pushed = queue.push(caller, caller);
                    prop_assert!(pushed.is_ok());
                    if let Ok(Some(Evicted(victim))) = pushed {
                        prop_assert!(victim < 2, "{caller} evicted {victim}");
                    }
                }
            }
            let all = queue.drain();
            for (caller, pushed) in quiet.iter().enumerate().skip(2) {
                prop_assert_eq!(all.iter().filter(|item| **item == caller).count(), *pushed);
            }
        }
    }

    #[test]
    fn places_in_a_full_queue_even_out_and_stay_so() {
        let mut queue = FairQueue::new(12);
        (0..12).for_each(|n| assert_eq!(queue.push("a", n), Ok(None)));
        assert_eq!(queue.push("a", 12), Err(Full(12)));
        for (n, newest) in (6..12).rev().enumerate() {
            assert_eq!(queue.push("b", 100 + n), Ok(Some(Evicted(newest))));
        }
        // Six places each: neither can take one more, so nobody's work is thrown away in turns.
        assert_eq!(queue.push("b", 106), Err(Full(106)));
        assert_eq!(queue.push("a", 12), Err(Full(12)));
        assert!(matches!(queue.push("c", 200), Ok(Some(Evicted(5 | 105)))));
        assert_eq!(queue.len(), 12);
    }

    #[test]
    fn callers_take_turns() {
        let mut queue = FairQueue::new(10);
        for item in ["a1", "a2", "a3", "b1", "c1", "b2"] {
            assert_eq!(queue.push(item.as_bytes()[0], item), Ok(None));
        }
        let mut out = Vec::new();
        assert_eq!(queue.pop_many(2, &mut out), 2);
        assert_eq!(queue.pop_many(9, &mut out), 4);
        assert_eq!(out, ["a1", "b1", "c1", "a2", "b2", "a3"]);
    }
}
