//! Histories whose verdict is known, from the documentation of Porcupine and Knossos, the paper of Herlihy and Wing, and
//! what goes wrong in caches.

use crate::made::{answered, del, failed, get, history, incr, set, set_nx, set_xx, unknown};
use history::{Command, DEFAULT_STEPS, Operation, Reply, Verdict, Violation, check};

#[track_caller]
fn accepted(operations: &[Operation]) {
    assert_eq!(
        check(&history(operations), DEFAULT_STEPS),
        Verdict::Linearizable
    );
}

#[track_caller]
fn rejected(operations: &[Operation]) -> Violation {
    match check(&history(operations), DEFAULT_STEPS) {
        Verdict::Violation(violation) => *violation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_and_one_after_the_other() {
    accepted(&[]);
    accepted(&[
        get(1, [1, 2], None),
        set(1, [3, 4], 7),
        get(2, [5, 6], 7),
        get(1, [7, 8], 7),
        del(2, [9, 10], true),
        get(1, [11, 12], None),
    ]);
}

/// The example in Porcupine's README: the reads of 100 and then 0 by others lie within one write.
#[test]
fn a_read_of_the_old_value_after_one_of_the_new_is_a_violation_even_while_the_write_is_under_way() {
    accepted(&[
        set(0, [0, 1], 9),
        set(1, [2, 20], 100),
        get(2, [5, 15], 100),
        get(3, [6, 9], 9),
    ]);
    let violation = rejected(&[
        set(0, [0, 1], 9),
        set(1, [2, 20], 100),
        get(2, [5, 8], 100),
        get(3, [10, 15], 9),
    ]);
    assert_eq!(violation.operation, get(3, [10, 15], 9));
}

#[test]
fn a_stale_read_is_a_violation_and_one_that_touches_the_write_is_not() {
    let stale = |times| [set(1, [1, 2], 1), set(1, [3, 4], 2), get(2, times, 1)];
    accepted(&stale([4, 6]));
    let violation = rejected(&stale([5, 6]));
    assert_eq!(violation.operation, get(2, [5, 6], 1));
    assert_eq!(violation.prefix.len(), 3);
    assert_eq!(
        violation.order,
        Some(vec![set(1, [1, 2], 1), set(1, [3, 4], 2)])
    );
}

#[test]
fn a_lost_write_is_a_violation_whether_nothing_or_something_older_is_found() {
    rejected(&[set(1, [1, 2], 1), get(2, [3, 4], None)]);
    rejected(&[set(1, [1, 2], 1), set(2, [3, 4], 2), get(1, [5, 6], 1)]);
    rejected(&[set(1, [1, 2], 1), set_nx(2, [3, 4], 2, true)]);
    rejected(&[set(1, [1, 2], 1), set_xx(2, [3, 4], 2, false)]);
    rejected(&[set(1, [1, 2], 1), del(2, [3, 4], false)]);
}

#[test]
fn a_value_that_nobody_wrote_or_whose_write_was_refused_is_a_violation() {
    rejected(&[get(1, [1, 2], 5)]);
    rejected(&[failed(1, 1, Command::set(5)), get(2, [3, 4], 5)]);
    rejected(&[get(2, [1, 2], 5), set(1, [3, 4], 5)]);
    accepted(&[failed(1, 1, Command::set(5)), get(2, [3, 4], None)]);
}

#[test]
fn a_value_that_is_seen_before_its_write_is_answered_must_stay() {
    rejected(&[set(1, [1, 10], 5), get(2, [2, 3], 5), get(2, [4, 5], None)]);
    accepted(&[set(1, [1, 10], 5), get(2, [2, 3], None), get(2, [4, 5], 5)]);
    // The same if the write never was.
    rejected(&[
        unknown(1, 1, Command::set(5)),
        get(2, [2, 3], 5),
        get(2, [4, 5], None),
    ]);
}

#[test]
fn an_unknown_write_may_take_effect_late_or_never_but_once() {
    let write = unknown(1, 1, Command::set(5));
    accepted(&[
        write.clone(),
        set(2, [2, 3], 6),
        get(2, [4, 5], 6),
        get(2, [6, 7], 5),
    ]);
    accepted(&[
        write.clone(),
        set(2, [2, 3], 6),
        get(2, [4, 5], 6),
        get(2, [6, 7], 6),
    ]);
    rejected(&[
        write,
        get(2, [2, 3], 5),
        set(2, [4, 5], 6),
        get(2, [6, 7], 6),
        get(2, [8, 9], 5),
    ]);
}

#[test]
fn of_two_concurrent_writes_readers_must_agree_which_was_last() {
    let both = [set(1, [1, 5], 1), set(2, [1, 5], 2)];
    for last in [1, 2] {
        accepted(&[&both[..], &[get(3, [6, 7], last)]].concat());
    }
    rejected(&[&both[..], &[get(3, [6, 7], 1), get(4, [8, 9], 2)]].concat());
}

#[test]
fn only_one_set_nx_takes_a_key() {
    accepted(&[
        set_nx(1, [1, 5], 1, false),
        set_nx(2, [1, 5], 2, true),
        get(3, [6, 7], 2),
    ]);
    rejected(&[set_nx(1, [1, 5], 1, true), set_nx(2, [1, 5], 2, true)]);
    rejected(&[set_nx(1, [1, 5], 1, false), set_nx(2, [1, 5], 2, false)]);
    accepted(&[
        set_nx(1, [1, 5], 1, true),
        set_nx(2, [1, 9], 2, true),
        del(1, [6, 7], true),
        get(3, [10, 11], 2),
    ]);
}

#[test]
fn a_deleted_value_comes_back_only_if_it_is_written() {
    rejected(&[set(1, [1, 2], 1), del(2, [3, 4], true), get(3, [5, 6], 1)]);
    rejected(&[
        set(1, [1, 2], 1),
        del(2, [3, 6], true),
        del(3, [3, 6], true),
    ]);
    accepted(&[
        set(1, [1, 2], 1),
        unknown(2, 3, Command::Delete),
        get(3, [5, 6], 1),
        get(3, [7, 8], None),
    ]);
    rejected(&[
        set(1, [1, 2], 1),
        unknown(2, 3, Command::Delete),
        get(3, [5, 6], None),
        get(3, [7, 8], 1),
    ]);
}

#[test]
fn a_counter_counts_each_increment_once() {
    accepted(&[incr(1, [1, 5], 2), incr(2, [1, 5], 1), get(1, [6, 7], 2)]);
    // Applied twice, not at all, and by two to the same number.
    rejected(&[incr(1, [1, 2], 1), incr(1, [3, 4], 3)]);
    rejected(&[incr(1, [1, 2], 1), get(1, [3, 4], 2)]);
    rejected(&[incr(1, [1, 2], 1), incr(1, [3, 4], 1)]);
    rejected(&[incr(1, [1, 5], 1), incr(2, [1, 5], 1)]);
    rejected(&[incr(1, [1, 2], 1), incr(2, [3, 4], 2), get(1, [5, 6], 1)]);
    rejected(&[incr(1, [1, 2], 0)]);
}

#[test]
fn an_unknown_increment_counts_once_or_not() {
    let both = [unknown(1, 1, Command::Increment), incr(2, [2, 3], 1)];
    for count in [1, 2] {
        accepted(&[&both[..], &[get(2, [4, 5], count)]].concat());
    }
    accepted(&[&both[..], &[get(2, [4, 5], 1), get(2, [6, 7], 2)]].concat());
    rejected(&[&both[..], &[get(2, [4, 5], 3)]].concat());
    rejected(&[&both[..], &[get(2, [4, 5], 2), get(2, [6, 7], 1)]].concat());
}

#[test]
fn a_key_may_be_set_and_counted() {
    accepted(&[
        set(1, [1, 2], 41),
        incr(2, [3, 4], 42),
        del(1, [5, 6], true),
        incr(2, [7, 8], 1),
    ]);
    rejected(&[set(1, [1, 2], 41), incr(2, [3, 4], 1)]);
}

#[test]
fn each_key_is_checked_and_the_one_that_is_wrong_is_named() {
    let on = |key: &str, operation: Operation| Operation {
        key: key.into(),
        ..operation
    };
    let violation = rejected(&[
        on("a", set(1, [1, 2], 1)),
        on("b", get(1, [3, 4], None)),
        on("b", set(1, [5, 6], 2)),
        on("b", get(1, [7, 8], 1)),
    ]);
    assert_eq!(violation.key, "b");
}

#[test]
fn the_explanation_shows_the_smallest_beginning_with_its_times_and_an_order_of_the_rest() {
    let violation = rejected(&[
        set(1, [1_000_000, 2_000_000], 1),
        set(2, [2_500_000, 9_000_000], 2),
        get(3, [3_000_000, 4_000_000], 2),
        unknown(4, 4_200_000, Command::set(3)),
        get(3, [5_000_000, 5_000_001], 1),
        get(3, [6_000_000, 7_000_000], 2),
        answered(
            5,
            [10_000_000, 11_000_000],
            Command::Get,
            Reply::Value(Some(2)),
        ),
    ]);
    assert_eq!(
        violation.to_string(),
        "\
Key 'k' is not linearizable: with GET -> 1 (client 3) no order of its operations is left.
Invoked and answered until then, in ms:
          1.000000         2.000000  SET 1 -> OK (client 1)
          2.500000                   SET 2 -> ? (client 2)
          3.000000         4.000000  GET -> 2 (client 3)
          4.200000                   SET 3 -> ? (client 4)
*         5.000000         5.000001  GET -> 1 (client 3)
All that was answered before fits in this order:
  SET 1 -> OK (client 1)
  SET 2 -> ? (client 2)
  GET -> 2 (client 3)
It leaves 2."
    );
}

#[test]
fn a_long_explanation_shows_the_end_and_who_wrote_what_was_found() {
    let mut operations: Vec<Operation> = (0..1000)
        .map(|value| set(1, [2 * value, 2 * value + 1], value))
        .collect();
    operations.push(get(2, [2000, 2001], 500));
    let text = rejected(&operations).to_string();
    assert!(text.contains("(500 left out)"), "{text}");
    assert!(text.contains("SET 500 -> OK (client 1)"), "{text}");
    assert!(text.contains("It leaves 999."), "{text}");
    assert!(text.lines().count() < 60, "{text}");
}

#[test]
fn too_few_steps_leave_it_open() {
    let operations = [set(1, [1, 2], 1), set(1, [3, 4], 2), get(2, [5, 6], 2)];
    let undecided = Verdict::Undecided {
        key: "k".to_owned(),
        steps: 1,
    };
    assert_eq!(check(&history(operations.clone()), 1), undecided);
    assert_eq!(check(&history(operations), 2), Verdict::Linearizable);
}
