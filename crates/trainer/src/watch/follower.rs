//! A run's files, followed as they grow.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use crate::run_dir::RunDir;
use crate::watch::overview::Overview;
use crate::watch::series::Metrics;
use crate::watch::tail::{Growth, Tail};

/// More lines at a time are not sent one by one.
const MOST_LINES: usize = 500;

/// Something for the page to know.
#[derive(Clone, Debug)]
pub struct News {
    /// `run`: an overview; `lines`: of metrics or times; `again`: all numbers are to be asked for again.
    pub event: &'static str,
    pub data: String,
}

/// What is known of a run.
#[derive(Debug)]
pub struct Follower {
    run: RunDir,
    tails: [Tail; 2],
    metrics: Metrics,
    overview: String,
}

fn tails(run: &RunDir) -> [Tail; 2] {
    [run.metrics_file(), run.pace_file()].map(Tail::new)
}

/// All numbers of a run.
pub fn read_all(run: &RunDir) -> Metrics {
    let mut metrics = Metrics::default();
    for tail in &mut tails(run) {
        // What can't be read is left out.
        let _ = tail.read(|line| metrics.push(&line));
    }
    metrics
}

impl Follower {
    /// Nothing read yet.
    pub fn new(run: RunDir) -> Self {
        Follower {
            tails: tails(&run),
            run,
            metrics: Metrics::default(),
            overview: String::new(),
        }
    }

    /// Reads what is new.
    pub fn look(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        news.extend(self.numbers());
        let overview = json!(Overview::of(&self.run)).to_string();
        if overview != self.overview {
            self.overview.clone_from(&overview);
            news.push(News {
                event: "run",
                data: overview,
            });
        }
        news
    }

    fn numbers(&mut self) -> Option<News> {
        let again = News {
            event: "again",
            data: String::new(),
        };
        let (mut lines, mut count) = (Vec::new(), 0);
        for tail in &mut self.tails {
            let growth = tail.read(|line| {
                self.metrics.push(&line);
                count += 1;
                if count <= MOST_LINES {
                    lines.push(line);
                }
            });
            // A file that can't be read now may be later.
            if growth.is_ok_and(|growth| growth == Growth::Rewritten) {
                self.metrics = Metrics::default();
                self.tails.iter_mut().for_each(Tail::rewind);
                for tail in &mut self.tails {
                    let _ = tail.read(|line| self.metrics.push(&line));
                }
                return Some(again);
            }
        }
        match count {
            0 => None,
            _ if count > MOST_LINES => Some(again),
            _ => Some(News {
                event: "lines",
                data: Value::Array(lines).to_string(),
            }),
        }
    }

    /// The last overview.
    pub fn overview(&self) -> News {
        News {
            event: "run",
            data: self.overview.clone(),
        }
    }

    /// A range of steps as JSON.
    pub fn series(&self, range: RangeInclusive<u64>, points: usize) -> String {
        json!(self.metrics.shown(range, points)).to_string()
    }
}
