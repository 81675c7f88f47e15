//! Linearizability by its definition: every order of every choice of unknown operations. For a handful of operations.

use history::{Command, Condition, Operation, Outcome, Reply};

/// A key as Redis executes commands on it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Key(Option<u64>);

impl Key {
    pub(crate) fn execute(&mut self, command: Command) -> Reply {
        match command {
            Command::Get => Reply::Value(self.0),
            Command::Set { value, condition } => {
                let stored = match condition {
                    Condition::Always => true,
                    Condition::IfMissing => self.0.is_none(),
                    Condition::IfPresent => self.0.is_some(),
                };
                if stored {
                    self.0 = Some(value);
                }
                Reply::Stored(stored)
            }
            Command::Delete => Reply::Deleted(self.0.take().is_some()),
            Command::Increment => {
                let count = self.0.unwrap_or(0) + 1;
                self.0 = Some(count);
                Reply::Count(count)
            }
        }
    }
}

/// Whether `operations`, all on one key, have an order.
pub(crate) fn is_linearizable(operations: &[Operation]) -> bool {
    let left: Vec<&Operation> = operations
        .iter()
        .filter(|operation| operation.outcome != Outcome::Failed)
        .collect();
    has_order(Key::default(), &left)
}

fn has_order(key: Key, left: &[&Operation]) -> bool {
    if left.iter().all(|one| one.outcome == Outcome::Unknown) {
        return true;
    }
    (0..left.len()).any(|next| {
        let chosen = left[next];
        let may_come_next = left
            .iter()
            .all(|other| other.completed().is_none_or(|end| end >= chosen.invoked));
        let mut after = key;
        let reply = after.execute(chosen.command);
        let fits = chosen.reply().is_none_or(|seen| seen == reply);
        let mut rest = left.to_vec();
        rest.remove(next);
        may_come_next && fits && has_order(after, &rest)
    })
}
