//! Tables in Markdown, and JSON.

use std::fmt::Write;

use cache_eviction::{Kind, Policy, SizeWeight};

use crate::{
    cache::Contender,
    replay::{Cell, MissRatio},
};

/// Which misses a table is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misses {
    OfObjects,
    OfBytes,
}

impl Misses {
    fn of(self, ratio: &MissRatio) -> f64 {
        match self {
            Self::OfObjects => ratio.objects,
            Self::OfBytes => ratio.bytes,
        }
    }
}

/// Miss ratios, one row a trace and size; the lowest but Belady's is bold.
pub(crate) fn table(cells: &[Cell], contenders: &[Contender], misses: Misses) -> String {
    let mut out = String::from("| trace | requests / objects | size |");
    contenders
        .iter()
        .for_each(|contender| _ = write!(out, " {contender} |"));
    out += "\n|---|---|--:|";
    out += &"--:|".repeat(contenders.len());
    out.push('\n');
    for cell in cells {
        _ = write!(
            out,
            "| {} | {} / {} | {} |",
            cell.trace, cell.requests, cell.objects, cell.size
        );
        let ratios: Vec<f64> = cell.ratios.iter().map(|ratio| misses.of(ratio)).collect();
        let online = contenders
            .iter()
            .zip(&ratios)
            .filter(|(contender, _)| **contender != Contender::Belady);
        let best = online
            .map(|(_, ratio)| *ratio)
            .fold(f64::INFINITY, f64::min);
        for ratio in &ratios {
            let mark = if *ratio == best { "**" } else { "" };
            _ = write!(out, " {mark}{ratio:.4}{mark} |");
        }
        out.push('\n');
    }
    out
}

/// Mean and worst change in misses against Redis's LRU, if that was replayed, and how far `auto` is from the better of LRU and S3.
pub(crate) fn summary(cells: &[Cell], contenders: &[Contender], misses: Misses) -> String {
    let mut out = String::new();
    let column = |contender: Contender| {
        let at = contenders.iter().position(|known| *known == contender)?;
        Some(
            cells
                .iter()
                .map(|cell| misses.of(&cell.ratios[at]))
                .collect::<Vec<f64>>(),
        )
    };
    if let Some(redis) = column(Contender::RedisLru) {
        out += "| policy | mean change in misses against redis-lru | worst | where |\n|---|--:|--:|---|\n";
        for contender in contenders {
            row(
                &mut out,
                &contender.to_string(),
                cells,
                &column(*contender).unwrap_or_default(),
                &redis,
            );
        }
        out.push('\n');
    }
    let mut against_better = String::new();
    for weight in [SizeWeight::None, SizeWeight::Root, SizeWeight::Full] {
        let lru = contenders.iter().find_map(|known| match known {
            Contender::Node(Policy::AllKeys(Kind::Lru), _) => column(*known),
            _ => None,
        });
        let s3 = column(Contender::Node(Policy::AllKeys(Kind::S3), weight));
        let auto = Contender::Node(Policy::Auto, weight);
        if let (Some(lru), Some(s3), Some(found)) = (lru, s3, column(auto)) {
            let better: Vec<f64> = lru.iter().zip(&s3).map(|(lru, s3)| lru.min(*s3)).collect();
            row(
                &mut against_better,
                &auto.to_string(),
                cells,
                &found,
                &better,
            );
        }
    }
    if !against_better.is_empty() {
        out += "| policy | mean change in misses against the better of allkeys-lru and allkeys-s3 | worst | where |\n|---|--:|--:|---|\n";
        out += &against_better;
    }
    out
}

fn row(out: &mut String, name: &str, cells: &[Cell], found: &[f64], reference: &[f64]) {
    let changes: Vec<f64> = found
        .iter()
        .zip(reference)
        .map(|(found, reference)| 100.0 * (found / reference - 1.0))
        .collect();
    let mean = changes.iter().sum::<f64>() / changes.len() as f64;
    if let Some((cell, worst)) = cells
        .iter()
        .zip(&changes)
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
    {
        _ = writeln!(
            out,
            "| {name} | {mean:+.2} % | {worst:+.2} % | {} {} |",
            cell.trace, cell.size
        );
    }
}

/// One object a replay, in an array.
pub(crate) fn json(cells: &[Cell], contenders: &[Contender]) -> String {
    let mut objects = Vec::new();
    for cell in cells {
        for (contender, ratio) in contenders.iter().zip(&cell.ratios) {
            let Cell {
                trace,
                requests,
                objects: distinct,
                size,
                capacity,
                ..
            } = cell;
            let MissRatio {
                objects: of_objects,
                bytes: of_bytes,
            } = ratio;
            // Names have no characters that JSON would write in another way than Rust.
            objects.push(format!(
                "  {{\"trace\": {trace:?}, \"requests\": {requests}, \"objects\": {distinct}, \"size\": {size:?}, \"capacity\": {capacity}, \
                 \"policy\": \"{contender}\", \"miss_ratio\": {of_objects:.6}, \"byte_miss_ratio\": {of_bytes:.6}}}"
            ));
        }
    }
    format!("[\n{}\n]\n", objects.join(",\n"))
}
