//! The machine that was measured. Nothing here names it or its user.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde::Serialize;

use crate::Fallible;
use crate::numbers::median;

/// Syncs of which the median is taken.
const SYNCS: usize = 100;

/// What the numbers depend on.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    pub(crate) file_system: String,
    /// How long it takes to append 4 KiB to a file and sync it; the median.
    pub(crate) sync_micros: f64,
}

impl Machine {
    /// Looks around. Refuses a directory that isn't on a disk, where durability costs nothing.
    pub(crate) fn look(dir: &Path) -> Fallible<Self> {
        let file_system = Self::refuse_memory(dir)?;
        Ok(Self {
            cpu: line_of("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: memory_gib().unwrap_or(0.0),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned()),
            file_system,
            sync_micros: sync_micros(dir).map_err(|error| format!("can't sync a file: {error}"))?,
        })
    }

    /// The file system of a directory, which has to be on a disk.
    pub(crate) fn refuse_memory(dir: &Path) -> Fallible<String> {
        let file_system = file_system(dir).unwrap_or_else(|| "unknown".to_owned());
        if matches!(file_system.as_str(), "tmpfs" | "ramfs") {
            return Err(format!(
                "{} lies in memory ({file_system}); what is measured has to be on a disk",
                dir.display()
            ));
        }
        Ok(file_system)
    }

    /// In one line.
    pub(crate) fn words(&self) -> String {
        let Self { cpu, cores, memory_gib, kernel, file_system, sync_micros } = self;
        format!(
            "{cpu}, {cores} cores, {memory_gib:.0} GiB, Linux {kernel}, {file_system}, a sync takes {sync_micros:.0} µs"
        )
    }
}

/// The value after a key and a colon.
fn line_of(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_gib() -> Option<f64> {
    let total = line_of("/proc/meminfo", "MemTotal")?;
    let kib: f64 = total.split_whitespace().next()?.parse().ok()?;
    Some(kib / (1024.0 * 1024.0))
}

/// The kind of the file system that a directory lies on.
fn file_system(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mut found: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let Some(point) = fields.nth(4) else { continue };
        let Some(kind) = fields.skip_while(|field| *field != "-").nth(1) else { continue };
        // A later mount at the same place hides the earlier one.
        if dir.starts_with(point) && found.is_none_or(|(length, _)| point.len() >= length) {
            found = Some((point.len(), kind));
        }
    }
    found.map(|(_, kind)| kind.to_owned())
}

fn sync_micros(dir: &Path) -> std::io::Result<f64> {
    let path = dir.join("sync");
    let mut file = File::create(&path)?;
    let page = [7_u8; 4096];
    let mut micros = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let started = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        micros.push(started.elapsed().as_secs_f64() * 1e6);
    }
    drop(file);
    fs::remove_file(path)?;
    Ok(median(&micros))
}

/// The commit that the working tree is at, with a plus if it has changes.
pub(crate) fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "HEAD"]) else { return "unknown".to_owned() };
    let clean =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|s| s.is_empty());
    if clean { commit } else { format!("{commit}+") }
}
