//! What the durable audit log costs: the same requests against two sandboxes, of which one throws its entries away.

use tests::{Folder, Postgres};

use crate::Fallible;
use crate::bench::{Bench, Run};
use crate::profile::{Profile, Target};
use crate::report::{Row, Verdict, median};

impl Bench {
    /// Signatures a second with 64 connections, with the log and without, in turn; on both databases.
    pub(crate) fn audit(&mut self) -> Fallible<()> {
        self.cost_of_audit("audit", Folder::init)?;
        let server = Postgres::start();
        self.cost_of_audit("audit-postgres", || Folder::init_on(&server))
    }

    fn cost_of_audit(&mut self, name: &'static str, folder: impl Fn() -> Folder) -> Fallible<()> {
        let durable = folder().serve();
        let without = folder();
        without.configure("[fleet]\n", "[audit]\ndiscard = true\n\n[fleet]\n");
        let without = without.serve();
        let mut targets = Vec::new();
        for site in [&durable, &without] {
            let target = Target::of_sandbox(&site.data().join("sandbox.json"))?;
            targets.push(Target { pid: Some(site.pid()), ..target });
        }
        let [with, none] = &targets[..] else { return Err("two sites were started".into()) };
        let (mut rates, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            let recorded = self.run(&Run::closed("sign-p256 durable audit", with, Profile::SignP256, 64))?;
            let discarded = self.run(&Run::closed("sign-p256 no audit", none, Profile::SignP256, 64))?;
            rates.push(recorded.per_second());
            bare.push(discarded.per_second());
            ratios.push(recorded.per_second() / discarded.per_second());
        }
        let ratio = median(ratios);
        self.row(Row {
            name,
            unit: "/s, against none",
            value: median(rates),
            reference: median(bare),
            ratio,
            goal: ">= 0.85 x",
            verdict: Verdict::Met(ratio.is_some_and(|ratio| ratio >= 0.85)),
        });
        Ok(())
    }
}
