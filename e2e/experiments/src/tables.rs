//! Table layouts: bytes a key and nanoseconds an operation, with one table a slot.
//!
//! Keys of 16 bytes stand outside the table behind a handle, as entries do. The access order is random, so that at the
//! sizes measured nearly every access misses the caches.

pub mod dense;
pub mod layout;
pub mod pointers;
mod prefetch;
pub mod swiss;
#[cfg(test)]
mod tests;
pub mod words;

use std::collections::BTreeMap;

use clap::Args;

use self::layout::{Entries, Layout, SLOTS, hash, key, slot};
use crate::measure::{Random, heading, median, row, spread, thread_cpu};

/// What to measure.
#[derive(Args)]
pub struct Options {
    /// Numbers of keys.
    #[arg(long, value_delimiter = ',', default_value = "1000000,10000000")]
    keys: Vec<usize>,
    /// Interleaved rounds; the table shows medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Timed operations of each kind in a round.
    #[arg(long, default_value_t = 1_000_000)]
    operations: usize,
}

/// Operations whose lines are asked for together.
const AHEAD: usize = 16;

const COLUMNS: [&str; 8] = [
    "fill, all inserts",
    "hit",
    "hit, prefetched",
    "miss",
    "miss, prefetched",
    "delete",
    "insert, steady",
    "spread of hit, %",
];

struct Store<L> {
    slots: Vec<L>,
    entries: Entries,
}

impl<L: Layout> Store<L> {
    fn new(keys: usize) -> Self {
        Self {
            slots: std::iter::repeat_with(L::default).take(SLOTS).collect(),
            entries: Entries::with_capacity(keys),
        }
    }

    fn insert_new(&mut self, number: u32) {
        let key = key(u64::from(number));
        let hash = hash(&key);
        let handle = self.entries.add(key);
        self.slots[slot(hash)].insert(hash, handle, &self.entries);
    }

    fn get(&self, number: u32) -> Option<u32> {
        let key = key(u64::from(number));
        let hash = hash(&key);
        self.slots[slot(hash)].get(hash, &key, &self.entries)
    }

    fn get_ahead(&self, numbers: &[u32]) -> usize {
        let mut hashes = [0; AHEAD];
        for (hash_of, &number) in hashes.iter_mut().zip(numbers) {
            *hash_of = hash(&key(u64::from(number)));
            self.slots[slot(*hash_of)].prefetch(*hash_of);
        }
        for &hash in &hashes[..numbers.len()] {
            if let Some(handle) = self.slots[slot(hash)].candidate(hash) {
                prefetch::prefetch(self.entries.key(handle));
            }
        }
        let found = |(&number, &hash): (&u32, &u64)| {
            let table = &self.slots[slot(hash)];
            table
                .get(hash, &key(u64::from(number)), &self.entries)
                .is_some()
        };
        numbers
            .iter()
            .zip(&hashes)
            .filter(|&pair| found(pair))
            .count()
    }

    fn bytes(&self) -> usize {
        self.slots
            .iter()
            .map(|table| table.heap() + size_of::<L>())
            .sum()
    }
}

/// Nanoseconds of processor time for each of `count` operations.
fn timed(count: usize, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let before = thread_cpu()?;
    work()?;
    Ok((thread_cpu()? - before).as_nanos() as f64 / count as f64)
}

fn measure<L: Layout>(keys: usize, operations: usize, seed: u64) -> anyhow::Result<Vec<f64>> {
    let mut random = Random::new(seed);
    let mut store = Store::<L>::new(keys);
    let order = random.permutation(keys);
    let fill = timed(keys, || {
        order.iter().for_each(|&number| store.insert_new(number));
        Ok(())
    })?;
    let order = random.permutation(keys);
    let hits = &order[..operations.min(keys)];
    let misses: Vec<u32> = hits.iter().map(|&number| number + keys as u32).collect();
    let mut times = vec![fill];
    for numbers in [hits, &misses] {
        let expected = if numbers[0] < keys as u32 {
            numbers.len()
        } else {
            0
        };
        times.push(timed(numbers.len(), || {
            let found = numbers
                .iter()
                .filter(|&&number| store.get(number).is_some())
                .count();
            anyhow::ensure!(found == expected, "{found} of {expected} keys found");
            Ok(())
        })?);
        times.push(timed(numbers.len(), || {
            let found: usize = numbers
                .chunks(AHEAD)
                .map(|chunk| store.get_ahead(chunk))
                .sum();
            anyhow::ensure!(found == expected, "{found} of {expected} keys found");
            Ok(())
        })?);
    }
    let mut handles = Vec::with_capacity(hits.len());
    times.push(timed(hits.len(), || {
        for &number in hits {
            let key = key(u64::from(number));
            let hash = hash(&key);
            handles.extend(store.slots[slot(hash)].remove(hash, &key, &store.entries));
        }
        anyhow::ensure!(
            handles.len() == hits.len(),
            "not every key could be deleted"
        );
        Ok(())
    })?);
    times.push(timed(hits.len(), || {
        for (&number, &handle) in hits.iter().zip(&handles) {
            let hash = hash(&key(u64::from(number)));
            store.slots[slot(hash)].insert(hash, handle, &store.entries);
        }
        Ok(())
    })?);
    Ok(times)
}

type Measure = fn(usize, usize, u64) -> anyhow::Result<Vec<f64>>;
type Fills = fn(&[usize]) -> Vec<f64>;

fn layout<L: Layout>() -> (&'static str, Measure, Fills) {
    (L::NAME, measure::<L>, fills::<L>)
}

fn layouts() -> [(&'static str, Measure, Fills); 6] {
    [
        layout::<swiss::Swiss>(),
        layout::<words::Words<90>>(),
        layout::<words::Words<80>>(),
        layout::<dense::Dense<8>>(),
        layout::<dense::Dense<1>>(),
        layout::<pointers::Pointers>(),
    ]
}

/// Table bytes a key, headers included, when the mean slot has each of `means` keys (ascending).
fn fills<L: Layout>(means: &[usize]) -> Vec<f64> {
    let most = means.last().copied().unwrap_or_default() * SLOTS;
    let mut store = Store::<L>::new(most);
    let mut filled = 0;
    means
        .iter()
        .map(|&mean| {
            let keys = mean * SLOTS;
            (filled..keys).for_each(|number| store.insert_new(number as u32));
            filled = keys;
            store.bytes() as f64 / keys as f64
        })
        .collect()
}

/// Mean number of buckets that a search for an absent key looks at in layout (b).
fn search_length<const FILL: usize>(keys: usize) -> f64 {
    let mut store = Store::<words::Words<FILL>>::new(keys);
    (0..keys).for_each(|number| store.insert_new(number as u32));
    let lengths = store.slots.iter().map(words::Words::search_lengths);
    let (buckets, looked_at) = lengths.fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1));
    looked_at as f64 / buckets as f64
}

/// Runs the experiment.
///
/// # Errors
/// When processor time cannot be read, or a table loses a key.
pub fn run(options: &Options) -> anyhow::Result<()> {
    const MEANS: [usize; 10] = [64, 80, 100, 128, 180, 250, 350, 450, 610, 700];
    println!(
        "\nTable bytes a key, by keys a slot ({SLOTS} slots, as asked of the allocator, headers included):"
    );
    let names: Vec<String> = MEANS.iter().map(usize::to_string).collect();
    heading(
        &[
            &["layout"][..],
            &names.iter().map(String::as_str).collect::<Vec<_>>(),
            &["mean"],
        ]
        .concat(),
    );
    for (name, _, fills) in layouts() {
        let bytes = fills(&MEANS);
        let mean = bytes.iter().sum::<f64>() / bytes.len() as f64;
        let bytes = bytes
            .iter()
            .chain([&mean])
            .map(|bytes| format!("{bytes:.2}"));
        row(&[name.to_owned()]
            .into_iter()
            .chain(bytes)
            .collect::<Vec<_>>());
    }
    println!("\nBuckets that a miss looks at in layout (b):");
    heading(&["keys", "up to 90 %", "up to 85 %", "up to 80 %"]);
    for &keys in &options.keys {
        let lengths = [
            search_length::<90>(keys),
            search_length::<85>(keys),
            search_length::<80>(keys),
        ];
        row(&[
            &[keys.to_string()][..],
            &lengths.map(|length| format!("{length:.2}")),
        ]
        .concat());
    }
    for &keys in &options.keys {
        let mut results: BTreeMap<usize, Vec<Vec<f64>>> = BTreeMap::new();
        for round in 0..options.rounds {
            for (index, (_, measure, _)) in layouts().iter().enumerate() {
                results.entry(index).or_default().push(measure(
                    keys,
                    options.operations,
                    round as u64 + 1,
                )?);
            }
        }
        println!(
            "\nNanoseconds an operation, {keys} keys (medians of {} rounds):",
            options.rounds
        );
        heading(&[&["layout"][..], &COLUMNS].concat());
        for (index, (name, _, _)) in layouts().iter().enumerate() {
            let column = |column: usize| {
                results[&index]
                    .iter()
                    .map(|round| round[column])
                    .collect::<Vec<_>>()
            };
            let mut cells = vec![(*name).to_owned()];
            cells.extend(
                (0..COLUMNS.len() - 1).map(|index| format!("{:.0}", median(&column(index)))),
            );
            cells.push(format!("{:.0}", spread(&column(1))));
            row(&cells);
        }
    }
    Ok(())
}
