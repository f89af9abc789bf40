//! How fast a device signs: by 1, 2, 4, … sessions, each with a thread, as the gateway's lanes work.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Rate;
use super::examine::Bench;
use super::signing::Signer;

/// Times kept of all lanes together; a lane with its share counts on without keeping more.
const KEPT: usize = 1 << 22;

/// Measures one signer at every number of lanes that the device has sessions for.
pub(super) fn measure(bench: &mut Bench<'_>, signer: &Signer) {
    let most = bench.report.behaviour.sessions_given.unwrap_or(1).min(bench.order.lanes);
    for lanes in doubling(most) {
        bench.step(&format!("measure {} in {lanes} session(s)", signer.algorithm.name()));
        let Some(rate) = rate(bench, signer, lanes) else { return };
        bench.report.rates.push(rate);
    }
}

/// 1, 2, 4, … and the most.
fn doubling(most: usize) -> impl Iterator<Item = usize> {
    let powers =
        std::iter::successors(Some(1), |lanes| Some(lanes * 2)).take_while(move |lanes| *lanes < most);
    powers.chain(std::iter::once(most.max(1)))
}

fn rate(bench: &mut Bench<'_>, signer: &Signer, lanes: usize) -> Option<Rate> {
    let mut sessions = vec![bench.session];
    while sessions.len() < lanes {
        sessions.push(bench.library.open(bench.slot, bench.read_write).ok()?);
    }
    let (stop, failed) = (AtomicBool::new(false), AtomicU64::new(0));
    let input = signer.input();
    let library = &bench.library;
    let started = Instant::now();
    let share = KEPT / lanes.max(1);
    let done: Vec<(u64, Vec<u32>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = sessions
            .iter()
            .map(|session| {
                let (stop, failed, input) = (&stop, &failed, &input);
                scope.spawn(move || {
                    let (mut count, mut times, mut last) = (0, Vec::new(), None);
                    while !stop.load(Ordering::Relaxed) {
                        let before = Instant::now();
                        match library.sign_fast(*session, &signer.means, signer.key, input) {
                            Ok(answer) => {
                                let took = before.elapsed().as_micros();
                                if times.len() < share {
                                    times.push(u32::try_from(took).unwrap_or(u32::MAX));
                                }
                                count += 1;
                                last = Some(answer);
                            }
                            Err(_) => {
                                failed.fetch_add(1, Ordering::Relaxed);
                                // A device that refuses at once shall not be stormed.
                                std::thread::sleep(Duration::from_millis(1));
                            }
                        }
                    }
                    // One is checked for all: checking each would be measured with them.
                    if last.is_some_and(|answer| !signer.accepts(&answer)) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    (count, times)
                })
            })
            .collect();
        std::thread::sleep(bench.order.measure);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let elapsed = started.elapsed();
    for session in sessions.into_iter().skip(1) {
        let _ = bench.library.close(session);
    }
    let count: u64 = done.iter().map(|(count, _)| count).sum();
    let mut times: Vec<u32> = done.into_iter().flat_map(|(_, times)| times).collect();
    times.sort_unstable();
    Some(Rate {
        algorithm: signer.algorithm.name().to_owned(),
        lanes,
        per_second: count as f64 / elapsed.as_secs_f64(),
        p50_us: percentile(&times, 50),
        p99_us: percentile(&times, 99),
        failed: failed.into_inner(),
    })
}

/// Of sorted times; 0 of none.
fn percentile(sorted: &[u32], percent: usize) -> u64 {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).map_or(0, |time| u64::from(*time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_double_up_to_the_most_there_are() {
        assert_eq!(doubling(6).collect::<Vec<_>>(), [1, 2, 4, 6]);
        assert_eq!(doubling(4).collect::<Vec<_>>(), [1, 2, 4]);
        assert_eq!(doubling(1).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_percentile_is_the_time_that_so_many_keep() {
        let times: Vec<u32> = (1..=200).collect();
        assert_eq!((percentile(&times, 50), percentile(&times, 99)), (100, 198));
        assert_eq!((percentile(&[7], 99), percentile(&[], 99)), (7, 0));
    }
}
