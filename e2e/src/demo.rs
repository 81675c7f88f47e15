//! The whole story by itself: create, fill, 3 -> 5 shards under load, SIGKILL a primary under load, 5 -> 3, verify.
//!
//! It measures and reports; it must never touch the cluster in a way that a user could not.

mod report;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub use report::Report;

use crate::caches::Cache;
use crate::faults;
use crate::load::{Load, Pressure, Workload};
use crate::nodes::{self, Owners};

/// How long a phase may take before the demonstration has failed.
const BOUND: Duration = Duration::from_secs(180);
/// How long the load presses before something happens, so that it is under way.
const WARM_UP: Duration = Duration::from_secs(1);

/// Plays the story on `cache`, which need not exist yet, and says what happened, also when it ends early.
/// `tell` is given a line whenever there is progress.
pub async fn play(cache: &Cache, manifest: &str, keys: usize, tell: &dyn Fn(&str)) -> Report {
    let mut report = Report {
        keys,
        ..Report::default()
    };
    let outcome = Story {
        cache,
        tell,
        report: &mut report,
    }
    .play(manifest, keys)
    .await;
    report.failure = outcome.err().map(|error| format!("{error:#}"));
    report.passed = report.failure.is_none();
    report
}

struct Story<'a> {
    cache: &'a Cache,
    tell: &'a dyn Fn(&str),
    report: &'a mut Report,
}

impl Story<'_> {
    async fn play(mut self, manifest: &str, keys: usize) -> Result<()> {
        self.create(manifest).await?;
        let work = Workload::new(&self.cache.addresses().await?, "demo:", keys)?;
        let outcome = self.under_load(&work).await;
        self.report.acknowledged_writes = work.acknowledged_writes();
        outcome?;
        match (
            self.report.scaling_writes_lost,
            self.report.scaling_stale_reads,
        ) {
            (0, 0) => Ok(()),
            (lost, stale) => {
                bail!("scaling lost {lost} acknowledged writes; {stale} reads missed one")
            }
        }
    }

    async fn create(&mut self, manifest: &str) -> Result<()> {
        self.say("creating the CacheCluster");
        let began = Instant::now();
        self.cache.apply(manifest).await?;
        self.cache.wait_ready(BOUND, |line| self.say(line)).await?;
        self.report.ready_seconds = Some(began.elapsed().as_secs_f64());
        Ok(())
    }

    async fn under_load(&mut self, work: &Workload) -> Result<()> {
        self.say(&format!("writing {} keys", self.report.keys));
        let began = Instant::now();
        work.fill(|done| self.say(&format!("{done} keys written")))
            .await?;
        self.report.fill_seconds = Some(began.elapsed().as_secs_f64());
        self.report.scale_out_seconds = Some(self.scale(work, 5).await?);
        self.fail_over(work).await?;
        self.report.scale_in_seconds = Some(self.scale(work, 3).await?);
        Ok(())
    }

    /// Changes the number of shards under load and verifies every key. Seconds until Ready.
    async fn scale(&mut self, work: &Workload, shards: i32) -> Result<f64> {
        self.say(&format!("scaling to {shards} shards under load"));
        let before = self.owners().await?;
        let load = self.press(work).await?;
        let began = Instant::now();
        let ready = match self.cache.scale(shards).await {
            Ok(()) => self.cache.wait_ready(BOUND, |line| self.say(line)).await,
            Err(error) => Err(error),
        };
        let seconds = began.elapsed().as_secs_f64();
        let tally = load.stop().await;
        self.say(&format!("load: {tally}"));
        ready?;
        self.report.slots_moved += nodes::moved(&before, &self.owners().await?);
        self.say("reading every key back");
        let audit = work.verify().await?;
        self.say(&format!("{} acknowledged writes lost", audit.lost_writes));
        self.report.scaled(&tally, &audit);
        Ok(seconds)
    }

    /// Kills the primary with most slots under load, waits until all is well again, and verifies every key.
    async fn fail_over(&mut self, work: &Workload) -> Result<()> {
        let owners = self.owners().await?;
        let (victim, slots) = owners
            .into_iter()
            .max_by_key(|(_, slots)| slots.len())
            .context("no primary")?;
        self.say(&format!(
            "killing the primary at {victim}, which owns {} slots, under load",
            slots.len()
        ));
        let load = self.press(work).await?;
        load.watch(slots);
        let began = Instant::now();
        let healed = match faults::kill(self.cache, &victim).await {
            Ok(()) => wait_healed(self.cache, &victim, BOUND, &|line| self.say(line)).await,
            Err(error) => Err(error),
        };
        let seconds = began.elapsed().as_secs_f64();
        let tally = load.stop().await;
        self.say(&format!("load: {tally}"));
        healed?;
        self.report.heal_seconds = Some(seconds);
        self.say("reading every key back");
        let audit = work.verify().await?;
        self.say(&format!("{} acknowledged writes lost", audit.lost_writes));
        self.report.failed_over(&tally, &audit);
        Ok(())
    }

    async fn owners(&self) -> Result<Owners> {
        nodes::owners(&self.cache.addresses().await?).await
    }

    /// Starts the load and lets it get under way.
    async fn press(&self, work: &Workload) -> Result<Load> {
        let load = work.start(Pressure::default()).await?;
        tokio::time::sleep(WARM_UP).await;
        Ok(load)
    }

    fn say(&self, line: &str) {
        (self.tell)(line);
    }
}

/// Waits until the slots of the primary at `victim` have another owner, every node leads or follows, and the operator says
/// Ready.
///
/// # Errors
/// If that is not so within `bound`.
pub async fn wait_healed(
    cache: &Cache,
    victim: &str,
    bound: Duration,
    tell: &dyn Fn(&str),
) -> Result<()> {
    let began = Instant::now();
    let healed = async {
        loop {
            let addresses = cache.addresses().await.unwrap_or_default();
            let replaced = nodes::owners(&addresses)
                .await
                .is_ok_and(|owners| !owners.contains_key(victim));
            if replaced && nodes::settled(&addresses).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(bound, healed).await.with_context(|| {
        format!("the slots of {victim} are not served by an in-sync shard after {bound:?}")
    })?;
    tell("a replica took over and every node is in sync");
    cache
        .wait_ready(bound.saturating_sub(began.elapsed()), tell)
        .await?;
    Ok(())
}
