//! What the protocol costs beyond its cryptography: one factory from its opening to the signed factory close, in memory
//! and on one core, next to the bare operations on curve and hashes that it is made of, in the same run.
//!
//! `cargo bench -p benches --bench overhead -- 1000`: the number of members, 100 and 1,000 without one.

use std::time::{Duration, Instant};

use benches::bare::Bare;
use benches::parties::Parties;
use factory_core::Offer;

/// How often each part is timed; the fastest counts.
const REPETITIONS: u32 = 3;

fn main() {
    let asked: Vec<u32> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if asked.is_empty() { vec![100, 1000] } else { asked };
    println!(
        "{:>7}  {:>11}  {:>10}  {:>6}  {:>10}  {:>8}  {:>9}",
        "members", "one core", "bare", "ratio", "all cores", "speed-up", "messages"
    );
    let one_core = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread can be started");
    for members in sizes {
        let mut protocol = Duration::MAX;
        let mut bare = Duration::MAX;
        let mut shared = Duration::MAX;
        let mut messages = 0;
        for _ in 0..REPETITIONS {
            let mut parties = Parties::new(members, Offer::default());
            let began = Instant::now();
            one_core.install(|| parties.lifecycle());
            protocol = protocol.min(began.elapsed());
            let mut others = Parties::new(members, Offer::default());
            let began = Instant::now();
            others.lifecycle();
            shared = shared.min(began.elapsed());
            assert_eq!(parties.digest(), others.digest(), "the cores decide nothing");
            messages = parties.messages();
            bare = bare.min(Bare::new(members).lifecycle(&parties));
        }
        let ratio = protocol.as_secs_f64() / bare.as_secs_f64();
        let faster = protocol.as_secs_f64() / shared.as_secs_f64();
        println!(
            "{members:>7}  {protocol:>11.1?}  {bare:>10.1?}  {ratio:>6.2}  {shared:>10.1?}  {faster:>8.2}  {messages:>9}"
        );
    }
}
