//! The append-only file on a disk that fails and loses power at any call: nothing that was said to be on it is missing afterwards.

mod places;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::layout::Layout;
use super::rewrite::Kind;
use super::simulated::Simulated;
use super::writer::{Next, Writer};
use super::*;
use crate::command::{Outcome, Session, execute};
use crate::config::{Config, Settings};
use crate::persistence::Persistence;
use crate::resp::OwnedArgs;
use crate::stats::WorkerStats;

const LISTS: u64 = 5;

/// A node on a simulated disk, whose writer takes turns when it is told to.
struct Machine {
    node: Arc<Node>,
    session: Session,
    writer: Writer,
    rewriting: Option<JoinHandle<()>>,
    /// The number of the last write, and of the first one that may be missing.
    last: u64,
    safe: u64,
    /// Writes that are not known to be on the disk, and the log's offset behind each.
    unsure: Vec<(u64, u64)>,
    now: Instant,
}

fn node(disk: &Simulated, folder: &std::path::Path, policy: AppendFsync) -> Arc<Node> {
    let settings = Settings {
        dir: folder.to_owned(),
        appendonly: true,
        appendfsync: policy,
        repl_backlog_size: 16 << 10,
        ..Settings::default()
    };
    let (cluster, _) = crate::cluster::open(&settings).expect("cluster mode is off");
    let mut node = Node::new(Config::new(settings, None), cluster);
    let mut persistence = Persistence::new(0);
    persistence.aof = Aof::on(Arc::new(disk.clone()));
    node.persistence = persistence;
    Arc::new(node)
}

impl Machine {
    /// Starts; that never fails but for the disk's own errors.
    fn start(disk: &Simulated, folder: &std::path::Path, policy: AppendFsync) -> Self {
        let started = Self::try_start(disk, folder, policy);
        let mut machine = started.expect("whatever a crash leaves can be loaded");
        machine.last = machine.count();
        machine.safe = machine.last;
        machine
    }

    fn try_start(
        disk: &Simulated,
        folder: &std::path::Path,
        policy: AppendFsync,
    ) -> Result<Self, String> {
        let node = node(disk, folder, policy);
        node.persistence.set_loading(true);
        let layout = Layout::new(&node.config.get());
        let writer = node
            .persistence
            .load_aof(&node, &layout)
            .map_err(|error| error.to_string())?;
        node.persistence.aof.running.store(true, SeqCst);
        let session = Session::new(
            node.clients.internal(),
            Arc::new(WorkerStats::new()),
            node.eviction.usage(crate::clock::now()),
            true,
        );
        let mut machine = Self {
            node,
            session,
            writer,
            rewriting: None,
            last: 0,
            safe: 0,
            unsure: Vec::new(),
            now: Instant::now(),
        };
        if !machine.aof().is_in_force() {
            machine.begin_base(Kind::Found);
            while machine.rewriting.is_some() {
                machine.turn();
            }
            if !machine.aof().is_in_force() {
                machine.die();
                return Err("there is no first base".to_owned());
            }
        }
        machine.node.persistence.set_loading(false);
        Ok(machine)
    }

    fn aof(&self) -> &Aof {
        &self.node.persistence.aof
    }

    fn run(&mut self, line: &str) -> Option<String> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let args = OwnedArgs::new(words);
        let mut out = Vec::new();
        match execute(&self.node, &mut self.session, args.as_args(), &mut out) {
            Outcome::Done => Some(String::from_utf8_lossy(&out).into_owned()),
            _ => None,
        }
    }

    /// How many writes are there; those before the last are all there.
    fn count(&mut self) -> u64 {
        let mut found = Vec::new();
        for list in 0..LISTS {
            let text = self
                .run(&format!("LRANGE list:{list} 0 -1"))
                .expect("a read");
            let mut lines = text.split("\r\n").skip(1);
            while let (Some(_), Some(number)) = (lines.next(), lines.next()) {
                let number: u64 = number.parse().expect("a number");
                assert_eq!(number % LISTS, list);
                found.push(number);
            }
        }
        found.sort_unstable();
        let count = found.len() as u64;
        assert!(found.into_iter().eq(1..=count), "there is a gap");
        count
    }

    fn write(&mut self) {
        let number = self.last + 1;
        let line = format!("RPUSH list:{} {number}", number % LISTS);
        match self.run(&line) {
            Some(reply) if reply.starts_with(':') => {
                self.last = number;
                self.unsure.push((number, self.node.log.end()));
            }
            // It is refused, or is to wait.
            Some(reply) => assert!(reply.starts_with("-MISCONF"), "{reply}"),
            None => self.turn(),
        }
    }

    /// The same, without a turn of the writer.
    fn write_only(&mut self) {
        let number = self.last + 1;
        let line = format!("RPUSH list:{} {number}", number % LISTS);
        let patience = Instant::now() + Duration::from_secs(20);
        while self.run(&line).is_none() {
            // While all slots are locked.
            assert!(Instant::now() < patience);
            std::thread::yield_now();
        }
        self.last = number;
        self.unsure.push((number, self.node.log.end()));
    }

    /// Until the moment of the base that is being written is known, or there will be none.
    fn await_cut(&self) {
        let patience = Instant::now() + Duration::from_secs(20);
        let rewriting = self.rewriting.as_ref();
        while self.aof().orders.lock().cut.is_none()
            && !rewriting.is_none_or(JoinHandle::is_finished)
        {
            assert!(Instant::now() < patience);
            std::thread::yield_now();
        }
    }

    /// A rewrite from its begin to its end, or until a little after the disk has no power, with writes around its moment.
    fn rewrite_under_writes(&mut self, disk: &Simulated) {
        self.write_only();
        self.begin_base(Kind::Rewrite);
        self.await_cut();
        self.write_only();
        let mut left = 3;
        while self.rewriting.is_some() && left > 0 {
            left -= u32::from(disk.is_dead());
            self.turn();
        }
        // What is of no more use is removed in the next turn.
        self.turn();
        self.turn();
    }

    fn turn(&mut self) {
        self.now += Duration::from_millis(100);
        assert_ne!(self.writer.turn(self.now), Next::End);
        let aof = &self.node.persistence.aof;
        if let Some(at) = self
            .unsure
            .iter()
            .rposition(|(_, offset)| aof.is_synced(*offset))
        {
            self.safe = self.unsure[at].0;
            self.unsure.drain(..=at);
        }
        if self.rewriting.as_ref().is_some_and(JoinHandle::is_finished) {
            let rewriting = self.rewriting.take().expect("it was there");
            rewriting.join().expect("no panic");
        }
    }

    fn begin_base(&mut self, kind: Kind) {
        if self.rewriting.is_some() {
            return;
        }
        let progress = Arc::new(Progress::beginning());
        self.node.persistence.state.lock().rewrites.running = Some(Arc::clone(&progress));
        let node = Arc::clone(&self.node);
        self.rewriting = Some(std::thread::spawn(move || {
            node.persistence.rewrite(&node, kind, &progress);
        }));
    }

    /// The power is gone.
    fn die(self) -> (u64, u64) {
        let aof = &self.node.persistence.aof;
        drop(self.writer);
        if let Some(rewriting) = self.rewriting {
            while !rewriting.is_finished() {
                aof.orders.lock().base = None;
                std::thread::yield_now();
            }
        }
        (self.safe, self.last)
    }
}

/// What a node has, in order.
fn state(machine: &mut Machine) -> Vec<String> {
    let mut all = Vec::new();
    for number in 0..60 {
        all.push(machine.run(&format!("GET key:{number}")).expect("a read"));
    }
    for list in 0..LISTS {
        all.push(
            machine
                .run(&format!("LRANGE list:{list} 0 -1"))
                .expect("a read"),
        );
    }
    all
}

/// Damages files in many ways: whatever is loaded is what was written up to some moment.
fn damage(rounds: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Simulated::new(0);
    let mut machine = Machine::start(&disk, folder.path(), AppendFsync::Always);
    let mut states = vec![state(&mut machine)];
    for number in 0..60 {
        machine.run(&format!("SET key:{number} value:{number}"));
        states.push(state(&mut machine));
        if number == 30 {
            machine.begin_base(Kind::Rewrite);
        }
        while machine.rewriting.is_some() {
            machine.turn();
        }
        machine.write();
        states.push(state(&mut machine));
        machine.turn();
    }
    machine.die();
    let files = disk.all();
    let mut random = StdRng::seed_from_u64(7);
    let (mut refused, mut cut) = (0, 0);
    for round in 0..rounds {
        let disk = Simulated::new(round);
        let hit = random.random_range(0..files.len());
        let mut flipped = None;
        for (index, (path, data)) in files.iter().enumerate() {
            let mut data = data.clone();
            if index == hit {
                let at = random.random_range(0..data.len());
                match random.random_range(0..4) {
                    0 => data.truncate(at),
                    1 => data[at..].fill(0),
                    _ => {
                        data[at] ^= 1 << random.random_range(0..8);
                        let near = &data[at.saturating_sub(20)..data.len().min(at + 20)];
                        let near = String::from_utf8_lossy(near).into_owned();
                        flipped = Some((path.clone(), at, near));
                    }
                }
            }
            disk.put(path, data);
        }
        match Machine::try_start(&disk, folder.path(), AppendFsync::Always) {
            Err(reason) => {
                assert!(reason.contains(": byte "), "{reason}");
                refused += 1;
            }
            Ok(mut machine) => {
                let found = state(&mut machine);
                assert!(states.contains(&found), "round {round}: {flipped:?}");
                // A flipped bit is never taken for a torn end, but in the last checksum.
                let last = states.last() == Some(&found);
                assert!(flipped.is_none() || last, "round {round}: {flipped:?}");
                cut += u64::from(Some(&found) != states.last());
                machine.die();
            }
        }
    }
    assert!(
        refused > rounds / 3 && cut > 0,
        "{refused} refused, {cut} cut"
    );
}

#[test]
fn damaged_files_are_refused_or_cut() {
    damage(500);
}

#[test]
#[ignore = "takes a minute: cargo test -p cache-node --lib damaged_10000 -- --ignored"]
fn damaged_10000() {
    damage(10_000);
}

/// What was loaded without a checksum, as redis-server writes it, has one as soon as something is written behind it; and there is none within a
/// transaction.
#[test]
fn what_had_no_checksum_gets_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let layout = Layout::new(&Settings {
        dir: folder.path().to_owned(),
        ..Settings::default()
    });
    let name = layout.increment(1);
    let (file, manifest) = (layout.path(&name), layout.path(&layout.manifest()));
    let old = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$5\r\nkey:1\r\n$3\r\nold\r\n";
    let with = |content: &[u8]| {
        let disk = Simulated::new(1);
        disk.put(&file, content.to_vec());
        let text = format!("file {name} seq 1 type i\n");
        disk.put(&manifest, text.into_bytes());
        disk
    };
    let disk = with(old.as_bytes());
    let mut machine = Machine::start(&disk, folder.path(), AppendFsync::EverySecond);
    machine.run("MSET key:2 a key:3 b");
    machine.write();
    for _ in 0..20 {
        machine.turn();
    }
    assert_eq!(machine.safe, machine.last);
    machine.die();
    let whole = disk.all().into_iter().find(|(path, _)| *path == file);
    let (_, whole) = whole.expect("it is there");
    let text = String::from_utf8_lossy(&whole).into_owned();
    assert!(text.starts_with(old));
    assert_eq!(text.matches("#EVENKEEL-CRC:").count(), 1, "{text}");
    for at in 0..whole.len() - 2 {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        let started = Machine::try_start(&with(&damaged), folder.path(), AppendFsync::Always);
        // The name of the line may be hit, which is then another's remark.
        let remark = text.rfind('#').expect("there is one") < at;
        match started.map(Machine::die) {
            Err(reason) => assert!(reason.contains(": byte "), "{reason}"),
            Ok(_) => assert!(remark, "byte {at} of {text}"),
        }
    }
}

fn live(seed: u64, policy: AppendFsync) {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Simulated::new(seed);
    let mut random = StdRng::seed_from_u64(seed);
    let (mut safe, mut last) = (0, 0);
    for _ in 0..3 {
        // In the middle of the first base.
        disk.die_after(random.random_range(0..40));
        let _ = Machine::try_start(&disk, folder.path(), policy).map(Machine::die);
        disk.lose_power();
    }
    for life in 0..6 {
        let mut machine = Machine::start(&disk, folder.path(), policy);
        let count = machine.count();
        assert!(
            (safe..=last).contains(&count),
            "seed {seed}, life {life}: {count} of {safe} to {last}"
        );
        if random.random_bool(0.6) {
            disk.fail_one_in(random.random_range(3..40));
        }
        let actions = random.random_range(1..200);
        disk.die_after(random.random_range(1..150));
        for _ in 0..actions {
            match random.random_range(0..10) {
                0..5 => machine.write(),
                5..9 => machine.turn(),
                _ => {
                    let found = machine.aof().needs_base.load(SeqCst);
                    machine.begin_base(if found { Kind::Found } else { Kind::Rewrite });
                }
            }
        }
        disk.die_after(0);
        (safe, last) = machine.die();
        disk.lose_power();
    }
}

#[test]
fn nothing_that_was_said_to_be_on_the_disk_is_missing_after_power_losses() {
    for seed in 0..60 {
        live(seed, AppendFsync::Always);
        live(seed, AppendFsync::EverySecond);
        live(seed, AppendFsync::Never);
    }
}

/// Errors end, and then everything comes to the disk.
#[test]
fn after_errors_everything_is_written() {
    for seed in 0..60 {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Simulated::new(seed);
        let mut machine = Machine::start(&disk, folder.path(), AppendFsync::Always);
        for _ in 0..5 {
            disk.fail_one_in(3);
            for _ in 0..30 {
                machine.write();
                machine.turn();
            }
            disk.fail_one_in(0);
            let patience = Instant::now() + Duration::from_secs(20);
            while machine.safe < machine.last {
                machine.turn();
                assert!(Instant::now() < patience, "seed {seed}");
            }
            let before = machine.last;
            machine.write();
            assert_eq!(machine.last, before + 1, "writes are taken again");
            machine.turn();
            assert_eq!(machine.safe, machine.last);
        }
        let (_, last) = machine.die();
        let mut again = Machine::start(&disk, folder.path(), AppendFsync::Always);
        assert_eq!(again.count(), last);
    }
}

/// Records around the moment of a rewrite are once in the files, whether they were written before it or are still to be.
#[test]
fn a_rewrite_is_cut_between_two_records() {
    for (before, after) in [(1, 1), (3, 2), (1, 0), (0, 1), (0, 0)] {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Simulated::new(1);
        let mut machine = Machine::start(&disk, folder.path(), AppendFsync::Always);
        machine.write();
        machine.turn();
        for _ in 0..before {
            machine.write_only();
        }
        machine.begin_base(Kind::Rewrite);
        machine.await_cut();
        for _ in 0..after {
            machine.write_only();
        }
        let patience = Instant::now() + Duration::from_secs(20);
        while machine.rewriting.is_some() {
            machine.turn();
            assert!(Instant::now() < patience);
        }
        machine.turn();
        let (_, last) = machine.die();
        assert_eq!(disk.all().len(), 3, "the files before the rewrite are gone");
        let mut again = Machine::start(&disk, folder.path(), AppendFsync::Always);
        assert_eq!(again.count(), last, "{before} before, {after} after");
    }
}

/// The power fails at each call of a rewrite, in turn: the files of before are in force, or those of after.
#[test]
fn a_power_loss_at_any_call_of_a_rewrite_leaves_whole_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut ended = false;
    for calls in 0.. {
        let disk = Simulated::new(calls);
        let mut machine = Machine::start(&disk, folder.path(), AppendFsync::Always);
        machine.write();
        machine.turn();
        disk.die_after(calls as u32);
        machine.rewrite_under_writes(&disk);
        ended = !disk.is_dead();
        let (safe, last) = machine.die();
        check_losses(&disk, folder.path(), safe..=last);
        if ended {
            break;
        }
    }
    assert!(ended);
}

/// The same with a first base, before which there is nothing.
#[test]
fn a_power_loss_at_any_call_of_a_first_base_leaves_it_or_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    for calls in 0.. {
        let disk = Simulated::new(calls);
        disk.die_after(calls as u32);
        let started = Machine::try_start(&disk, folder.path(), AppendFsync::Always);
        let ended = started.map(Machine::die).is_ok() && !disk.is_dead();
        check_losses(&disk, folder.path(), 0..=0);
        if ended {
            break;
        }
    }
}

/// Whatever of this disk is left when the power fails: it can be loaded, and has so many writes.
fn check_losses(
    disk: &Simulated,
    folder: &std::path::Path,
    expected: std::ops::RangeInclusive<u64>,
) {
    for seed in 0..24 {
        let disk = disk.after_power_loss(seed);
        let mut again = Machine::start(&disk, folder, AppendFsync::Always);
        let count = again.count();
        assert!(expected.contains(&count), "{count} of {expected:?}");
        again.die();
    }
}

/// A replica that has copied another primary goes on with that one's log.
#[test]
fn another_history_begins_with_a_base_of_its_own() {
    for (offset, noticed_first) in [(0, false), (1 << 40, false), (0, true)] {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Simulated::new(offset);
        let mut machine = Machine::start(&disk, folder.path(), AppendFsync::Always);
        for _ in 0..10 {
            machine.write();
            machine.turn();
        }
        let before = disk.all().len();
        machine.unsure.clear();
        machine.node.log.restart_at(offset);
        if noticed_first {
            // Nothing is lost: writes go on.
            machine.turn();
            assert_eq!(machine.aof().trouble(), None);
        }
        let node = Arc::clone(&machine.node);
        node.persistence.history_restarted(&node);
        assert!(
            !node.persistence.aof.is_synced(1),
            "nothing is known of this history"
        );
        let patience = Instant::now() + Duration::from_secs(20);
        while machine.safe < 11 {
            // It has to wait while all slots are locked.
            if machine.last < 11 {
                machine.write();
            }
            machine.turn();
            assert!(Instant::now() < patience);
        }
        machine.turn();
        assert_eq!(
            disk.all().len(),
            before,
            "the files of the other history are gone"
        );
        machine.write();
        machine.turn();
        machine.die();
        disk.lose_power();
        let mut again = Machine::start(&disk, folder.path(), AppendFsync::Always);
        assert_eq!(again.count(), 12);
    }
}

/// As many blocks of the log are written together as there are, up to a limit: each turn of the writer costs a pause or an fsync.
#[test]
fn one_turn_writes_many_blocks_of_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Simulated::new(3);
    let mut machine = Machine::start(&disk, folder.path(), AppendFsync::Never);
    machine.turn();
    let value = "v".repeat(60_000);
    for number in 0..8 {
        machine.run(&format!("SET key:{number} {value}"));
    }
    machine.turn();
    let behind = machine.aof().report(&machine.node).behind;
    assert_eq!(behind, 0);
}
