//! Invocations and answers in order of time, as a list from which items are lifted and put back.

use super::items::Item;

/// A doubly linked list of events. Open is what may come next: all that is invoked before the first answer in the list.
/// Items that may never have happened have no answer.
#[derive(Debug)]
pub(super) struct Events {
    /// By position.
    events: Vec<Event>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// By item: the positions of its invocation and its answer.
    positions: Vec<(usize, Option<usize>)>,
}

/// What is at a position.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The beginning of the list, and its end.
    Ends,
    /// An item is invoked.
    Invocation(usize),
    /// An item must have happened.
    Answer(usize),
}

const ENDS: usize = 0;

impl Events {
    pub(super) fn of(items: &[Item]) -> Self {
        let mut times: Vec<(u64, bool, usize)> = vec![];
        for (index, item) in items.iter().enumerate() {
            times.push((item.invoked, false, index));
            times.extend(item.deadline.map(|deadline| (deadline, true, index)));
        }
        // At the same time invocations come first: operations that only touch are concurrent.
        times.sort_unstable();
        let mut positions = vec![(ENDS, None); items.len()];
        let mut events = vec![Event::Ends];
        for (_, answer, index) in times {
            if answer {
                positions[index].1 = Some(events.len());
                events.push(Event::Answer(index));
            } else {
                positions[index].0 = events.len();
                events.push(Event::Invocation(index));
            }
        }
        let length = events.len();
        Self {
            events,
            next: (0..length).map(|at| (at + 1) % length).collect(),
            previous: (0..length).map(|at| (at + length - 1) % length).collect(),
            positions,
        }
    }

    /// Position of the item's invocation.
    pub(super) fn invocation(&self, item: usize) -> usize {
        self.positions[item].0
    }

    /// Position of the item's answer; beyond all if it has none.
    pub(super) fn answer(&self, item: usize) -> usize {
        self.positions[item].1.unwrap_or(usize::MAX)
    }

    /// The items that are open, by invocation.
    pub(super) fn open(&self) -> Open<'_> {
        Open {
            events: self,
            last: Cursor::default(),
        }
    }

    /// The first open item behind `cursor`, and its place.
    pub(super) fn open_after(&self, cursor: Cursor) -> Option<(usize, Cursor)> {
        let position = self.next[cursor.0];
        match self.events[position] {
            Event::Invocation(item) => Some((item, Cursor(position))),
            Event::Answer(_) | Event::Ends => None,
        }
    }

    /// The open item that is answered first: nothing is invoked in the list before it is placed that is not open now.
    pub(super) fn first_due(&self) -> Option<usize> {
        let mut open = self.open();
        open.by_ref().for_each(drop);
        match self.events[self.next[open.last.0]] {
            Event::Answer(item) => Some(item),
            Event::Invocation(_) | Event::Ends => None,
        }
    }

    /// Takes an item out.
    pub(super) fn lift(&mut self, item: usize) {
        let (invocation, answer) = self.positions[item];
        self.unlink(invocation);
        if let Some(answer) = answer {
            self.unlink(answer);
        }
    }

    /// Puts back the item that was lifted last.
    pub(super) fn put_back(&mut self, item: usize) {
        let (invocation, answer) = self.positions[item];
        if let Some(answer) = answer {
            self.link(answer);
        }
        self.link(invocation);
    }

    fn unlink(&mut self, at: usize) {
        let (previous, next) = (self.previous[at], self.next[at]);
        self.next[previous] = next;
        self.previous[next] = previous;
    }

    fn link(&mut self, at: usize) {
        let (previous, next) = (self.previous[at], self.next[at]);
        self.next[previous] = at;
        self.previous[next] = at;
    }
}

/// A place in the list: before all at first, then an item's invocation. Good until that item is lifted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor(usize);

/// Iterates over the items that are open.
pub(super) struct Open<'a> {
    events: &'a Events,
    last: Cursor,
}

impl Iterator for Open<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let (item, cursor) = self.events.open_after(self.last)?;
        self.last = cursor;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{Command, Reply};
    use crate::transition::Transition;

    fn events(times: &[(u64, Option<u64>)]) -> Events {
        let reply = Some(Reply::Value(None));
        let items: Vec<Item> = times
            .iter()
            .enumerate()
            .map(|(source, (invoked, deadline))| Item {
                source,
                transition: Transition::of(Command::Get, reply).unwrap(),
                invoked: *invoked,
                deadline: *deadline,
            })
            .collect();
        Events::of(&items)
    }

    fn open(events: &Events) -> Vec<usize> {
        events.open().collect()
    }

    #[test]
    fn what_is_invoked_before_the_first_answer_is_open_also_in_the_same_moment() {
        let mut events = events(&[
            (1, Some(5)),
            (2, None),
            (5, Some(6)),
            (6, Some(9)),
            (7, None),
        ]);
        assert_eq!(open(&events), [0, 1, 2]);
        events.lift(2);
        assert_eq!(open(&events), [0, 1]);
        events.lift(0);
        assert_eq!(open(&events), [1, 3, 4]);
        assert_eq!(events.first_due(), Some(3));
        events.lift(3);
        assert_eq!((open(&events), events.first_due()), (vec![1, 4], None));
        for (item, left) in [(3, vec![1, 3, 4]), (0, vec![0, 1]), (2, vec![0, 1, 2])] {
            events.put_back(item);
            assert_eq!(open(&events), left);
        }
    }

    #[test]
    fn a_cursor_goes_on_after_items_behind_it_were_lifted() {
        let mut events = events(&[(1, None), (2, Some(3)), (4, Some(5))]);
        let (_, first) = events.open_after(Cursor::default()).unwrap();
        for expected in [1, 2] {
            let (item, _) = events.open_after(first).unwrap();
            assert_eq!(item, expected);
            events.lift(item);
        }
        assert!(events.open_after(first).is_none());
    }
}
