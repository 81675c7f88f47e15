use proptest::prelude::*;

use super::*;

fn actions(job: &mut Job) -> Vec<Action> {
    std::iter::from_fn(|| job.next_action()).collect()
}

fn run(job: &mut Job, events: impl IntoIterator<Item = Event>) -> Vec<Action> {
    events
        .into_iter()
        .flat_map(|event| {
            job.handle(event);
            actions(job)
        })
        .collect()
}

fn up_to_paused() -> Vec<Event> {
    vec![
        Event::Accepted,
        Event::Synced,
        Event::Behind(0),
        Event::Paused(100),
    ]
}

#[test]
fn a_job_that_meets_no_obstacle_pauses_commits_and_drops() {
    let mut job = Job::new();
    let mut events = up_to_paused();
    events.extend([
        Event::Acknowledged(99),
        Event::Acknowledged(100),
        Event::Ended { moved: true },
        Event::Owned,
    ]);
    assert_eq!(
        run(&mut job, events),
        [
            Action::Pause,
            Action::ProposeComplete,
            Action::Resume,
            Action::Close,
            Action::Drop
        ]
    );
    assert_eq!(job.state_name(), "success");
}

#[test]
fn a_failure_before_the_commit_resumes_at_once_and_tries_again() {
    let mut job = Job::new();
    let mut events = up_to_paused();
    events.push(Event::Failed("connection reset".to_owned()));
    assert_eq!(
        run(&mut job, events),
        [
            Action::Pause,
            Action::Close,
            Action::Resume,
            Action::Reconnect
        ]
    );
    assert_eq!(job.state_name(), "connecting");
    assert_eq!(job.message(), "connection reset");
    // What the target acknowledged before says nothing about the next attempt.
    run(&mut job, [Event::Accepted, Event::Acknowledged(100)]);
    run(&mut job, [Event::Failed("again".to_owned())]);
    run(&mut job, up_to_paused());
    assert_eq!(job.state(), State::Paused);
    assert_eq!(
        run(&mut job, [Event::Acknowledged(100)]),
        [Action::ProposeComplete]
    );
    assert_eq!(job.message(), "");
}

#[test]
fn a_transfer_that_breaks_again_and_again_is_given_up() {
    let mut job = Job::new();
    for _ in 0..MOST_FAILURES {
        job.handle(Event::Accepted);
        let actions = run(&mut job, [Event::Failed("out of memory".to_owned())]);
        assert_eq!(actions, [Action::Close, Action::Reconnect]);
    }
    let actions = run(&mut job, [Event::Late]);
    assert_eq!(actions, [Action::Close, Action::ProposeAbort]);
    run(&mut job, [Event::Ended { moved: false }]);
    assert_eq!(job.state_name(), "failed");
    assert!(job.message().contains("given up after 24 attempts"));
}

#[test]
fn a_target_that_is_replaced_frees_the_slots_even_after_the_proposal() {
    let mut job = Job::new();
    let mut events = up_to_paused();
    events.push(Event::Acknowledged(100));
    run(&mut job, events);
    assert_eq!(job.state(), State::Committing);
    assert_eq!(
        run(&mut job, [Event::Replaced]),
        [Action::Close, Action::Resume, Action::Reconnect]
    );
}

#[test]
fn a_source_that_is_deposed_leaves_the_rest_to_its_successor() {
    let mut job = Job::new();
    run(&mut job, up_to_paused());
    assert_eq!(
        run(&mut job, [Event::Deposed]),
        [Action::Close, Action::Resume]
    );
    assert_eq!(job.state_name(), "failed");
}

#[test]
fn an_uncertain_commit_stays_paused_until_the_topology_tells() {
    for moved in [true, false] {
        let mut job = Job::new();
        let mut events = up_to_paused();
        events.extend([
            Event::Acknowledged(100),
            Event::Failed("link lost".to_owned()),
            Event::Late,
        ]);
        assert_eq!(
            run(&mut job, events),
            [
                Action::Pause,
                Action::ProposeComplete,
                Action::ProposeAbort,
                Action::ProposeAbort
            ]
        );
        let end = run(&mut job, [Event::Ended { moved }, Event::Late]);
        assert_eq!(end.contains(&Action::Drop), moved);
        assert!(end.contains(&Action::Resume));
        assert_eq!(job.state_name(), if moved { "success" } else { "failed" });
    }
}

#[test]
fn a_cancelled_job_ends_cancelled() {
    let mut job = Job::new();
    run(
        &mut job,
        [
            Event::Accepted,
            Event::Cancelled,
            Event::Ended { moved: false },
        ],
    );
    assert_eq!(job.state_name(), "cancelled");
}

#[test]
fn a_target_that_never_comes_close_is_caught_by_a_longer_pause() {
    let mut job = Job::new();
    let actions = run(
        &mut job,
        [
            Event::Accepted,
            Event::Synced,
            Event::Behind(PAUSE_BELOW + 1),
            Event::Late,
        ],
    );
    assert_eq!(actions, [Action::Pause]);
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Accepted),
        3 => Just(Event::Synced),
        3 => (0..2 * PAUSE_BELOW).prop_map(Event::Behind),
        3 => (0u64..100).prop_map(Event::Paused),
        3 => (0u64..200).prop_map(Event::Acknowledged),
        1 => any::<bool>().prop_map(|moved| Event::Ended { moved }),
        1 => Just(Event::Owned),
        1 => Just(Event::Failed("x".to_owned())),
        1 => Just(Event::Cancelled),
        1 => Just(Event::Replaced),
        1 => Just(Event::Deposed),
        2 => Just(Event::Late),
    ]
}

proptest! {
    #[test]
    fn the_invariants_hold_for_any_order_of_events(events in proptest::collection::vec(any_event(), 0..40)) {
        let mut job = Job::new();
        let (mut paused, mut proposed, mut decided, mut acknowledged, mut final_offset) = (false, false, None, 0, None);
        let ending = [Event::Ended { moved: decided.unwrap_or(false) }, Event::Late];
        for event in events.into_iter().chain(ending) {
            match &event {
                Event::Ended { moved } => { decided.get_or_insert(*moved); }
                Event::Acknowledged(offset) => acknowledged = acknowledged.max(*offset),
                // The topology refuses what was proposed before.
                Event::Replaced | Event::Deposed => proposed = false,
                Event::Paused(offset) if job.state() == State::Pausing => final_offset = Some(*offset),
                _ => {}
            }
            job.handle(event);
            for action in actions(&mut job) {
                match action {
                    Action::Pause => { prop_assert!(!paused); paused = true; }
                    Action::Resume => {
                        prop_assert!(paused);
                        prop_assert!(!proposed || decided.is_some(), "resumed while the commit is uncertain");
                        paused = false;
                    }
                    Action::ProposeComplete => {
                        prop_assert!(paused && !proposed);
                        prop_assert!(final_offset.is_some_and(|end| acknowledged >= end));
                        proposed = true;
                    }
                    Action::Drop => prop_assert_eq!(decided, Some(true)),
                    Action::Reconnect => acknowledged = 0,
                    Action::ProposeAbort | Action::Close => {}
                }
            }
        }
        prop_assert!(job.has_ended());
        prop_assert!(!paused);
    }
}
