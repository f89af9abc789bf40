//! `docs/requirements.md` holds every requirement once and claims nothing it cannot show.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use tests::repository;

const IDS: [(char, RangeInclusive<u32>); 5] =
    [('L', 1..=63), ('M', 1..=73), ('C', 1..=25), ('D', 1..=14), ('Z', 1..=29)];

const AREAS: [&str; 9] =
    ["cloud", "edge", "engine", "exchange", "fleet", "front", "maintenance", "ship", "stamping"];

const STATES: [&str; 5] =
    ["not yet", "partly", "works", "works through adapter and simulator", "recorded for people"];

struct Row {
    requirement: String,
    area: String,
    state: String,
    evidence: String,
}

/// The rows of all tables, in order.
fn rows() -> Vec<(String, Row)> {
    let text = std::fs::read_to_string(repository().join("docs/requirements.md")).unwrap();
    let ids: Vec<char> = IDS.iter().map(|(letter, _)| *letter).collect();
    text.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'))
        .map(|line| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>())
        .filter(|cells| cells[0].starts_with(&ids[..]) && cells[0].len() == 4)
        .map(|cells| {
            let [id, requirement, area, state, evidence] = <[String; 5]>::try_from(cells)
                .unwrap_or_else(|cells| panic!("five columns expected: {cells:?}"));
            (id, Row { requirement, area, state, evidence })
        })
        .collect()
}

/// The words in back quotes that look like paths.
fn paths(evidence: &str) -> impl Iterator<Item = &str> {
    evidence.split('`').skip(1).step_by(2).filter(|word| word.contains('.') || word.contains('/'))
}

#[test]
fn every_requirement_appears_exactly_once() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (id, row) in rows() {
        assert!(!row.requirement.is_empty(), "{id} has no text");
        *seen.entry(id).or_default() += 1;
    }
    for (letter, numbers) in IDS {
        for number in numbers {
            let id = format!("{letter}{number:03}");
            assert_eq!(seen.remove(&id), Some(1), "{id}");
        }
    }
    assert!(seen.is_empty(), "unknown: {seen:?}");
}

#[test]
fn every_row_has_a_known_area_and_state() {
    for (id, row) in rows() {
        assert!(AREAS.contains(&row.area.as_str()), "{id}: area {:?}", row.area);
        assert!(STATES.contains(&row.state.as_str()), "{id}: state {:?}", row.state);
    }
}

#[test]
fn what_is_claimed_names_evidence_that_is_in_the_tree() {
    for (id, row) in rows() {
        for path in paths(&row.evidence) {
            assert!(repository().join(path).exists(), "{id}: {path} is not in the tree");
        }
        if row.state != "not yet" {
            assert!(paths(&row.evidence).next().is_some(), "{id} is {:?} without evidence", row.state);
        }
    }
}
