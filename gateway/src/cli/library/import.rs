//! `library import`: row after row from a file into the library, a part at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use sm3::{Digest, Sm3};
use store::{EntityRecord, Import, Outcome, Place, Store};
use time::OffsetDateTime;

use super::rows::{self, RowFault, Terms};
use super::source::Source;
use super::{CliError, Site, bar, described, failed, print, unreadable};

/// Rows that go into the library together.
const PART: usize = 2000;
/// Octets of a file after which they go in any case.
const PART_OCTETS: u64 = 4 << 20;
/// Entities that make a difference to how the database should look for one.
const MANY: i64 = 10_000;

/// A file that is to be taken in.
#[derive(Args)]
pub(super) struct Order {
    /// The file: `.csv`, else JSON Lines.
    file: PathBuf,
    /// Go on where an import of this file was broken off.
    #[arg(long)]
    resume: bool,
    /// Where to tell what is wrong with rows [default: the file's name with .problems.jsonl].
    #[arg(long, value_name = "FILE")]
    problems: Option<PathBuf>,
    #[command(flatten)]
    pub(super) site: Site,
}

impl Order {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let (config, store) = self.site.open().await?;
        let terms = Terms { sandbox: config.site.sandbox, now: OffsetDateTime::now_utc() };
        let done = self.import(&store, terms).await;
        store.close().await;
        let (import, problems) = done?;
        let mut answer = described(&import);
        answer["problems"] = json!(problems);
        print(self.site.json, &answer, |out| {
            let counts = &import.counts;
            writeln!(
                out,
                "{} entities added, {} changed, {} unchanged, {} rows outdated",
                counts.added, counts.changed, counts.unchanged, counts.outdated
            )?;
            writeln!(out, "{} lines, SM3 {}", import.place.line, import.place.digest)
        });
        match import.counts.refused {
            0 => Ok(()),
            refused => Err(CliError::NotDone(format!(
                "{refused} rows were kept out; {} says why",
                problems.display()
            ))),
        }
    }

    async fn import(&self, store: &Store, terms: Terms) -> Result<(Import, PathBuf), CliError> {
        let name = self.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut trail = Trail::new(&self.file).map_err(unreadable(&self.file))?;
        let (mut import, is_new) = match store.unfinished_import(&name).await.map_err(failed)? {
            Some(import) if self.resume => {
                trail.follow(&import.place).map_err(unreadable(&self.file))?;
                (import, false)
            }
            None if self.resume => {
                return Err(CliError::NotDone(format!("no import of {name} was broken off")));
            }
            // Before anything is entered: a file that cannot be read is no import.
            _ => {
                Source::open(&self.file, (0, 0)).map_err(unreadable(&self.file))?;
                let import = store.begin_import(&name, trail.place(0), terms.now).await;
                (import.map_err(failed)?, true)
            }
        };
        let problems = self.problems.clone().unwrap_or_else(|| {
            let mut name = self.file.clone().into_os_string();
            name.push(".problems.jsonl");
            name.into()
        });
        let kept = if is_new { 0 } else { u64::try_from(import.place.line).unwrap_or_default() };
        let mut report = Report::open(&problems, kept).map_err(unreadable(&problems))?;
        let place = (trail.position, u64::try_from(import.place.line).unwrap_or_default());
        let mut source = Source::open(&self.file, place).map_err(unreadable(&self.file))?;
        let size = std::fs::metadata(&self.file).map_err(unreadable(&self.file))?.len();
        let bar = bar(size, "{bar:40} {bytes}/{total_bytes} {eta}  {msg}");
        loop {
            let part = Part::read(&mut source, terms).map_err(unreadable(&self.file))?;
            let Some((end, line)) = part.end else { break };
            report.tell(&part.faults).map_err(unreadable(&problems))?;
            trail.go_on(end).map_err(unreadable(&self.file))?;
            let refused = i64::try_from(part.refused).unwrap_or(i64::MAX);
            let place = trail.place(line);
            let taken = store.import_part(&mut import, &part.entities, refused, place).await;
            let outcomes = taken.map_err(failed)?;
            report.tell(&part.repeated(&outcomes)).map_err(unreadable(&problems))?;
            bar.set_position(end);
            bar.set_message(format!("{} refused", import.counts.refused));
        }
        bar.finish_and_clear();
        if trail.position < size {
            // What follows the last row: empty lines.
            trail.go_on(size).map_err(unreadable(&self.file))?;
            let place = trail.place(u64::try_from(import.place.line).unwrap_or_default());
            store.import_part(&mut import, &[], 0, place).await.map_err(failed)?;
        }
        store.finish_import(&mut import, OffsetDateTime::now_utc()).await.map_err(failed)?;
        if import.counts.added + import.counts.changed >= MANY {
            store.measure_library().await.map_err(failed)?;
        }
        Ok((import, problems))
    }
}

/// Rows that go in together.
#[derive(Default)]
struct Part {
    entities: Vec<EntityRecord>,
    /// On which line each entity stands.
    lines: Vec<u64>,
    faults: Vec<(u64, RowFault)>,
    refused: usize,
    /// Where the last row ends; none when there was no row.
    end: Option<(u64, u64)>,
}

impl Part {
    fn read(source: &mut Source, terms: Terms) -> io::Result<Self> {
        let (mut part, mut began) = (Self::default(), None);
        while part.entities.len() + part.refused < PART {
            let Some(row) = source.next()? else { break };
            let read = match row.fields {
                Ok(fields) => rows::read(&fields, terms),
                Err(fault) => Err(vec![fault]),
            };
            match read {
                Ok(entity) => {
                    part.entities.push(entity);
                    part.lines.push(row.line);
                }
                Err(faults) => {
                    part.refused += 1;
                    part.faults.extend(faults.into_iter().map(|fault| (row.line, fault)));
                }
            }
            part.end = Some(row.end);
            if row.end.0 - *began.get_or_insert(row.end.0) > PART_OCTETS {
                break;
            }
        }
        Ok(part)
    }

    /// The rows whose entity the import had before.
    fn repeated(&self, outcomes: &[Outcome]) -> Vec<(u64, RowFault)> {
        let fault = || RowFault::new("uscc", "repeated", "the file has this entity on an earlier line");
        let repeated = self.lines.iter().zip(outcomes).filter(|(_, outcome)| **outcome == Outcome::Repeated);
        repeated.map(|(line, _)| (*line, fault())).collect()
    }
}

/// How far a file was taken, and the hash of what was.
struct Trail {
    reader: BufReader<File>,
    digest: Sm3,
    position: u64,
}

impl Trail {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { reader: BufReader::new(File::open(path)?), digest: Sm3::new(), position: 0 })
    }

    /// Goes to where an import was broken off.
    fn follow(&mut self, place: &Place) -> io::Result<()> {
        self.go_on(u64::try_from(place.position).unwrap_or_default())?;
        if self.place(0).digest != place.digest {
            let detail = "its beginning is not what was imported: it is another file, or was changed";
            return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
        }
        Ok(())
    }

    fn go_on(&mut self, to: u64) -> io::Result<()> {
        let mut part = self.reader.by_ref().take(to - self.position);
        let mut buffer = [0; 16 * 1024];
        loop {
            let read = part.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            self.digest.update(&buffer[..read]);
            self.position += read as u64;
        }
        if self.position < to {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it is shorter than what was taken of it",
            ));
        }
        Ok(())
    }

    fn place(&self, line: u64) -> Place {
        Place {
            position: i64::try_from(self.position).unwrap_or(i64::MAX),
            line: i64::try_from(line).unwrap_or(i64::MAX),
            digest: hex::encode(self.digest.clone().finalize()),
        }
    }
}

/// The file that says what is wrong with which row: no value of it, as it can be personal.
struct Report {
    file: BufWriter<File>,
}

impl Report {
    /// Opens a report, and keeps of one that there is what it says of the first `kept` lines.
    fn open(path: &Path, kept: u64) -> io::Result<Self> {
        let mut end = 0;
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        if kept > 0 {
            let mut reader = BufReader::new(&file);
            let mut text = String::new();
            while reader.read_line(&mut text)? > 0 {
                let line = serde_json::from_str::<Value>(&text).ok().and_then(|told| told["line"].as_u64());
                if line.is_none_or(|line| line > kept) {
                    break;
                }
                end += text.len() as u64;
                text.clear();
            }
        }
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        Ok(Self { file: BufWriter::new(file) })
    }

    fn tell(&mut self, faults: &[(u64, RowFault)]) -> io::Result<()> {
        for (line, RowFault { field, code, detail }) in faults {
            let told = json!({"line": line, "field": field, "code": code, "detail": detail});
            writeln!(self.file, "{told}")?;
        }
        self.file.flush()
    }
}
