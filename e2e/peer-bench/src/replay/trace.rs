//! Traces in files.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// A sequence of requests for objects.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Name of the file up to its first dot.
    pub name: String,
    /// Objects asked for, numbered by their first request.
    pub requests: Vec<u32>,
    /// Bytes of each object, as its first request said.
    pub sizes: Vec<u32>,
}

impl Trace {
    /// Reads up to `most` requests from the beginning of a file.
    ///
    /// # Errors
    /// If it is no trace.
    pub fn read(path: &Path, most: usize) -> Result<Self> {
        let name = path.file_name().unwrap_or(path.as_os_str());
        let name = name.to_string_lossy();
        let decoder = zstd::Decoder::new(File::open(path)?)?;
        let name = name.split('.').next().unwrap_or_default().to_owned();
        Self::decode(name, BufReader::new(decoder), most)
    }

    fn decode(name: String, mut records: impl Read, most: usize) -> Result<Self> {
        let mut trace = Self {
            name,
            requests: Vec::new(),
            sizes: Vec::new(),
        };
        let mut numbers: HashMap<u32, u32> = HashMap::new();
        let mut record = [0; 8];
        while trace.requests.len() < most {
            match records.read(&mut record[..1])? {
                0 => break,
                _ => records
                    .read_exact(&mut record[1..])
                    .context("the last record is cut short")?,
            }
            let [a, b, c, d, e, f, g, h] = record;
            let (id, size) = (
                u32::from_le_bytes([a, b, c, d]),
                u32::from_le_bytes([e, f, g, h]),
            );
            let next = trace.sizes.len() as u32;
            let number = *numbers.entry(id).or_insert(next);
            if number == next {
                trace.sizes.push(size.max(1));
            }
            trace.requests.push(number);
        }
        ensure!(!trace.requests.is_empty(), "there are no requests");
        Ok(trace)
    }

    /// Whether objects have sizes.
    pub fn is_sized(&self) -> bool {
        self.sizes.iter().any(|size| *size != self.sizes[0])
    }

    /// Writes the same requests with all sizes 1.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_unsized(&self, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        let mut encoder = zstd::Encoder::new(BufWriter::new(file), 1)?;
        for number in &self.requests {
            encoder.write_all(&number.to_le_bytes())?;
            encoder.write_all(&1_u32.to_le_bytes())?;
        }
        encoder.finish()?.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(records: &[(u32, u32)], most: usize) -> Result<Trace> {
        let bytes: Vec<u8> = records
            .iter()
            .flat_map(|(id, size)| [id.to_le_bytes(), size.to_le_bytes()].concat())
            .collect();
        Trace::decode("t".to_owned(), bytes.as_slice(), most)
    }

    #[test]
    fn objects_are_numbered_by_their_first_request() {
        let trace = decode(&[(7, 10), (3, 0), (7, 99), (9, 5)], 10).unwrap();
        assert_eq!(trace.requests, [0, 1, 0, 2]);
        assert_eq!(trace.sizes, [10, 1, 5]);
        assert!(trace.is_sized());
        let beginning = decode(&[(7, 10), (3, 10), (7, 99), (9, 5)], 3).unwrap();
        assert_eq!(beginning.requests, [0, 1, 0]);
        assert!(!beginning.is_sized());
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        assert!(decode(&[], 10).is_err());
        let cut = Trace::decode("t".to_owned(), [1, 2, 3].as_slice(), 10);
        assert!(cut.unwrap_err().to_string().contains("cut short"));
    }

    #[test]
    fn what_is_written_is_read_again_without_sizes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("copy.bin.zst");
        let trace = decode(&[(7, 10), (3, 20), (7, 10)], 10).unwrap();
        trace.write_unsized(&path).unwrap();
        let copy = Trace::read(&path, 10).unwrap();
        assert_eq!(
            (copy.name.as_str(), &copy.requests),
            ("copy", &trace.requests)
        );
        assert_eq!(copy.sizes, [1, 1]);
    }
}
