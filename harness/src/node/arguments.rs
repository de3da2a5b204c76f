//! What nodes are told when they start.

/// The arguments that every node gets, and those of the ones that listen.
pub(crate) fn node_arguments(time: u64, listen: bool) -> Vec<String> {
    let fixed = [
        "-regtest",
        // Nothing outside this machine is contacted or offered, and no peer but those that the harness names.
        "-dnsseed=0",
        "-fixedseeds=0",
        "-connect=0",
        "-discover=0",
        "-listenonion=0",
        "-natpmp=0",
        // The log is a file; standard output is nobody's.
        "-printtoconsole=0",
        // One address, so that the port is either the node's or not. Without this, it would do with the other family's.
        "-rpcbind=127.0.0.1",
        "-rpcallowip=127.0.0.1",
        "-debug=mempool",
        // The chain is known to be good, and small.
        "-checkblocks=1",
        "-checklevel=0",
        "-dbcache=16",
        // Without this field electrs 0.10 cannot read an entry of the mempool, and takes the mempool to be empty.
        "-deprecatedrpc=bip125",
        // However old its newest block is by the simulated clock, the node takes part.
        "-maxtipage=999999999",
    ];
    let listening = [
        // A peer with this permission gets transactions at once, and is asked for them at once. Others wait for a random
        // time, on a clock that stands still.
        "-whitelist=noban,in,out@127.0.0.1",
        // The clock jumps. That is no reason to think that a peer has been silent for long.
        "-peertimeout=999999999",
    ];
    let listening = listening.into_iter().filter(|_| listen);
    let time = format!("-mocktime={time}");
    fixed.into_iter().chain(listening).map(str::to_owned).chain([time]).collect()
}
