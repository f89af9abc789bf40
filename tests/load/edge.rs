//! What the edge itself costs: the gateway's own process for each signature, against a bare server that takes and gives
//! the same octets. Devices work in processes of their own, which are not counted, and their signatures are not checked.

use tests::Folder;

use crate::Fallible;
use crate::bench::{Bench, Run, echo_target};
use crate::generator::Measured;
use crate::profile::{Profile, Target};
use crate::reference::Reference;
use crate::report::{Row, Verdict, median};

const GOAL: f64 = 3.0;
const CONNECTIONS: usize = 64;

impl Bench {
    /// Processor time of the gateway for a signature with all it does at the edge: authentication, limits, body, policy,
    /// record, answer; and the same with nothing recorded.
    pub(crate) fn edge(&mut self) -> Fallible<()> {
        let recorded = self.cost_at_the_edge("edge", "[fleet]\n")?;
        let unrecorded = self.cost_at_the_edge("edge, no audit", "[audit]\ndiscard = true\n\n[fleet]\n")?;
        let of = |(value, reference, ratio): Costs| serde_json::json!([value, reference, ratio]);
        self.note("edge_without_audit", of(unrecorded));
        let (value, reference, ratio) = recorded;
        self.row(Row {
            name: "edge",
            unit: "us CPU, against echo",
            value,
            reference,
            ratio,
            goal: "<= 3 x",
            verdict: Verdict::Met(ratio.is_some_and(|ratio| ratio <= GOAL)),
        });
        Ok(())
    }

    fn cost_at_the_edge(&mut self, name: &str, fleet: &str) -> Fallible<Costs> {
        let folder = Folder::init();
        folder.configure("output_check = \"always\"", "output_check = \"first-use\"");
        folder.configure("[fleet]\n", fleet);
        let site = folder.serve();
        let target = Target::of_sandbox(&site.data().join("sandbox.json"))?;
        let target = Target { pid: Some(site.pid()), ..target };
        let first = self.run(&Run::closed(name, &target, Profile::SignP256, 1))?;
        let arguments = ["echo".to_owned(), "--answer-octets".to_owned(), first.answer_octets.to_string()];
        let echo = Reference::start(&arguments, &[])?;
        let bare = echo_target(&target, &echo)?;
        let (mut costs, mut references, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            let signed = self.run(&Run::closed(name, &target, Profile::SignP256, CONNECTIONS))?;
            let echoed = self.run(&Run::closed("hyper echo", &bare, Profile::SignP256, CONNECTIONS))?;
            let (Some(cost), Some(reference)) = (own_cost(&signed), own_cost(&echoed)) else {
                return Err("the server's processor time was not measured".into());
            };
            costs.push(cost);
            references.push(reference);
            ratios.push(cost / reference);
        }
        Ok((median(costs), median(references), median(ratios)))
    }
}

/// Cost, that of the reference, and the ratio of both.
type Costs = (Option<f64>, Option<f64>, Option<f64>);

/// Microseconds of the server's own process for each operation, its children left out.
fn own_cost(measured: &Measured) -> Option<f64> {
    let operations = measured.operations() as f64;
    (operations > 0.0).then_some(measured.cost()?.root * 1e6 / operations)
}
