//! Who can still bring about a state, and who still needs it.

use hashbrown::HashMap;

use super::events::Events;
use super::items::Item;
use crate::transition::{Effect, Guard, State, Transition};

/// What items that are not placed yet have to do with one state.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    /// Items that leave it.
    writers: usize,
    /// Items that must happen and can happen in this state only.
    waiting: usize,
    /// Position of the last invocation among all items that list it in their guard, 0 if there is none.
    last_found: usize,
    /// Whether one of those changes the state.
    left_by_a_finder: bool,
}

/// The uses of all states of a key.
#[derive(Debug)]
pub(super) struct Uses {
    states: HashMap<State, Use>,
    /// Unknown INCRs, which leave a greater state.
    increments: usize,
    /// Others than INCRs, which may leave a lesser one.
    resets: usize,
}

impl Uses {
    pub(super) fn of(items: &[Item], events: &Events) -> Self {
        let mut uses = Self {
            states: HashMap::new(),
            increments: 0,
            resets: 0,
        };
        for (index, item) in items.iter().enumerate() {
            let writes = item.transition.effect != Effect::Keep;
            for state in item.transition.guard.listed() {
                let one = uses.states.entry(state).or_default();
                one.last_found = one.last_found.max(events.invocation(index));
                one.left_by_a_finder |= writes;
            }
            uses.put_back(item);
        }
        uses
    }

    /// `item` is placed.
    pub(super) fn lift(&mut self, item: &Item) {
        self.count(item, |count| *count -= 1);
    }

    /// `item` is not placed any more.
    pub(super) fn put_back(&mut self, item: &Item) {
        self.count(item, |count| *count += 1);
    }

    fn count(&mut self, item: &Item, change: impl Fn(&mut usize)) {
        match item.transition.effect {
            Effect::Keep => {}
            Effect::Increment => change(&mut self.increments),
            Effect::Become(state) => {
                change(&mut self.states.entry(state).or_default().writers);
                if !matches!(item.transition.guard, Guard::CountsTo(_)) {
                    change(&mut self.resets);
                }
            }
        }
        if let Some(state) = needs(item) {
            change(&mut self.states.entry(state).or_default().waiting);
        }
    }

    /// Whether `item`, which is not placed, may take the key out of `state`: not if another needs that state and nothing
    /// can bring it back.
    pub(super) fn may_leave(&self, state: State, item: &Item) -> bool {
        let Some(one) = self.states.get(&state) else {
            return true;
        };
        let others = one.waiting - usize::from(needs(item) == Some(state));
        others == 0 || one.writers > 0 || (self.increments > 0 && self.resets > 0)
    }

    /// Whether `item`, which is not placed, is the only one that can bring about its value, and all that find this value
    /// only look and are invoked before `frontier`. Then they can all follow it at once. One that may never have happened
    /// must have none that find its value: otherwise another cannot do in its place.
    pub(super) fn is_complete(&self, item: &Item, frontier: usize) -> bool {
        let Effect::Become(state @ Some(_)) = item.transition.effect else {
            return false;
        };
        let one = self.states.get(&state).copied().unwrap_or_default();
        (item.deadline.is_some() || one.last_found == 0)
            && self.increments == 0
            && one.writers == 1
            && !one.left_by_a_finder
            && one.last_found < frontier
    }
}

/// The state without which `item` cannot happen, though it must.
fn needs(item: &Item) -> Option<State> {
    item.deadline.and_then(|_| item.transition.guard.only())
}

/// Items of one class are as good as each other for the search, but for their deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Those that are complete (see [`Uses::is_complete`]) and may happen in the same states.
    Complete(Guard),
    /// Those that do the same.
    Same(Transition),
}
