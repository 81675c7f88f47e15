//! Traces: read from files, or generated.
//!
//! A file is a sequence of records of two little-endian 32-bit numbers, object id (dense, from 0) and size in bytes, compressed with
//! zstd.

use std::{fs::File, io::Read, path::Path};

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// A sequence of requests for objects.
pub(crate) struct Trace {
    pub(crate) name: String,
    /// Object ids, below `sizes.len()`.
    pub(crate) requests: Vec<u32>,
    /// Size of each object in bytes: what its first request said.
    pub(crate) sizes: Vec<u32>,
}

impl Trace {
    /// Reads a compressed file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        let file = File::open(path)?;
        zstd::Decoder::new(file)?
            .read_to_end(&mut bytes)
            .context("not zstd, or cut short")?;
        let (records, rest) = bytes.as_chunks::<8>();
        ensure!(rest.is_empty(), "the last record is cut short");
        ensure!(!records.is_empty(), "there are no requests");
        let records = records.iter().map(|record| {
            let record = u64::from_le_bytes(*record);
            (record as u32, (record >> 32) as u32)
        });
        let file_name = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy();
        let name = file_name.split('.').next().unwrap_or_default().to_owned();
        Self::from_records(name, records)
    }

    fn from_records(name: String, records: impl Iterator<Item = (u32, u32)>) -> Result<Self> {
        const UNSEEN: u32 = 0;
        let (mut requests, mut sizes) = (Vec::new(), Vec::new());
        for (id, size) in records {
            ensure!((id as usize) < 1 << 30, "object id {id} is not dense");
            if id as usize >= sizes.len() {
                sizes.resize(id as usize + 1, UNSEEN);
            }
            if sizes[id as usize] == UNSEEN {
                sizes[id as usize] = size.max(1);
            }
            requests.push(id);
        }
        ensure!(
            sizes.iter().all(|size| *size != UNSEEN),
            "object ids are not dense"
        );
        Ok(Self {
            name,
            requests,
            sizes,
        })
    }

    /// Zipf's distribution over `objects`, interrupted by scans: runs over objects that are asked for once.
    pub(crate) fn zipf_with_scans(spec: &Synthetic, seed: u64) -> Result<Self> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut cumulative: Vec<f64> = (1..=spec.objects)
            .scan(0.0, |sum, rank| {
                *sum += f64::from(rank).powf(-spec.exponent);
                Some(*sum)
            })
            .collect();
        let total = cumulative.pop().context("there are no objects")?;
        let mut ids = Dense::default();
        let mut records = Vec::with_capacity(spec.requests as usize);
        let mut scanned = spec.objects;
        while records.len() < spec.requests as usize {
            // A scan of 1,000 begins so often that scans make up their share of the requests.
            if random.random_bool(spec.scans / (1000.0 - 999.0 * spec.scans)) {
                for _ in 0..1000 {
                    records.push(ids.of(scanned));
                    scanned += 1;
                }
            } else {
                let point = random.random_range(0.0..total);
                records.push(ids.of(cumulative.partition_point(|sum| *sum <= point) as u32));
            }
        }
        records.truncate(spec.requests as usize);
        // Between 16 B and 64 KiB, most of them small.
        let sizes: Vec<u32> = (0..=scanned)
            .map(|_| 2f64.powf(4.0 + 12.0 * random.random::<f64>().powi(2)) as u32)
            .collect();
        let sized = records
            .into_iter()
            .map(|id| (id, if spec.sized { sizes[id as usize] } else { 1 }));
        Self::from_records(spec.to_string(), sized)
    }

    /// Total size of all objects, if each weighs this.
    pub(crate) fn footprint(&self, cost: impl Fn(u32) -> u32) -> u64 {
        self.sizes.iter().map(|size| u64::from(cost(*size))).sum()
    }

    /// Whether objects have sizes.
    pub(crate) fn is_sized(&self) -> bool {
        self.sizes.iter().any(|size| *size != self.sizes[0])
    }
}

/// Gives ids in the order of first requests.
#[derive(Default)]
struct Dense {
    ids: hashbrown::HashMap<u32, u32>,
}

impl Dense {
    fn of(&mut self, object: u32) -> u32 {
        let next = self.ids.len() as u32;
        *self.ids.entry(object).or_insert(next)
    }
}

/// What to generate: `zipf:OBJECTS:REQUESTS:EXPONENT:SCANS[:sized]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Synthetic {
    objects: u32,
    requests: u32,
    exponent: f64,
    /// Share of requests that are part of a scan.
    scans: f64,
    sized: bool,
}

impl std::str::FromStr for Synthetic {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let fields: Vec<&str> = text.split(':').collect();
        let (fields, sized) = match fields.as_slice() {
            [rest @ .., "sized"] => (rest, true),
            rest => (rest, false),
        };
        let ["zipf", objects, requests, exponent, scans] = fields else {
            anyhow::bail!(
                "expected zipf:OBJECTS:REQUESTS:EXPONENT:SCANS[:sized], for example zipf:100000:2000000:0.9:0.1"
            );
        };
        let spec = Self {
            objects: objects.parse().context("OBJECTS")?,
            requests: requests.parse().context("REQUESTS")?,
            exponent: exponent.parse().context("EXPONENT")?,
            scans: scans.parse().context("SCANS")?,
            sized,
        };
        ensure!(
            spec.objects > 0 && spec.requests > 0,
            "OBJECTS and REQUESTS must be above 0"
        );
        ensure!(
            (0.0..10.0).contains(&spec.exponent),
            "EXPONENT must be from 0 to 10"
        );
        ensure!(
            (0.0..1.0).contains(&spec.scans),
            "SCANS is a share of the requests, from 0 up to 1"
        );
        Ok(spec)
    }
}

impl std::fmt::Display for Synthetic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            objects,
            requests,
            exponent,
            scans,
            sized,
        } = self;
        write!(
            f,
            "zipf:{objects}:{requests}:{exponent}:{scans}{}",
            if *sized { ":sized" } else { "" }
        )
    }
}
