//! Appends audit entries and says so, so that a test can trace it, or kill it, from outside.
//!
//! `audit-append URL TASKS EACH`: TASKS tasks append EACH entries one after the other; every task prints
//! `append TASK-N` before and `answered INDEX TASK-N` after each.

use std::error::Error;
use std::io::Write as _;

use store::{AuditEntry, AuditLog, Store};
use time::OffsetDateTime;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().ok_or("usage: audit-append URL TASKS EACH");
    let store = Store::create(&argument()?).await?;
    let tasks: u32 = argument()?.parse()?;
    let each: u32 = argument()?.parse()?;

    let (log, writer) = AuditLog::start(&store).await?;
    let running: Vec<_> = (0..tasks).map(|task| tokio::spawn(append(log.clone(), task, each))).collect();
    for task in running {
        task.await??;
    }
    writer.finish().await;
    store.close().await;
    Ok(())
}

async fn append(log: AuditLog, task: u32, each: u32) -> Result<(), Box<dyn Error + Send + Sync>> {
    for n in 0..each {
        let request_id = format!("{task}-{n}");
        // One write call per line: a line that was cut in two would be lost on a tracing test.
        std::io::stdout().write_all(format!("append {request_id}\n").as_bytes())?;
        let index = log
            .append(AuditEntry {
                action: "sign".into(),
                actor: "demo".into(),
                at: OffsetDateTime::UNIX_EPOCH,
                device: None,
                input_digest: None,
                key: None,
                outcome: "ok".into(),
                request_id: request_id.clone(),
                result_digest: None,
                subject: None,
            })
            .await?;
        std::io::stdout().write_all(format!("answered {index} {request_id}\n").as_bytes())?;
    }
    Ok(())
}
