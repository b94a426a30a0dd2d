//! Numbers over steps, in as much memory as a screen can show and no more.

use std::ops::RangeInclusive;

use serde::Serialize;
use serde_json::Value;

/// The most buckets that are kept of a series; then two at a time become one.
const MOST_BUCKETS: usize = 1 << 15;
/// The most series that are kept; a file with more names is none of ours.
const MOST_SERIES: usize = 200;
/// The longest name.
const LONGEST_NAME: usize = 100;

/// What a name belongs to: its part before a part that begins with a capital, so that `cycle_A` and `cycle_B`
/// are of the group `cycle`.
pub fn group(name: &str) -> &str {
    let parts = name.match_indices('_');
    let mut ends = parts.map(|(at, _)| at);
    let capital = |at: &usize| name[at + 1..].starts_with(|sign: char| sign.is_ascii_uppercase());
    match ends.find(capital) {
        Some(at) if at > 0 => &name[..at],
        _ => name,
    }
}

/// The values of some steps.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    first: u64,
    last: u64,
    count: u64,
    sum: f64,
    min: f32,
    max: f32,
}

impl Bucket {
    fn of(step: u64, value: f32) -> Self {
        Bucket {
            first: step,
            last: step,
            count: 1,
            sum: value.into(),
            min: value,
            max: value,
        }
    }

    fn add(&mut self, later: &Bucket) {
        self.last = later.last;
        self.count += later.count;
        self.sum += later.sum;
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
    }
}

/// One number over steps.
#[derive(Debug)]
struct Series {
    name: String,
    /// Steps that a bucket spans, a power of two.
    width: u64,
    buckets: Vec<Bucket>,
}

impl Series {
    fn new(name: &str) -> Self {
        Series {
            name: name.to_owned(),
            width: 1,
            buckets: Vec::new(),
        }
    }

    fn push(&mut self, bucket: Bucket) {
        let index = bucket.first / self.width;
        match self.buckets.last_mut() {
            Some(last) if last.first / self.width == index => last.add(&bucket),
            _ => self.buckets.push(bucket),
        }
        if self.buckets.len() > MOST_BUCKETS {
            self.width *= 2;
            for bucket in std::mem::take(&mut self.buckets) {
                self.push(bucket);
            }
        }
    }

    /// What is shown of it in a range of steps with at most so many points.
    fn shown(&self, range: &RangeInclusive<u64>, points: usize) -> Shown<'_> {
        let from = self.buckets.partition_point(|b| b.last < *range.start());
        let to = self.buckets.partition_point(|b| b.first <= *range.end());
        let within = &self.buckets[from.min(to)..to];
        let together = within.len().div_ceil(points.max(1)).max(1);
        let buckets = within.chunks(together).map(|chunk| {
            let mut all = chunk[0];
            chunk[1..].iter().for_each(|bucket| all.add(bucket));
            all
        });
        let buckets: Vec<Bucket> = buckets.collect();
        let single = buckets.iter().all(|bucket| bucket.count == 1);
        let column = |of: fn(&Bucket) -> f32| match single {
            true => Vec::new(),
            false => buckets.iter().map(of).collect(),
        };
        Shown {
            name: &self.name,
            group: group(&self.name),
            last: self.buckets.last().map_or(0, |bucket| bucket.last),
            steps: buckets.iter().map(|b| b.first.midpoint(b.last)).collect(),
            mean: buckets
                .iter()
                .map(|b| (b.sum / b.count as f64) as f32)
                .collect(),
            min: column(|bucket| bucket.min),
            max: column(|bucket| bucket.max),
        }
    }
}

/// A series as the page takes it, column by column.
#[derive(Debug, Serialize)]
pub struct Shown<'a> {
    name: &'a str,
    group: &'a str,
    /// The last step that there is, whatever is shown.
    last: u64,
    steps: Vec<u64>,
    mean: Vec<f32>,
    /// Empty where all points are single values.
    min: Vec<f32>,
    max: Vec<f32>,
}

/// All numbers of a run.
#[derive(Debug, Default)]
pub struct Metrics(Vec<Series>);

impl Metrics {
    /// Takes the numbers of a line, which has a step; what is no finite number is passed over.
    pub fn push(&mut self, line: &Value) {
        let (Some(line), Some(step)) = (line.as_object(), line["step"].as_u64()) else {
            return;
        };
        for (name, value) in line.iter().filter(|(name, _)| *name != "step") {
            let value = value.as_f64().map(|value| value as f32);
            let Some(value) = value.filter(|value| value.is_finite()) else {
                continue;
            };
            let bucket = Bucket::of(step, value);
            let has_room = self.0.len() < MOST_SERIES && name.len() <= LONGEST_NAME;
            match self.0.iter_mut().find(|series| series.name == *name) {
                Some(series) => series.push(bucket),
                None if has_room => {
                    let mut series = Series::new(name);
                    series.push(bucket);
                    self.0.push(series);
                }
                None => {}
            }
        }
    }

    /// What is shown of a range of steps with at most so many points a series.
    pub fn shown(&self, range: RangeInclusive<u64>, points: usize) -> Vec<Shown<'_>> {
        let series = self.0.iter();
        series.map(|series| series.shown(&range, points)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ALL: RangeInclusive<u64> = 0..=u64::MAX;

    #[test]
    fn names_are_grouped_by_what_comes_before_a_capital() {
        for (name, expected) in [
            ("G_A", "G"),
            ("cycle_B", "cycle"),
            ("gradient_norm_G", "gradient_norm"),
            ("learning_rate", "learning_rate"),
            ("kid_AtoB", "kid"),
            ("kid_vgg16_AtoB", "kid_vgg16"),
            ("fid", "fid"),
            ("_A", "_A"),
            ("x_", "x_"),
            ("ü_Ü", "ü_Ü"),
        ] {
            assert_eq!(group(name), expected, "{name}");
        }
    }

    #[test]
    fn many_steps_become_buckets_that_keep_mean_and_extremes() {
        let mut metrics = Metrics::default();
        let steps = 240_000;
        // A spike that no picture may lose.
        let value = |step: u64| {
            if step == 123_457 {
                9.0
            } else {
                (step % 2) as f32
            }
        };
        for step in 1..=steps {
            let mut line = json!({"step": step, "G_A": value(step), "no": null, "text": "x"});
            if step % 1000 == 0 {
                line["rare_A"] = step.into();
            }
            metrics.push(&line);
        }
        let shown = metrics.shown(ALL, 600);
        let [losses, rare] = &shown[..] else {
            panic!("{shown:?}");
        };
        assert_eq!((losses.name, losses.last), ("G_A", steps));
        assert!((300..=600).contains(&losses.steps.len()));
        assert_eq!(losses.max.iter().filter(|&&max| max == 9.0).count(), 1);
        assert!(losses.min.iter().all(|&min| min == 0.0));
        let usual = losses
            .mean
            .iter()
            .filter(|&&mean| (mean - 0.5).abs() < 0.01);
        assert!(usual.count() >= losses.mean.len() - 1);
        assert_eq!(rare.steps.len(), 240);
        assert!(rare.min.is_empty(), "single values are their own extremes");
        assert!(metrics.0[0].buckets.len() <= MOST_BUCKETS);

        // Nearer, the spike is told from its neighbours.
        let shown = metrics.shown(123_400..=123_500, 600);
        assert!(shown[0].steps.len() >= 10);
        assert!(
            shown[0]
                .steps
                .iter()
                .all(|s| (123_390..=123_510).contains(s))
        );
        #[expect(clippy::reversed_empty_ranges, reason = "anybody may ask")]
        let nothing = metrics.shown(9..=3, 600);
        assert!(nothing[0].steps.is_empty());
    }

    #[test]
    fn strange_lines_take_no_room() {
        let mut metrics = Metrics::default();
        for line in [
            json!([1]),
            json!({"x": 1}),
            json!({"step": -1, "x": 1}),
            json!(null),
        ] {
            metrics.push(&line);
        }
        assert!(metrics.0.is_empty());
        for i in 0..1000 {
            metrics.push(&json!({"step": 1, format!("name{i}"): 1, "y".repeat(101): 1}));
        }
        assert_eq!(metrics.0.len(), MOST_SERIES);
    }
}
