//! The search for an order: depth first, one configuration at most once.

use hashbrown::HashSet;

use super::events::{Cursor, Events};
use super::items::Item;
use super::placed::{Configuration, Placed};
use super::uses::{Class, Uses};
use crate::transition::{Effect, State};

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// An order of the operations that happened, by their [`Item::source`].
    Order(Vec<usize>),
    /// There is none.
    NoOrder,
    /// Nothing yet.
    OutOfSteps,
}

/// Looks for an order of `items` that goes with time and with what each must have found. Gives up after `steps` items
/// that were tried as the next one.
pub(super) fn search(mut items: Vec<Item>, steps: u64) -> Found {
    items.sort_by_key(|item| (item.deadline.is_none(), item.invoked));
    Search::new(&items, steps).run()
}

/// A point at which the search had a choice.
struct Choice {
    /// How many items were placed.
    placed: usize,
    /// What is still to be tried, the best last.
    candidates: Vec<usize>,
}

struct Search<'a> {
    items: &'a [Item],
    events: Events,
    uses: Uses,
    placed: Placed,
    state: State,
    /// Items in their order so far, each with the state that it found.
    order: Vec<(usize, State)>,
    /// How many of those are missing that must have happened.
    required: usize,
    choices: Vec<Choice>,
    seen: HashSet<Configuration>,
    steps: u64,
}

/// A candidate for the next place.
struct Candidate {
    item: usize,
    class: Class,
}

impl<'a> Search<'a> {
    fn new(items: &'a [Item], steps: u64) -> Self {
        let events = Events::of(items);
        let required = items.iter().filter(|item| item.deadline.is_some()).count();
        Self {
            items,
            uses: Uses::of(items, &events),
            events,
            placed: Placed::nothing(required, items.len() - required),
            state: None,
            order: vec![],
            required,
            choices: vec![],
            seen: HashSet::new(),
            steps,
        }
    }

    fn run(mut self) -> Found {
        loop {
            self.place_observers();
            if self.required == 0 {
                let order = self.order.iter();
                return Found::Order(order.map(|(item, _)| self.items[*item].source).collect());
            }
            self.open_choice();
            let Some(item) = self.next_choice() else {
                return Found::NoOrder;
            };
            if self.steps == 0 {
                return Found::OutOfSteps;
            }
            self.steps -= 1;
            self.place(item);
        }
    }

    /// Places all that only look, and may have found what is there now. Never wrong: in any order that places them later
    /// they can be moved here, and what follows finds the same.
    fn place_observers(&mut self) {
        let mut cursor = Cursor::default();
        while let Some((item, place)) = self.events.open_after(cursor) {
            let transition = self.items[item].transition;
            if transition.effect == Effect::Keep && transition.step(self.state).is_some() {
                self.place(item);
            } else {
                cursor = place;
            }
        }
    }

    /// Notes what may come next. Nothing, if the search was at this point before.
    fn open_choice(&mut self) {
        let configuration = self.placed.configuration(self.state);
        let candidates = if self.seen.insert(configuration) {
            self.candidates()
        } else {
            vec![]
        };
        self.choices.push(Choice {
            placed: self.order.len(),
            candidates,
        });
    }

    /// Goes back to the last point with something to try.
    fn next_choice(&mut self) -> Option<usize> {
        loop {
            let choice = self.choices.last_mut()?;
            let (placed, candidate) = (choice.placed, choice.candidates.pop());
            while self.order.len() > placed {
                self.take_back();
            }
            if candidate.is_some() {
                return candidate;
            }
            self.choices.pop();
        }
    }

    fn place(&mut self, item: usize) {
        let one = &self.items[item];
        let next = one.transition.step(self.state);
        self.order.push((item, self.state));
        self.state = next.expect("only what can happen in this state is placed");
        self.required -= usize::from(one.deadline.is_some());
        self.events.lift(item);
        self.uses.lift(one);
        self.placed.flip(item);
    }

    fn take_back(&mut self) {
        let Some((item, found)) = self.order.pop() else {
            return;
        };
        let one = &self.items[item];
        self.state = found;
        self.required += usize::from(one.deadline.is_some());
        self.events.put_back(item);
        self.uses.put_back(one);
        self.placed.flip(item);
    }

    /// What may come next, the best last; of each class only the one with the first deadline. That is enough: an order
    /// that begins with another of its class stays one when the two change places.
    fn candidates(&self) -> Vec<usize> {
        let due = self.events.first_due();
        let frontier = due.map_or(usize::MAX, |item| self.events.answer(item));
        let mut candidates: Vec<Candidate> = vec![];
        for item in self.events.open() {
            if !self.may_change_state(item) {
                continue;
            }
            let class = self.class(item, frontier);
            match candidates.iter_mut().find(|other| other.class == class) {
                None => candidates.push(Candidate { item, class }),
                Some(other) if self.events.answer(item) < self.events.answer(other.item) => {
                    other.item = item;
                }
                Some(_) => {}
            }
        }
        candidates.sort_by_key(|candidate| std::cmp::Reverse(self.rank(candidate, due)));
        candidates
            .into_iter()
            .map(|candidate| candidate.item)
            .collect()
    }

    fn may_change_state(&self, item: usize) -> bool {
        let one = &self.items[item];
        if one.transition.effect == Effect::Keep {
            return false;
        }
        let Some(next) = one.transition.step(self.state) else {
            return false;
        };
        let necessary = one.deadline.is_some() || self.is_of_use(item, next);
        necessary && (next == self.state || self.uses.may_leave(self.state, one))
    }

    /// Whether an item that may never have happened can matter here. The next one after it is open now. If that does not
    /// depend on what it finds, or could happen without the former and leave the same, leaving the former out changes
    /// nothing.
    fn is_of_use(&self, item: usize, next: State) -> bool {
        let needs = |other: usize| {
            let transition = self.items[other].transition;
            let cares =
                transition.step(self.state).is_none() || transition.effect == Effect::Increment;
            other != item && cares && transition.step(next).is_some()
        };
        next != self.state && self.events.open().any(needs)
    }

    fn class(&self, item: usize, frontier: usize) -> Class {
        let one = &self.items[item];
        if self.uses.is_complete(one, frontier) {
            Class::Complete(one.transition.guard)
        } else {
            Class::Same(one.transition)
        }
    }

    /// What is tried first: the item that is due, or what lets it happen; then what must happen, by deadline.
    fn rank(&self, candidate: &Candidate, due: Option<usize>) -> (bool, bool, usize) {
        let one = &self.items[candidate.item];
        let next = one.transition.step(self.state);
        let enables = |due: usize| {
            let due = self.items[due].transition;
            next.is_some_and(|next| due.step(next).is_some())
        };
        let helps = due.is_some_and(|due| candidate.item == due || enables(due));
        (
            !helps,
            one.deadline.is_none(),
            self.events.answer(candidate.item),
        )
    }
}
