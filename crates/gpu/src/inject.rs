//! Faults on demand, for tests: `HENSHIN_INJECT=lost@500,oom@20,hung@3` destroys the device when the process
//! records its 500th dispatch, refuses its 20th buffer, and gives up its third wait for the device. Each
//! happens once in a process, so that what is tried again succeeds.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};

/// What can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Lost,
    OutOfMemory,
    Hung,
}

/// How often each is still to be asked for before it happens.
struct Counters([AtomicI64; 3]);

impl Counters {
    fn parse(text: &str) -> Self {
        let counter = |name: &str| {
            let faults = text.split(',').filter_map(|fault| fault.split_once('@'));
            let named = faults.filter(|(fault, _)| *fault == name);
            let mut counts = named.filter_map(|(_, count)| count.trim().parse().ok());
            AtomicI64::new(counts.next().unwrap_or(0))
        };
        Counters(["lost", "oom", "hung"].map(counter))
    }

    fn is_due(&self, fault: Fault) -> bool {
        let counter = &self.0[fault as usize];
        // At zero nothing is planned; below, it has happened.
        counter.load(Ordering::Relaxed) > 0 && counter.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

/// Whether a fault is to happen now.
pub(crate) fn is_due(fault: Fault) -> bool {
    static PLANNED: LazyLock<Counters> =
        LazyLock::new(|| Counters::parse(&std::env::var("HENSHIN_INJECT").unwrap_or_default()));
    PLANNED.is_due(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_happens_once_when_its_time_has_come() {
        let planned = Counters::parse("oom@2,lost@3,nonsense,hung@x");
        let times = |fault| (1..10).filter(|_| planned.is_due(fault)).count();
        assert!(!planned.is_due(Fault::OutOfMemory) && planned.is_due(Fault::OutOfMemory));
        assert_eq!(times(Fault::OutOfMemory), 0);
        assert_eq!(times(Fault::Lost), 1);
        assert_eq!(times(Fault::Hung), 0);
    }
}
