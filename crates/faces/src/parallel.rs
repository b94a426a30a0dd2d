use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::Result;

/// Calls `work` with each of `0..count` on as many threads as rayon has, one thread a picture, and returns
/// what came of them in order. Nothing is begun after a failure, the first of which is returned.
///
/// Operations on tensors are parallel themselves. Here they must not be: a thread that waited for parts of
/// one would begin another picture meanwhile, and another, all of them held in memory.
pub(crate) fn map<T: Send>(
    count: usize,
    work: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let made = Mutex::new((Vec::new(), None));
    let run = || {
        // A pool of this thread alone, which parallel operations in it take for the only one.
        let _alone = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .use_current_thread()
            .build();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                return;
            }
            let outcome = work(i);
            let mut made = made.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            match outcome {
                Ok(value) => made.0.push((i, value)),
                Err(error) => {
                    next.store(count, Ordering::Relaxed);
                    made.1.get_or_insert(error);
                }
            }
        }
    };
    let threads = rayon::current_num_threads().min(count);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(run);
        }
    });
    let (mut values, failure) = made
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    match failure {
        Some(error) => Err(error),
        None => {
            values.sort_by_key(|(i, _)| *i);
            Ok(values.into_iter().map(|(_, value)| value).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn keeps_the_order_and_stops_at_a_failure() {
        assert_eq!(map(0, Ok).unwrap(), [0usize; 0]);
        let squares: Vec<usize> = (0..1000).map(|i| i * i).collect();
        assert_eq!(map(1000, |i| Ok(i * i)).unwrap(), squares);
        let begun = AtomicUsize::new(0);
        let outcome = map(100_000, |i| {
            begun.fetch_add(1, Ordering::Relaxed);
            match i {
                10 => Err(Error::Interrupted),
                _ => Ok(()),
            }
        });
        assert!(matches!(outcome, Err(Error::Interrupted)));
        assert!(begun.into_inner() < 100_000);
    }
}
