//! What this was measured on.

use std::fs::read_to_string;

/// Processor, cores, memory, system and disk in one line.
pub fn description(data: &std::path::Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = field(&read_to_string("/proc/cpuinfo").unwrap_or_default(), "model name");
    let memory = field(&read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal");
    let gib = memory.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / (1024 * 1024);
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "machine: {model}, {cores} cores, {gib} GiB, Linux {}, data on {} ({})",
        kernel.trim(),
        filesystem(data),
        std::env::consts::ARCH,
    )
}

/// The largest resident set that a process has had, in MiB.
pub fn peak_memory_mib(pid: u32) -> Option<u64> {
    let status = read_to_string(format!("/proc/{pid}/status")).ok()?;
    field(&status, "VmHWM").split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib.div_ceil(1024))
}

fn field(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':'))
        .map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
}

/// Device and type of the file system that holds `path`.
fn filesystem(path: &std::path::Path) -> String {
    let mounts = read_to_string("/proc/mounts").unwrap_or_default();
    let holding = mounts
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [device, place, kind, ..] = fields[..] else { return None };
            path.starts_with(place).then_some((place.len(), format!("{device} {kind}")))
        })
        .max_by_key(|(length, _)| *length);
    holding.map_or_else(|| "unknown".to_owned(), |(_, text)| text)
}
