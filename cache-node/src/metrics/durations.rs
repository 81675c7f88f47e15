//! A histogram of durations as Prometheus wants it.

use std::collections::HashMap;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, Metric, MetricFamily, MetricType};

use crate::stats::{BOUNDS_MICROS, Spread};

/// What was counted, under its name.
pub(super) struct Collected {
    desc: Desc,
    spread: Spread,
}

impl Collected {
    pub(super) fn new(name: &str, help: &str, spread: Spread) -> prometheus::Result<Self> {
        let desc = Desc::new(name.to_owned(), help.to_owned(), vec![], HashMap::new())?;
        Ok(Self { desc, spread })
    }

    fn histogram(&self) -> Histogram {
        let mut so_far = 0;
        let buckets = BOUNDS_MICROS.iter().zip(self.spread.counts);
        let buckets = buckets.map(|(bound, count)| {
            so_far += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound as f64 / 1e6);
            bucket.set_cumulative_count(so_far);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(self.spread.counts.iter().sum());
        histogram.set_sample_sum(self.spread.total.as_secs_f64());
        histogram
    }
}

impl Collector for Collected {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut metric = Metric::from_label(vec![]);
        metric.set_histogram(self.histogram());
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        vec![family]
    }
}
