//! What the system says of a process: its memory and its open files.

use std::error::Error;
use std::fs;

use super::proc_file;

/// What a process has at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) rss_kib: u64,
    pub(super) files: usize,
}

pub(super) fn look(pid: u32) -> Result<Seen, Box<dyn Error>> {
    let status = proc_file(&format!("/proc/{pid}/status"))?;
    let rss_kib = number_after(&status, "VmRSS:").ok_or("the gateway has no VmRSS: it ended")?;
    let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    Ok(Seen { rss_kib, files })
}

/// How many files this program may open.
pub(super) fn own_file_limit() -> Result<u64, Box<dyn Error>> {
    let limits = proc_file("/proc/self/limits")?;
    // `unlimited` is no number, and enough.
    Ok(number_after(&limits, "Max open files").unwrap_or(u64::MAX))
}

fn number_after(text: &str, marker: &str) -> Option<u64> {
    text.split(marker).nth(1)?.split_whitespace().next()?.parse().ok()
}

pub(super) fn mib(kib: u64) -> String {
    format!("{:.1}", kib as f64 / 1024.0)
}

/// By how much the memory grew from the first quarter to the last one, in per cent of the first.
pub(super) fn drift_percent(seen: &[Seen]) -> f64 {
    let quarter = seen.len().div_ceil(4);
    let mean =
        |seen: &[Seen]| seen.iter().map(|one| one.rss_kib as f64).sum::<f64>() / seen.len() as f64;
    let first = mean(seen.get(..quarter).unwrap_or_default());
    let last = mean(seen.get(seen.len() - quarter..).unwrap_or_default());
    (last - first) / first * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_from_the_first_quarter_to_the_last() {
        let seen = [100, 100, 500, 1, 1, 500, 110, 110];
        let seen = seen.map(|rss_kib| Seen { rss_kib, files: 0 });
        assert!((drift_percent(&seen) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_seen_is_no_drift_that_could_be_kept_to() {
        assert!(drift_percent(&[]).is_nan());
    }

    #[test]
    fn numbers_follow_their_names() {
        let status = "VmHWM:\t  9 kB\nVmRSS:\t    1234 kB\n";
        assert_eq!(number_after(status, "VmRSS:"), Some(1234));
        assert_eq!(number_after(status, "VmSwap:"), None);
    }
}
