//! The checks for asynchronous replication: on known histories, and on those of a simulated cache that loses its last
//! writes in failovers.

use history::{
    Command, Failover, History, LossReason, NotIncreasing, Operation, Outcome, Reason, Reply,
    bounded_loss, no_lost_acknowledged,
};
use proptest::prelude::*;

use crate::made::{del, failed, get, history, incr, set, set_nx, unknown};

const NONE: [Failover; 0] = [];

fn over(from: u64, to: u64) -> [Failover; 1] {
    [Failover { from, to }]
}

/// What is wrong with the reads of the only key.
fn wrong(operations: &[Operation], failovers: &[Failover], bound: usize) -> Option<LossReason> {
    let losses = bounded_loss(&history(operations), failovers, bound).expect("one writer");
    losses.into_iter().next().map(|loss| loss.reason)
}

/// What is wrong with the end of the only key.
fn end(operations: &[Operation]) -> Option<Reason> {
    let unexplained = no_lost_acknowledged(&history(operations));
    unexplained.into_iter().next().map(|one| one.reason)
}

#[test]
fn a_value_is_invented_if_it_was_never_written_or_refused_or_is_still_to_come() {
    let invented = Some(LossReason::Invented);
    let failover = over(0, 99);
    assert_eq!(wrong(&[get(2, [1, 2], 1)], &failover, 9), invented);
    let refused = [failed(1, 1, Command::set(1)), get(2, [3, 4], 1)];
    assert_eq!(wrong(&refused, &failover, 9), invented);
    let early = [get(2, [1, 2], 1), set(1, [3, 4], 1)];
    assert_eq!(wrong(&early, &failover, 9), invented);
    let concurrent = [get(2, [1, 3], 1), set(1, [3, 4], 1)];
    assert_eq!(wrong(&concurrent, &NONE, 0), None);
}

#[test]
fn a_read_goes_back_only_across_a_failover() {
    let operations = [set(1, [1, 2], 1), set(1, [11, 12], 2), get(2, [21, 22], 1)];
    let went_back = Some(LossReason::WentBack {
        replaced_by: set(1, [11, 12], 2),
    });
    assert_eq!(wrong(&operations, &NONE, 9), went_back);
    // Before the write that is lost, between, around the read, and after it.
    for (failover, expected) in [
        (over(3, 10), &went_back),
        (over(5, 11), &None),
        (over(15, 16), &None),
        (over(22, 30), &None),
        (over(23, 30), &went_back),
    ] {
        assert_eq!(wrong(&operations, &failover, 1), *expected, "{failover:?}");
    }
}

#[test]
fn reads_alone_show_that_a_value_went_and_came_back() {
    let forth = [set(1, [1, 20], 1), get(2, [2, 3], 1), get(3, [4, 5], None)];
    let went_back = Some(LossReason::WentBack {
        replaced_by: get(2, [2, 3], 1),
    });
    assert_eq!(wrong(&forth, &NONE, 9), went_back);
    let back = [
        set(1, [1, 2], 1),
        set(1, [3, 4], 2),
        get(2, [21, 22], 1),
        get(2, [31, 32], 2),
    ];
    let came_back = Some(LossReason::WentBack {
        replaced_by: get(2, [21, 22], 1),
    });
    assert_eq!(wrong(&back, &over(10, 20), 1), came_back);
    assert_eq!(wrong(&back, &over(10, 21), 1), None);
}

#[test]
fn failovers_lose_no_more_than_the_bound_each_and_only_what_was_before() {
    let operations = [
        set(1, [1, 2], 1),
        set(1, [3, 4], 2),
        set(1, [5, 6], 3),
        set(1, [21, 22], 4),
        get(2, [41, 42], 1),
    ];
    let two = [over(10, 11), over(30, 31)].concat();
    let too_many = Some(LossReason::TooManyLost { lost: 3 });
    assert_eq!(wrong(&operations, &two, 2), None);
    assert_eq!(wrong(&operations, &two, 1), too_many);
    assert_eq!(wrong(&operations, &over(30, 31), 3), None);
    assert_eq!(wrong(&operations, &over(30, 31), 2), too_many);
    // The last of four cannot have been lost by a failover that was over before.
    let last = [
        &operations[..3],
        &[set(1, [21, 22], 4), set(1, [23, 24], 5)],
        &operations[4..],
    ];
    let last = last.concat();
    let early = [over(10, 11), over(12, 13), over(30, 31)].concat();
    assert_eq!(wrong(&last, &early, 2), None);
    let early = [over(10, 11), over(12, 13), over(14, 15), over(30, 31)].concat();
    let too_many = Some(LossReason::TooManyLost { lost: 4 });
    assert_eq!(wrong(&last, &early, 1), too_many);
}

#[test]
fn an_unknown_write_may_come_late_but_once_it_was_read_it_is_over() {
    let late = [
        unknown(1, 1, Command::set(1)),
        set(1, [11, 12], 2),
        get(2, [21, 22], 2),
        get(2, [31, 32], 1),
    ];
    assert_eq!(wrong(&late, &NONE, 0), None);
    let read = [&late[..1], &[get(3, [2, 3], 1)], &late[1..]].concat();
    let went_back = Some(LossReason::WentBack {
        replaced_by: set(1, [11, 12], 2),
    });
    assert_eq!(wrong(&read, &NONE, 0), went_back);
}

#[test]
fn other_histories_than_of_one_writer_with_increasing_values_are_refused() {
    for (operations, message) in [
        (
            vec![set(1, [1, 2], 1), set(2, [3, 4], 2)],
            "key 'k': written by clients 1 and 2; allowed is one writer a key",
        ),
        (
            vec![set(1, [1, 2], 2), set(1, [3, 4], 2)],
            "key 'k': 2 written after 2; each value must be greater than those written before",
        ),
        (
            vec![set_nx(1, [1, 2], 7, true)],
            "key 'k': SET 7 NX; allowed are GET and SET without a condition",
        ),
    ] {
        let error: NotIncreasing = bounded_loss(&history(operations), &NONE, 0).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn a_finding_says_what_is_wrong_with_which_read() {
    let operations = [set(1, [1, 2], 1), set(1, [3, 4], 2), get(2, [5, 6], 1)];
    let losses = bounded_loss(&history(operations), &NONE, 0).unwrap();
    assert_eq!(
        losses[0].to_string(),
        "Key 'k': GET -> 1 (client 2), which SET 2 -> OK (client 1) had replaced, without a failover since"
    );
}

#[test]
fn at_the_end_there_is_a_write_after_which_no_other_began() {
    let lost = |allowed: &[Option<u64>]| {
        Some(Reason::Lost {
            read: get(3, [90, 91], 1),
            allowed: allowed.to_vec(),
        })
    };
    let read = get(3, [90, 91], 1);
    let then = |second: Operation| end(&[set(1, [1, 5], 1), second, read.clone()]);
    assert_eq!(then(set(2, [5, 8], 2)), None);
    assert_eq!(then(set(2, [6, 8], 2)), lost(&[Some(2)]));
    assert_eq!(then(del(2, [6, 8], true)), lost(&[None]));
    assert_eq!(then(del(2, [6, 8], false)), None);
    assert_eq!(then(set_nx(2, [6, 8], 2, false)), None);
    assert_eq!(then(failed(2, 6, Command::set(2))), None);
    assert_eq!(then(unknown(2, 6, Command::set(2))), None);
    // An early read from a replica that lags is none of this check's business.
    assert_eq!(then(get(2, [6, 8], None)), None);
    let nothing = end(&[set(1, [1, 5], 1), get(3, [90, 91], None)]);
    assert!(matches!(nothing, Some(Reason::Lost { .. })), "{nothing:?}");
    assert_eq!(end(&[get(3, [90, 91], None)]), None);
}

#[test]
fn an_unknown_write_may_be_the_last_unless_it_was_read_before_the_last_began() {
    let write = unknown(1, 1, Command::set(1));
    let last = [set(2, [11, 12], 2), get(3, [90, 91], 1)];
    assert_eq!(
        end(&[std::slice::from_ref(&write), &last[..]].concat()),
        None
    );
    let read = end(&[&[write, get(3, [5, 6], 1)], &last[..]].concat());
    let lost = Reason::Lost {
        read: get(3, [90, 91], 1),
        allowed: vec![Some(2)],
    };
    assert_eq!(read, Some(lost));
}

#[test]
fn a_counter_ends_with_all_acknowledged_increments_and_some_of_the_unknown() {
    let read = |count: u64| {
        end(&[
            incr(1, [1, 2], 1),
            incr(2, [3, 4], 2),
            unknown(1, 5, Command::Increment),
            get(3, [90, 91], count),
        ])
    };
    assert_eq!([read(2), read(3)], [None, None]);
    for count in [1, 4] {
        let miscounted = Reason::Miscounted {
            read: get(3, [90, 91], count),
            acknowledged: 2,
            unknown: 1,
        };
        assert_eq!(read(count), Some(miscounted));
    }
    let mixed = [set(1, [1, 2], 1), incr(2, [3, 4], 2), get(3, [90, 91], 2)];
    assert_eq!(end(&mixed), Some(Reason::CountedAndSet));
}

#[test]
fn a_key_that_was_not_read_at_the_end_is_named() {
    let early = [set(1, [1, 5], 1), get(2, [5, 6], 1)];
    let unexplained = no_lost_acknowledged(&history(early));
    assert_eq!(
        unexplained[0].to_string(),
        "Key 'k': no GET after its last acknowledged write"
    );
    let lost = no_lost_acknowledged(&history([
        set(1, [1, 5], 1),
        set(2, [1, 5], 2),
        get(2, [7, 8], None),
    ]));
    assert_eq!(
        lost[0].to_string(),
        "Key 'k': last GET -> nil (client 2); allowed 1,2"
    );
}

/// One step of a writer and its readers. Numbers are delays.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A write that is executed and then answered.
    Write(u64, u64),
    /// A write without an answer, executed after this long if at all.
    Unknown(Option<u64>),
    /// A read beside what follows.
    Read(u64, u64),
    /// A failover that loses so many acknowledged writes.
    Failover(usize),
}

const BOUND: usize = 3;

fn stormy_steps(unknown: u32) -> impl Strategy<Value = Vec<Step>> {
    steps(unknown, 1)
}

fn calm_steps(unknown: u32) -> impl Strategy<Value = Vec<Step>> {
    steps(unknown, 0)
}

fn steps(unknown: u32, failovers: u32) -> impl Strategy<Value = Vec<Step>> {
    let delay = || 1_u64..30;
    let late = prop::option::of(1_u64..200);
    let step = prop_oneof![
        8 => (delay(), delay()).prop_map(|(first, second)| Step::Write(first, second)),
        unknown => late.prop_map(Step::Unknown),
        8 => (delay(), delay()).prop_map(|(first, second)| Step::Read(first, second)),
        failovers => (0..=BOUND).prop_map(Step::Failover),
    ];
    prop::collection::vec(step, 1..80)
}

/// What happens in the cache.
enum Happening {
    Executed(Operation),
    FailedOver(usize),
}

/// The operations of `steps`, the failovers, and how many acknowledged writes the last of these lost when all was over
/// but a last read, if it is to lose `at_last`.
fn run(steps: &[Step], at_last: usize) -> (History, Vec<Failover>, usize) {
    let (mut happenings, mut failovers) = (vec![], vec![]);
    let mut now = 10;
    for (step, value) in steps.iter().zip(1..) {
        let write = unknown(1, now, Command::set(value));
        match *step {
            Step::Write(execution, answer) => {
                let executed = now + execution;
                now = executed + answer + 1;
                let done = set(1, [write.invoked, now - 1], value);
                happenings.push((executed, Happening::Executed(done)));
            }
            Step::Unknown(executed) => {
                // What is never executed comes after all.
                let executed = executed.map_or(u64::MAX, |after| now + after);
                happenings.push((executed, Happening::Executed(write)));
                now += 10;
            }
            Step::Read(execution, answer) => {
                let executed = now + execution;
                let read = get(2, [now, executed + answer], None);
                happenings.push((executed, Happening::Executed(read)));
                now += 1;
            }
            Step::Failover(lost) => {
                failovers.push(Failover {
                    from: now,
                    to: now + 5,
                });
                happenings.push((now + 3, Happening::FailedOver(lost)));
                now += 4;
            }
        }
    }
    let over = now + 1000;
    failovers.push(Failover {
        from: over,
        to: over,
    });
    happenings.push((over, Happening::FailedOver(at_last)));
    let read = get(2, [over + 10, over + 11], None);
    happenings.push((over + 10, Happening::Executed(read)));
    happenings.sort_by_key(|(time, _)| *time);
    let (operations, lost) = execute(happenings);
    (history(operations), failovers, lost)
}

/// Executes what happens in this order: the operations with their answers, and how many acknowledged writes the last
/// failover lost.
fn execute(happenings: Vec<(u64, Happening)>) -> (Vec<Operation>, usize) {
    let (mut operations, mut lost) = (vec![], 0);
    // Values with whether they were or will be acknowledged, the newest last.
    let mut values: Vec<(u64, bool)> = vec![];
    for (_, happening) in happenings {
        match happening {
            Happening::FailedOver(bound) => {
                lost = 0;
                while lost < bound
                    && let Some((_, acknowledged)) = values.pop()
                {
                    lost += usize::from(acknowledged);
                }
            }
            Happening::Executed(mut operation) => {
                match (operation.command, operation.completed()) {
                    (Command::Set { value, .. }, completed) => {
                        values.push((value, completed.is_some()));
                    }
                    (_, completed) => {
                        let reply = Reply::Value(values.last().map(|(value, _)| *value));
                        let completed = completed.expect("reads are answered");
                        operation.outcome = Outcome::Ok { reply, completed };
                    }
                }
                operations.push(operation);
            }
        }
    }
    (operations, lost)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_failovers_may_lose_is_accepted(steps in stormy_steps(2), at_last in 0..=BOUND) {
        let (history, failovers, _) = run(&steps, at_last);
        prop_assert_eq!(bounded_loss(&history, &failovers, BOUND), Ok(vec![]));
    }

    #[test]
    fn a_loss_without_a_failover_is_found(steps in calm_steps(0), at_last in 0..=BOUND) {
        let (history, _, lost) = run(&steps, at_last);
        let losses = bounded_loss(&history, &NONE, BOUND).expect("one writer");
        prop_assert_eq!(losses.is_empty(), lost == 0);
    }

    #[test]
    fn one_lost_write_too_many_is_found(steps in calm_steps(0), at_last in 1..=BOUND) {
        let (history, failovers, lost) = run(&steps, at_last);
        let found = |bound| bounded_loss(&history, &failovers, bound).expect("one writer");
        prop_assert!(found(lost).is_empty());
        if let Some(less) = lost.checked_sub(1) {
            let reasons: Vec<LossReason> = found(less).into_iter().map(|loss| loss.reason).collect();
            prop_assert_eq!(reasons, [LossReason::TooManyLost { lost }]);
        }
    }

    #[test]
    fn the_end_misses_an_acknowledged_write_if_and_only_if_one_was_lost(
        steps in calm_steps(0),
        at_last in 0..=BOUND,
    ) {
        let (history, _, lost) = run(&steps, at_last);
        prop_assert_eq!(no_lost_acknowledged(&history).is_empty(), lost == 0);
    }

    #[test]
    fn unknown_writes_are_no_loss(steps in calm_steps(4)) {
        let (history, ..) = run(&steps, 0);
        prop_assert_eq!(no_lost_acknowledged(&history), vec![]);
    }
}
