//! Each step in a few words, as progress and reports show it.

use std::fmt;

use super::{Mine, Pay, Reorg, Sign, Step, listed};

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Open => f.write_str("open"),
            Step::Pay(Pay { from, to, amount }) => write!(f, "pay {} sat from {from} to {to}", amount.0.to_sat()),
            Step::Htlc(htlc) => {
                let (amount, from, to) = (htlc.amount.0.to_sat(), htlc.from.0, htlc.to.0);
                let (secret, expiry) = (&htlc.secret, htlc.expiry.0);
                write!(f, "htlc `{secret}` of {amount} sat from {from} to {to} for {expiry} blocks")
            }
            Step::Claim(claim) => write!(f, "claim `{}` by {}", claim.secret, claim.by.0),
            Step::Fail(fail) => write!(f, "fail `{}` by {}", fail.secret, fail.by.0),
            Step::Quiesce => f.write_str("quiesce"),
            Step::Sign(Sign::Closes) => f.write_str("sign closes"),
            Step::Sign(Sign::FactoryClose) => f.write_str("sign factory-close"),
            Step::Broadcast(broadcast) => {
                write!(f, "broadcast {} by {}", broadcast.tx, broadcast.by.0)?;
                via(f, broadcast.via.as_ref())
            }
            Step::SubmitPackage(package) => {
                write!(f, "submit-package {} by {}", package.txs, package.by.0)?;
                via(f, package.via.as_ref())
            }
            Step::Spend(spend) => {
                write!(f, "spend {} by {}", spend.tx.0, spend.by.0)?;
                via(f, spend.via.as_ref())
            }
            Step::Fill(fill) => {
                f.write_str("fill the mempool")?;
                fill.node.as_ref().map_or(Ok(()), |node| write!(f, " of {node}"))?;
                write!(f, " at {}", fill.feerate)
            }
            Step::FallBack(fall_back) => write!(f, "fall-back by {}", fall_back.by.0),
            Step::Mine(mine) => mined(f, mine),
            Step::Reorg(reorg) => reorganised(f, reorg),
            Step::Partition(groups) => {
                let groups: Vec<_> = groups.iter().map(|group| group.join(", ")).collect();
                write!(f, "partition {}", groups.join(" | "))
            }
            Step::Heal => f.write_str("heal"),
            Step::Kill(node) => write!(f, "kill {node}"),
            Step::Stop(node) => write!(f, "stop {node}"),
            Step::Start(node) => write!(f, "start {node}"),
            Step::Pause(node) => write!(f, "pause {node}"),
            Step::Resume(node) => write!(f, "resume {node}"),
            Step::Silence(party) => write!(f, "silence {}", party.0),
            Step::Offline(party) => write!(f, "offline {}", party.0),
            Step::Crash(crash) => write!(f, "crash {} {}", crash.party.0, crash.at),
            Step::Online(party) => write!(f, "online {}", party.0),
            Step::Withhold(withhold) => {
                write!(f, "withhold {} from {}", withhold.message, withhold.from.0)?;
                withhold.to.map_or(Ok(()), |to| write!(f, " to {}", to.0))?;
                f.write_str(if withhold.always { ", always" } else { "" })
            }
            Step::WaitFor(wait) => write!(f, "wait-for what is expected, {} s at most", wait.within.0.as_secs()),
            Step::Expect(_) => f.write_str("expect"),
            Step::ExpectStates(expect) => {
                let states = listed(&expect.enforceable);
                write!(f, "expect-states {states} of {} at {}", expect.channel.0, expect.party.0)
            }
        }
    }
}

fn via(f: &mut fmt::Formatter<'_>, node: Option<&String>) -> fmt::Result {
    node.map_or(Ok(()), |node| write!(f, " via {node}"))
}

fn mined(f: &mut fmt::Formatter<'_>, mine: &Mine) -> fmt::Result {
    match (mine.to_height, mine.blocks) {
        (Some(height), _) => write!(f, "mine to height {}", height.0)?,
        (None, blocks) => write!(f, "mine {}", blocks.map_or(1, |blocks| blocks.0))?,
    }
    f.write_str(if mine.empty { " empty" } else { "" })?;
    mine.by.as_ref().map_or(Ok(()), |node| write!(f, " by {node}"))
}

fn reorganised(f: &mut fmt::Formatter<'_>, reorg: &Reorg) -> fmt::Result {
    let blocks = reorg.blocks.map_or(reorg.depth.0 + 1, |blocks| blocks.0);
    write!(f, "reorg {} by {blocks}{}", reorg.depth.0, if reorg.empty { " empty" } else { "" })?;
    reorg.on.as_ref().map_or(Ok(()), |node| write!(f, " on {node}"))
}
