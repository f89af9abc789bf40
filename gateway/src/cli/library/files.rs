//! `library files`: license files from a folder into the library. Each is judged first. What came in once is known by its
//! digest, so an import that was broken off is made again, and does what is left.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use store::{Contents, FileOutcome, LicenseFile, LicenseFiles, Store};
use time::OffsetDateTime;
use verify_front::{CarefulRegister, DecisionTable, LibraryRegister, LicenseFront};

use super::folder::{self, Entry, Folder, Said};
use super::rows::{RowFault, Terms};
use super::{CliError, Site, bar, failed, print, unreadable};
use crate::trust;
use crate::trust::files::TrustFiles;

/// Octets of a license file.
const LARGEST: u64 = 32 << 20;
/// Files that are judged at a time, at most.
const MOST_TOGETHER: usize = 8;

/// A folder whose files are to be taken in.
#[derive(Args)]
pub(super) struct Order {
    /// The folder: files named CODE.ofd and CODE.pdf, in it and in its folders.
    folder: PathBuf,
    /// JSON Lines {"uscc", "kind", "path"} that say which files to take, by paths in the folder.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Take also files on which nothing could be decided: whose seal nobody here trusts, or that carry no data to compare.
    #[arg(long)]
    undecided: bool,
    /// Where to tell what is wrong with files [default: the folder's name with .problems.jsonl].
    #[arg(long, value_name = "FILE")]
    problems: Option<PathBuf>,
    #[command(flatten)]
    pub(super) site: Site,
}

/// What became of files.
#[derive(Default)]
struct Totals {
    files: u64,
    added: u64,
    known: u64,
    restored: u64,
    refused: u64,
    octets: u64,
}

/// What takes files in.
struct Desk {
    store: Store,
    contents: LicenseFiles,
    front: LicenseFront,
    undecided: bool,
    now: OffsetDateTime,
}

/// A file that may come in.
enum Taken {
    New(LicenseFile),
    Known { restored: bool },
}

impl Order {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let (config, store) = self.site.open().await?;
        let now = OffsetDateTime::now_utc();
        let terms = Terms { sandbox: config.site.sandbox, now };
        let files = TrustFiles::read(&config.trust).map_err(|unusable| {
            CliError::NotDone(unusable.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })?;
        let (licenses, documents) = trust::of_files(config.trust.clone(), files);
        let register = CarefulRegister::at_hand(Box::new(LibraryRegister::new(store.clone())));
        let decisions = DecisionTable::built_in().map_err(|error| CliError::NotDone(error.to_string()))?;
        let (register, decisions) = (Arc::new(register), Arc::new(decisions));
        let sandbox = config.site.sandbox;
        let desk = Desk {
            contents: LicenseFiles::folder(&config.library.folder).map_err(failed)?,
            front: LicenseFront::new(store.clone(), licenses, documents, register, decisions, sandbox),
            undecided: self.undecided,
            store: store.clone(),
            now,
        };
        let problems = self.problems.clone().unwrap_or_else(|| {
            let mut name = self.folder.components().as_path().as_os_str().to_owned();
            name.push(".problems.jsonl");
            name.into()
        });
        let began = Instant::now();
        let done = self.import(Arc::new(desk), terms, &problems).await;
        store.close().await;
        let totals = done?;
        let Totals { files, added, known, restored, refused, octets } = totals;
        let answer = json!({
            "files": files, "added": added, "known": known, "restored": restored, "refused": refused,
            "octets": octets, "seconds": began.elapsed().as_secs_f64(), "problems": problems,
        });
        print(self.site.json, &answer, |out| {
            writeln!(
                out,
                "{files} files: {added} added, {known} known, {restored} restored, {octets} octets read"
            )
        });
        match refused {
            0 => Ok(()),
            _ => Err(CliError::NotDone(format!(
                "{refused} files were kept out; {} says why",
                problems.display()
            ))),
        }
    }

    async fn import(&self, desk: Arc<Desk>, terms: Terms, problems: &Path) -> Result<Totals, CliError> {
        let told = self.manifest.as_deref().unwrap_or(&self.folder);
        let mut source = Folder::open(&self.folder, self.manifest.as_deref()).map_err(unreadable(told))?;
        let report = File::create(problems).map_err(unreadable(problems))?;
        let mut report = BufWriter::new(report);
        let together = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_TOGETHER);
        let bar = bar(0, "{pos} files  {per_sec}  {msg}");
        let mut totals = Totals::default();
        loop {
            let mut working = Vec::new();
            while working.len() < together {
                let Some(Entry { name, said }) = source.next(terms).map_err(unreadable(told))? else { break };
                let desk = Arc::clone(&desk);
                let source = name.clone();
                working.push((name, tokio::spawn(async move { desk.take(said?, source).await })));
            }
            if working.is_empty() {
                break;
            }
            let mut new = Vec::new();
            for (name, work) in working {
                totals.files += 1;
                let taken = work.await.map_err(|error| CliError::NotDone(error.to_string()))?;
                match taken {
                    Ok((Taken::New(file), octets)) => {
                        totals.octets += octets;
                        new.push(file);
                    }
                    Ok((Taken::Known { restored }, octets)) => {
                        totals.octets += octets;
                        totals.known += 1;
                        totals.restored += u64::from(restored);
                    }
                    Err(Refusal::Failed(error)) => return Err(failed(error)),
                    Err(Refusal::Fault(fault)) => {
                        totals.refused += 1;
                        let told = json!({"file": name, "code": fault.code, "detail": fault.detail});
                        writeln!(report, "{told}")
                            .and_then(|()| report.flush())
                            .map_err(unreadable(problems))?;
                    }
                }
            }
            for outcome in desk.store.add_license_files(&new).await.map_err(failed)? {
                let counter = match outcome {
                    FileOutcome::Added => &mut totals.added,
                    FileOutcome::Known => &mut totals.known,
                };
                *counter += 1;
            }
            bar.set_position(totals.files);
            bar.set_message(format!("{} kept out", totals.refused));
        }
        bar.finish_and_clear();
        Ok(totals)
    }
}

/// Why a file does not come in.
enum Refusal {
    Fault(RowFault),
    /// Nothing can come in.
    Failed(store::StoreError),
}

impl From<RowFault> for Refusal {
    fn from(fault: RowFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<store::StoreError> for Refusal {
    fn from(error: store::StoreError) -> Self {
        Self::Failed(error)
    }
}

impl Desk {
    /// Judges a file and writes its contents; how many octets it has.
    async fn take(self: Arc<Self>, said: Said, source: String) -> Result<(Taken, u64), Refusal> {
        let Said { path, uscc, form } = said;
        let reading = tokio::task::spawn_blocking(move || {
            let octets = read(&path)?;
            let contents = Contents::of(&octets);
            Ok::<_, RowFault>((octets, contents))
        });
        let (octets, contents) = reading.await.map_err(|_| store::StoreError::Interrupted)??;
        let count = contents.octets;
        if let Some(known) = self.store.license_file_of(&contents.digest).await? {
            if (known.uscc, known.form) != (uscc, form) {
                let detail = format!("it is in the library as {} of {}", known.form.name(), known.uscc);
                return Err(RowFault::new("uscc", "other_entity", detail).into());
            }
            // What was lost on the disk comes back.
            let restored = !self.contents.has(&contents).await?;
            if restored {
                self.contents.put(&contents, octets).await?;
            }
            return Ok((Taken::Known { restored }, count));
        }
        if self.store.entity(&uscc).await?.is_none() {
            return Err(RowFault::new("uscc", "license_unknown", "the library holds no such entity").into());
        }
        let desk = Arc::clone(&self);
        let judging = tokio::task::spawn_blocking(move || {
            let admitted = desk.front.admit_file(&octets, form, &uscc, desk.now, desk.undecided);
            admitted.map(|()| octets).map_err(|fault| RowFault::new("", fault.code, fault.detail))
        });
        let octets = judging.await.map_err(|_| store::StoreError::Interrupted)??;
        self.contents.put(&contents, octets).await?;
        let file = LicenseFile { uscc, form, contents, source, added_at: self.now, removed_at: None };
        Ok((Taken::New(file), count))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, RowFault> {
    let mut octets = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut octets));
    read.map_err(|error| folder::unreadable(&error))?;
    if octets.len() as u64 > LARGEST {
        return Err(RowFault::new("", "file_too_large", format!("has more than {LARGEST} octets")));
    }
    Ok(octets)
}

/// Takes a file out of what is delivered.
pub(super) async fn remove(digest: &str, site: &Site) -> Result<(), CliError> {
    let mut octets = [0; 32];
    hex::decode_to_slice(digest, &mut octets)
        .map_err(|_| CliError::NotDone("a digest has 64 hexadecimal digits".to_owned()))?;
    let (_, store) = site.open().await?;
    let removed = store.remove_license_file(&octets, OffsetDateTime::now_utc()).await;
    store.close().await;
    if !removed.map_err(failed)? {
        return Err(CliError::NotDone("no such file is delivered".to_owned()));
    }
    print(site.json, &json!({"removed": digest}), |out| writeln!(out, "{digest} is not delivered any more"));
    Ok(())
}
