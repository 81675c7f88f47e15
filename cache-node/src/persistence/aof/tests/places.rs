//! Places in a history: a file that was ended cleanly says where it leads, and whatever happens, none says anything else.

use super::*;
use crate::command::MULTI;
use crate::log::Scope;
use crate::topology::NodeId;

type Place = (NodeId, u64);

/// What the line begins with that says it.
const LINE: &[u8] = b"#EVENKEEL-PLACE:";

const POLICIES: [AppendFsync; 3] = [
    AppendFsync::Always,
    AppendFsync::EverySecond,
    AppendFsync::Never,
];

impl Machine {
    /// The place at which the data are that are here.
    fn place(&self) -> Place {
        (self.node.replication.history().id, self.node.log.end())
    }

    /// The place at which the data were loaded.
    fn came_from(&self) -> Option<Place> {
        self.node.replication.history().before
    }

    /// Ends the writer; true when everything is on the disk.
    fn end(mut self) -> bool {
        let (done, mut ended) = oneshot::channel();
        self.aof().order(|orders| orders.end = Some(done));
        let patience = Instant::now() + Duration::from_secs(20);
        while self.writer.turn(self.now) != Next::End {
            assert!(Instant::now() < patience);
            self.now += Duration::from_millis(100);
        }
        ended.try_recv() == Ok(true)
    }

    /// The same at the end of the process, when nothing changes any more.
    fn end_cleanly(self) -> bool {
        self.node.shutdown.close();
        self.end()
    }

    fn write_some(&mut self, count: u64) {
        for _ in 0..count {
            self.write();
            self.turn();
        }
    }

    fn rewrite(&mut self) {
        self.begin_base(Kind::Rewrite);
        let patience = Instant::now() + Duration::from_secs(20);
        while self.rewriting.is_some() {
            assert!(Instant::now() < patience);
            self.turn();
        }
    }
}

/// The incremental file that a clean end has left, and where its last line but the checksum begins.
fn last_file(disk: &Simulated) -> (std::path::PathBuf, Vec<u8>, usize) {
    let (path, data) = disk
        .all()
        .into_iter()
        .rfind(|(path, _)| path.to_string_lossy().contains(".incr."))
        .expect("there is one");
    let line = memchr::memmem::rfind(&data, LINE).expect("a place");
    (path, data, line)
}

#[test]
fn a_file_that_was_ended_cleanly_says_where_it_leads() {
    for policy in POLICIES {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Simulated::new(1);
        let mut machine = Machine::start(&disk, folder.path(), policy);
        assert_eq!(machine.came_from(), None);
        for round in 0..4 {
            machine.write_some(5);
            if round == 2 {
                machine.rewrite();
            }
            let place = machine.place();
            // The second time nothing was done behind it.
            for _ in 0..2 {
                assert!(machine.end_cleanly());
                machine = Machine::start(&disk, folder.path(), policy);
                assert_eq!(machine.came_from(), Some(place), "{policy:?}");
                assert_eq!(machine.node.log.end(), place.1);
            }
            assert_eq!(machine.count(), 5 * (round + 1));
        }
    }
}

#[test]
fn a_place_says_nothing_when_something_is_behind_it() {
    let folder = tempfile::tempdir().expect("a folder");
    for (written, rewritten, known) in [(0, false, true), (1, false, false), (0, true, false)] {
        let disk = Simulated::new(1);
        let mut machine = Machine::start(&disk, folder.path(), AppendFsync::Always);
        machine.write_some(3);
        let place = machine.place();
        assert!(machine.end_cleanly());
        machine = Machine::start(&disk, folder.path(), AppendFsync::Always);
        machine.write_some(written);
        if rewritten {
            machine.rewrite();
        }
        machine.die();
        let mut again = Machine::start(&disk, folder.path(), AppendFsync::Always);
        assert_eq!(again.came_from(), known.then_some(place));
        assert_eq!(again.count(), 3 + written);
    }
}

/// What is switched off while the process goes on is behind it soon.
#[test]
fn a_file_that_ends_before_the_process_says_no_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Simulated::new(1);
    let mut machine = Machine::start(&disk, folder.path(), AppendFsync::Always);
    machine.write_some(3);
    assert!(machine.end());
    let again = Machine::start(&disk, folder.path(), AppendFsync::Always);
    assert_eq!(again.came_from(), None);
}

#[test]
fn a_file_that_ends_within_a_transaction_says_no_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Simulated::new(1);
    let mut machine = Machine::start(&disk, folder.path(), AppendFsync::Always);
    machine.write_some(3);
    machine.node.log.append(Scope::Other, MULTI);
    machine.write_only();
    assert!(machine.end_cleanly());
    let said = |(_, data): &(_, Vec<u8>)| memchr::memmem::find(data, LINE).is_some();
    assert!(!disk.all().iter().any(said));
    let mut again = Machine::start(&disk, folder.path(), AppendFsync::Always);
    assert_eq!((again.came_from(), again.count()), (None, 3));
}

#[test]
fn a_log_that_has_begun_anew_leaves_no_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Simulated::new(1);
    let mut machine = Machine::start(&disk, folder.path(), AppendFsync::Always);
    machine.write_some(3);
    machine.node.log.restart_at(1000);
    assert!(!machine.end_cleanly(), "the file is of no use any more");
    let again = Machine::start(&disk, folder.path(), AppendFsync::Always);
    assert_eq!(again.came_from(), None);
}

/// The power fails at each call of the end, in turn.
#[test]
fn a_power_loss_at_any_call_of_the_end_leaves_the_place_or_none() {
    let folder = tempfile::tempdir().expect("a folder");
    for policy in POLICIES {
        for calls in 0.. {
            let disk = Simulated::new(calls);
            let mut machine = Machine::start(&disk, folder.path(), policy);
            machine.write_some(3);
            let (place, last) = (machine.place(), machine.last);
            disk.die_after(calls as u32);
            let ended = machine.end_cleanly() && !disk.is_dead();
            for seed in 0..24 {
                let disk = disk.after_power_loss(seed);
                let mut again = Machine::start(&disk, folder.path(), policy);
                let found = again.came_from();
                assert!(found.is_none() || found == Some(place) && again.count() == last);
                assert!(found.is_some() || !ended, "{policy:?}, {calls} calls");
                again.die();
            }
            if ended {
                break;
            }
        }
    }
}

#[test]
fn a_damaged_place_is_refused_or_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Simulated::new(1);
    let mut machine = Machine::start(&disk, folder.path(), AppendFsync::Always);
    machine.write_some(3);
    let place = machine.place();
    assert!(machine.end_cleanly());
    let files = disk.all();
    let (path, data, line) = last_file(&disk);
    let with = |content: &[u8]| {
        let disk = Simulated::new(1);
        for (path, data) in &files {
            disk.put(path, data.clone());
        }
        disk.put(&path, content.to_vec());
        Machine::try_start(&disk, folder.path(), AppendFsync::Always)
    };
    let whole = with(&data).expect("it is as it was");
    assert_eq!(whole.came_from(), Some(place));
    whole.die();
    for at in line..data.len() {
        let cut = with(&data[..at]).expect("a torn end");
        assert_eq!(cut.came_from(), None, "cut at byte {at}");
        cut.die();
        for bit in 0..8 {
            let mut damaged = data.clone();
            damaged[at] ^= 1 << bit;
            match with(&damaged) {
                Ok(machine) => {
                    assert_eq!(machine.came_from(), None, "byte {at}");
                    machine.die();
                }
                Err(reason) => assert!(reason.contains(": byte "), "{reason}"),
            }
        }
    }
}
