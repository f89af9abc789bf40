//! How much of slow devices the gateway uses: nine devices whose time is their own, driven through it and directly.

use std::time::Duration;

use serde_json::json;
use tests::{Folder, Site};

use crate::bench::{BUREAU, Bench, PORTAL, Run, simulated};
use crate::generator::Measured;
use crate::profile::{Profile, Target};
use crate::reference::Reference;
use crate::report::{Row, Verdict, median};
use crate::{Fallible, say};

/// Sessions of each device.
const SESSIONS: [usize; 4] = [1, 2, 4, 8];
/// What an operation takes a device, milliseconds, and the row that tells of it.
const LATENCIES: [(f64, &str); 2] = [(5.0, "fleet_use"), (20.0, "fleet_use_20ms")];
/// From this share of all processor time on the processors may be what bounds a run.
const BUSY: f64 = 0.9;
/// Requests under way for each session.
const UNDER_WAY: usize = 3;
/// More would take longer than a benchmark may.
const MOST_ROUNDS: u32 = 2;

/// One number of sessions at one latency.
struct Cell {
    row: &'static str,
    sessions: usize,
    reached: f64,
    direct: f64,
    ratio: f64,
    busy: f64,
}

/// A site whose devices have so many sessions each.
pub(crate) fn site_with_sessions(sessions: usize) -> Fallible<(Site, Target)> {
    let folder = Folder::init();
    folder.configure("\nlanes = 4\n", &format!("\nlanes = {sessions}\n"));
    let site = folder.serve();
    let target = Target::of_sandbox(&site.data().join("sandbox.json"))?;
    let target = Target { pid: Some(site.pid()), ..target };
    Ok((site, target))
}

pub(crate) fn device_names() -> Vec<String> {
    (1..=BUREAU + PORTAL).map(|number| format!("d{number}")).collect()
}

/// What both groups did in a run.
pub(crate) struct Both {
    pub(crate) bureau: Measured,
    pub(crate) portal: Measured,
}

impl Both {
    pub(crate) fn per_second(&self) -> f64 {
        self.bureau.per_second() + self.portal.per_second()
    }
}

impl Bench {
    /// Loads both groups at once, with so many requests under way for each session.
    pub(crate) fn both_groups(
        &mut self,
        name: &str,
        target: &Target,
        sessions: usize,
        duration: Duration,
        act: Option<crate::generator::Act>,
    ) -> Fallible<Both> {
        let under_way = |devices| UNDER_WAY * sessions * devices;
        let (of_bureau, of_portal) = (format!("{name}, bureau"), format!("{name}, portal"));
        let bureau = Run::closed(&of_bureau, target, Profile::SignSm2, under_way(BUREAU));
        let portal = Run::closed(&of_portal, target, Profile::SignPortal, under_way(PORTAL));
        let both = async { tokio::try_join!(bureau.measure(duration, act), portal.measure(duration, None)) };
        let (first, second) = tokio::task::LocalSet::new().block_on(&self.runtime, both)?;
        self.note_run(&bureau, &first);
        self.note_run(&portal, &second);
        Ok(Both { bureau: first, portal: second })
    }

    /// The table over sessions and latencies; each latency's row is the busiest cell that processors did not bound.
    pub(crate) fn fleet_use(&mut self) -> Fallible<()> {
        let mut cells = Vec::new();
        for sessions in SESSIONS {
            let (site, target) = site_with_sessions(sessions)?;
            for (latency, row) in LATENCIES {
                cells.push(self.fleet_cell(&site, &target, sessions, latency, row)?);
            }
        }
        say(&format!(
            "\n{:<16} {:>9} {:>10} {:>10} {:>7} {:>6}",
            "", "sessions", "gateway/s", "direct/s", "ratio", "busy"
        ));
        for cell in &cells {
            say(&format!(
                "{:<16} {:>9} {:>10.0} {:>10.0} {:>7.3} {:>6.2}",
                cell.row, cell.sessions, cell.reached, cell.direct, cell.ratio, cell.busy
            ));
        }
        say("");
        let table = cells.iter().map(|cell| {
            json!({"row": cell.row, "sessions": cell.sessions, "reached": cell.reached, "direct": cell.direct,
                "ratio": cell.ratio, "busy": cell.busy})
        });
        self.note("fleet_use_table", json!(table.collect::<Vec<_>>()));
        for (_, row) in LATENCIES {
            let free = cells.iter().filter(|cell| cell.row == row && cell.busy < BUSY);
            let best = free.max_by_key(|cell| cell.sessions);
            self.row(Row {
                name: row,
                unit: "/s, against direct",
                value: best.map(|cell| cell.reached),
                reference: best.map(|cell| cell.direct),
                ratio: best.map(|cell| cell.ratio),
                goal: ">= 0.97 of direct",
                verdict: match best {
                    Some(cell) => Verdict::Met(cell.ratio >= 0.97),
                    None => Verdict::Unknown("processors were the bound, not the devices".to_owned()),
                },
            });
        }
        Ok(())
    }

    fn fleet_cell(
        &mut self,
        site: &Site,
        target: &Target,
        sessions: usize,
        latency: f64,
        row: &'static str,
    ) -> Fallible<Cell> {
        let devices = device_names();
        for device in &devices {
            site.fault(device, &format!("latency_ms = {latency}\n"));
        }
        let (mut reached, mut busy) = (Vec::new(), 0.0_f64);
        for _ in 0..self.rounds.min(MOST_ROUNDS) {
            let name = format!("{latency} ms, {sessions}");
            let both = self.both_groups(&name, target, sessions, self.duration, None)?;
            if let Some(cost) = both.bureau.cost() {
                busy = busy.max(cost.machine_busy(both.bureau.seconds));
            }
            reached.push((both.per_second(), self.direct_fleet(site, sessions)?));
        }
        for device in &devices {
            site.mend(device);
        }
        let of = |value: fn(&(f64, f64)) -> f64| median(reached.iter().map(value)).unwrap_or_default();
        Ok(Cell {
            row,
            sessions,
            reached: of(|(reached, _)| *reached),
            direct: of(|(_, direct)| *direct),
            ratio: of(|(reached, direct)| reached / direct),
            busy,
        })
    }

    /// All nine devices driven directly at once, each by a process with as many sessions as the gateway uses.
    fn direct_fleet(&mut self, site: &Site, sessions: usize) -> Fallible<f64> {
        let children = (1..=BUREAU + PORTAL).map(|device| {
            let (mut order, environment) = simulated(&site.data(), device, self.duration.as_secs_f64());
            order.lanes = sessions;
            Reference::start(&order.arguments(), &[environment])
        });
        Ok(self.together("the same, directly", children.collect::<Fallible<_>>()?)?.per_second)
    }
}
