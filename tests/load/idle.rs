//! What a connection costs that nobody uses.

use std::time::Duration;

use tests::Folder;
use tokio::task::JoinSet;

use crate::connection::Connection;
use crate::process::Snapshot;
use crate::profile::{Profile, Target};
use crate::report::{Row, Verdict};
use crate::{Fallible, say};

const CONNECTIONS: usize = 10_000;
/// Opened at once, so that the queue of the listening socket holds them.
const AT_ONCE: usize = 200;
/// KiB of the gateway's memory for each.
const GOAL: f64 = 20.0;

/// Opens connections, asks once over each, leaves them open and looks at the gateway's memory.
pub(crate) fn row(runtime: &tokio::runtime::Runtime) -> Fallible<Row> {
    const NAME: (&str, &str, &str) = ("idle", "KiB each, 10,000 open", "<= 20");
    let folder = Folder::init();
    let limits = format!("[server]\nmax_connections = {}\nkeep_alive_ms = 3600000\n", CONNECTIONS + 100);
    folder.configure("[server]\n", &limits);
    let site = folder.serve();
    let target = Target::of_sandbox(&site.data().join("sandbox.json"))?;
    let request = runtime.block_on(Profile::Livez.request(&target))?;
    let resident = || Snapshot::take(site.pid()).map(|snapshot| snapshot.root.resident);
    let open = async |count: usize| -> Fallible<Vec<Connection>> {
        let mut connections = Vec::with_capacity(count);
        while connections.len() < count {
            let mut opening = JoinSet::new();
            for _ in 0..AT_ONCE.min(count - connections.len()) {
                let (address, request) = (target.address, request.clone());
                opening.spawn(async move {
                    let mut connection = Connection::open(address).await?;
                    let status = connection.exchange(request.octets()).await?.status;
                    if status == 200 {
                        Ok(connection)
                    } else {
                        Err(std::io::Error::other("not answered 200"))
                    }
                });
            }
            while let Some(opened) = opening.join_next().await {
                connections.push(opened??);
            }
        }
        Ok(connections)
    };
    // What the gateway needs for serving at all is not what a connection costs.
    drop(runtime.block_on(open(AT_ONCE))?);
    std::thread::sleep(Duration::from_millis(500));
    let before = resident()?;
    let opened = match runtime.block_on(open(CONNECTIONS)) {
        Ok(opened) => opened,
        Err(error) => {
            let why = format!("{CONNECTIONS} connections could not be opened (ulimit -n?): {error}");
            return Ok(Row::absent(NAME.0, NAME.1, NAME.2, &why));
        }
    };
    let after = resident()?;
    let each = after.saturating_sub(before) as f64 / opened.len() as f64;
    say(&format!("{:<24}{before} KiB, with {} connections {after} KiB", NAME.0, opened.len()));
    Ok(Row {
        name: NAME.0,
        unit: NAME.1,
        value: Some(each),
        reference: Some(GOAL),
        ratio: Some(each / GOAL),
        goal: NAME.2,
        verdict: Verdict::Met(each <= GOAL),
    })
}
