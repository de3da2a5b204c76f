//! What the protocol costs beyond its cryptography: one factory from its opening to the signed factory close, in memory
//! and on one core, next to the bare operations on curve and hashes that it is made of, in the same run. Both are counted in
//! processor time, so that others on the machine take nothing away.
//!
//! And how much faster it is on all cores, which only the wall's clock can tell, and only on a machine that is quiet: `cores`
//! says how many it really had, as processor time over wall time.
//!
//! `cargo bench -p benches --bench overhead -- 1000`: the number of members, 100 and 1,000 without one.

use std::time::{Duration, Instant};

use benches::bare::Bare;
use benches::clock;
use benches::parties::Parties;
use factory_core::Offer;

/// How often each part is timed; the fastest counts.
const REPETITIONS: u32 = 3;

fn main() {
    let asked: Vec<u32> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if asked.is_empty() { vec![100, 1000] } else { asked };
    println!(
        "{:>7}  {:>11}  {:>10}  {:>6}  {:>13}  {:>14}  {:>8}  {:>5}  {:>8}",
        "members", "one core", "bare", "ratio", "one core wall", "all cores wall", "speed-up", "cores", "messages"
    );
    let one_core = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread can be started");
    for members in sizes {
        let [mut protocol, mut bare, mut alone, mut shared] = [Duration::MAX; 4];
        let mut cores = 0.0_f64;
        let mut messages = 0;
        for _ in 0..REPETITIONS {
            let mut parties = Parties::new(members, Offer::default());
            let (processor, wall) = one_core.install(|| {
                let began = (clock::thread(), Instant::now());
                parties.lifecycle();
                (clock::thread() - began.0, began.1.elapsed())
            });
            protocol = protocol.min(processor);
            alone = alone.min(wall);
            let mut others = Parties::new(members, Offer::default());
            let began = (clock::process(), Instant::now());
            others.lifecycle();
            let (processor, wall) = (clock::process() - began.0, began.1.elapsed());
            shared = shared.min(wall);
            cores = cores.max(processor.as_secs_f64() / wall.as_secs_f64());
            assert_eq!(parties.digest(), others.digest(), "the cores decide nothing");
            messages = parties.messages();
            bare = bare.min(Bare::new(members).lifecycle(&parties));
        }
        let ratio = protocol.as_secs_f64() / bare.as_secs_f64();
        let faster = alone.as_secs_f64() / shared.as_secs_f64();
        println!(
            "{members:>7}  {protocol:>11.1?}  {bare:>10.1?}  {ratio:>6.2}  {alone:>13.1?}  {shared:>14.1?}  {faster:>8.2}  \
             {cores:>5.2}  {messages:>8}"
        );
    }
}
