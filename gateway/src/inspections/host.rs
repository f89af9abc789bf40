//! Checks of the machine and of the places where things are kept.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::Config;
use formats::inspection_report::Grade;
use procfs::{Current, CurrentSI, KernelStats, LoadAverage, Meminfo};

use super::Finding;
use crate::state::Gateway;

/// Over how long the CPU's use is taken.
const CPU_SAMPLE: Duration = Duration::from_secs(5);

/// Inspects CPU, memory and system disk.
pub(super) async fn inspect() -> Vec<Finding> {
    let mut findings = vec![cpu().await];
    let of_files = tokio::task::spawn_blocking(|| [memory(), disk("host.disk", "", Path::new("/"))]).await;
    findings.extend(of_files.into_iter().flatten());
    findings
}

/// Time spent and time in all, in ticks.
fn ticks() -> Result<(u64, u64), procfs::ProcError> {
    let total = KernelStats::current()?.total;
    let idle = total.idle + total.iowait.unwrap_or_default();
    let busy = total.user
        + total.nice
        + total.system
        + total.irq.unwrap_or_default()
        + total.softirq.unwrap_or_default()
        + total.steal.unwrap_or_default();
    Ok((busy, busy + idle))
}

async fn cpu() -> Finding {
    const CODE: &str = "host.cpu";
    let before = ticks();
    tokio::time::sleep(CPU_SAMPLE).await;
    match (before, ticks()) {
        (Ok((busy, all)), Ok((busy_now, all_now))) if all_now > all => {
            let share = 100.0 * busy_now.saturating_sub(busy) as f64 / (all_now - all) as f64;
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let load = LoadAverage::current().map_or_else(
                |_| String::new(),
                |load| format!("load {} {} {}, ", load.one, load.five, load.fifteen),
            );
            Finding::figure(CODE, "", share, format!("{load}{cores} cores"))
        }
        (Err(error), _) | (_, Err(error)) => Finding::unknown(CODE, "", error.to_string()),
        _ => Finding::unknown(CODE, "", "the kernel counts no time".to_owned()),
    }
}

fn memory() -> Finding {
    const CODE: &str = "host.memory";
    let memory = match Meminfo::current() {
        Ok(memory) => memory,
        Err(error) => return Finding::unknown(CODE, "", error.to_string()),
    };
    let Some(available) = memory.mem_available else {
        return Finding::unknown(CODE, "", "this kernel does not say what is available".to_owned());
    };
    let used = memory.mem_total.saturating_sub(available);
    let share = 100.0 * used as f64 / memory.mem_total.max(1) as f64;
    let swap = memory.swap_total.saturating_sub(memory.swap_free);
    let evidence = format!("{} of {} MiB, swap {} MiB", used >> 20, memory.mem_total >> 20, swap >> 20);
    Finding::figure(CODE, "", share, evidence)
}

/// How full a file system is, as whoever is not root sees it.
fn disk(code: &'static str, subject: &str, path: &Path) -> Finding {
    match rustix::fs::statvfs(path) {
        Ok(space) if space.f_blocks > 0 => {
            let used = space.f_blocks - space.f_bfree.min(space.f_blocks);
            let share = 100.0 * used as f64 / (used + space.f_bavail).max(1) as f64;
            let free = space.f_bavail.saturating_mul(space.f_frsize) >> 20;
            Finding::figure(code, subject, share, format!("{free} MiB free"))
        }
        Ok(_) => Finding::unknown(code, subject, "a file system without blocks".to_owned()),
        Err(error) => Finding::unknown(code, subject, error.to_string()),
    }
}

/// What is kept where, each folder once.
fn folders(config: &Config) -> Vec<(&'static str, PathBuf)> {
    let holder = |file: &Path| file.parent().map(Path::to_path_buf);
    let trust = &config.trust;
    let fetches = !trust.crl_sources.is_empty() || !trust.ocsp_sources.is_empty();
    let mut folders: Vec<(&'static str, PathBuf)> = Vec::new();
    for (name, folder) in [
        ("site", Some(config.folder.clone())),
        ("database", config.database.url.strip_prefix("sqlite://").map(Path::new).and_then(holder)),
        ("stamp_jobs", Some(config.stamp_jobs.folder.clone())),
        ("stamp_evidence", Some(config.stamp_evidence.folder.clone())),
        ("library", Some(config.library.folder.clone())),
        ("revocation", fetches.then(|| trust.fetch.folder.clone())),
        ("audit_archive", config.audit.archive.clone()),
        ("audit_anchor", config.audit.anchor_file.as_deref().and_then(holder)),
    ] {
        let folder = folder.filter(|folder| folders.iter().all(|(_, known)| known != folder));
        folders.extend(folder.map(|folder| (name, folder)));
    }
    folders
}

/// Inspects the folders that things are kept in.
pub(super) async fn storage(gateway: &Gateway) -> Vec<Finding> {
    let config = &gateway.config;
    let folders = folders(config);
    let look = move || {
        let checks = folders
            .iter()
            .flat_map(|(name, folder)| [disk("storage.space", name, folder), writable(name, folder)]);
        let mut findings: Vec<_> = checks.collect();
        findings.sort_by(|one, other| one.code.cmp(&other.code));
        findings
    };
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}

/// Writes a file, reads it back and takes it away.
fn writable(name: &str, folder: &Path) -> Finding {
    const CODE: &str = "storage.writable";
    let text = format!("{:032x}", fastrand::u128(..));
    let path = folder.join(format!(".inspection-{text}"));
    let exchange = || -> std::io::Result<bool> {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        let mut back = String::new();
        std::fs::File::open(&path)?.read_to_string(&mut back)?;
        Ok(back == text)
    };
    let outcome = exchange();
    let removed = std::fs::remove_file(&path);
    match (outcome, removed) {
        (Ok(true), Ok(())) => Finding::new(CODE, name, Grade::Ok, "written and read", String::new()),
        (Ok(false), _) => {
            Finding::new(CODE, name, Grade::Abnormal, "read back something else", String::new())
        }
        (Err(error), _) | (_, Err(error)) => {
            Finding::new(CODE, name, Grade::Abnormal, "not written and read", error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_machine_is_measured() {
        let findings = inspect().await;
        let codes: Vec<_> = findings.iter().map(|finding| finding.code.as_str()).collect();
        assert_eq!(codes, ["host.cpu", "host.memory", "host.disk"]);
        for finding in findings {
            assert_ne!(finding.grade, Grade::Unmeasured, "{finding:?}");
            assert!((0.0..=100.0).contains(&finding.figure.unwrap()), "{finding:?}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_or_takes_nothing_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(writable("here", folder.path()).grade, Grade::Ok);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
        let gone = folder.path().join("gone");
        assert_eq!(writable("gone", &gone).grade, Grade::Abnormal);
        assert_eq!(disk("storage.space", "gone", &gone).grade, Grade::Unmeasured);
    }
}
