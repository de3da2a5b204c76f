//! `shopfloor replacement`.

use std::io::{self, Write as _};

use bitcoin::FeeRate;
use factory_core::TxVersion;

use super::{AnyError, Exit};
use crate::node::Kind;
use crate::node::provision::Env;
use crate::replacement::{self, Answer, Closes, Question, Stage};
use crate::scenario::check::version;
use crate::scenario::{CloseFee, Premium, Rate};
use crate::testbed::Stop;

/// What `replacement` takes.
#[derive(Debug, clap::Args)]
pub(super) struct ReplacementArgs {
    /// Which nodes; every one that is installed if none is named
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<Kind>,
    /// How many members the factory has
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "20")]
    members: Vec<u32>,
    /// How many closes are in the mempool beside the allocation: a number, `all`, or `boundary` for both sides of where
    /// the exact fee stops being enough
    #[arg(long, value_name = "K", value_delimiter = ',', default_value = "0,boundary,all")]
    closes: Vec<Closes>,
    /// What the allocation and the closes pay
    #[arg(long, value_name = "FEERATE", value_delimiter = ',', default_value = "1 sat/vB")]
    feerate: Vec<Rate>,
    /// The version of the factory's transactions, 2 or 3 (TRUC)
    #[arg(long, value_name = "VERSION", value_delimiter = ',', default_value = "2", value_parser = tx_version)]
    version: Vec<TxVersion>,
    /// What the factory close pays beyond the fees of what it cuts through: `exact`, a premium like `2 sat/vB`, or
    /// several for a ladder
    #[arg(long, value_name = "FEE", default_value = "exact", value_parser = close_fee)]
    close_fee: CloseFee,
    /// What decides every key and nonce
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the answers as a JSON array
    #[arg(long)]
    json: bool,
}

fn tx_version(text: &str) -> Result<TxVersion, String> {
    let number = text.parse().ok();
    number.and_then(version).ok_or_else(|| format!("`{text}`: expected 2 or 3"))
}

fn close_fee(text: &str) -> Result<CloseFee, String> {
    if text == "exact" {
        return Ok(CloseFee::Exact);
    }
    let rungs: Vec<Premium> = text.split(',').map(str::parse).collect::<Result<_, String>>()?;
    match rungs.as_slice() {
        [_] => Ok(CloseFee::Premium(text.parse()?)),
        _ => Ok(CloseFee::Ladder(rungs)),
    }
}

pub(super) fn replacement(args: &ReplacementArgs) -> Result<Exit, AnyError> {
    let env = Env::from_process()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let kinds = if args.kind.is_empty() { Kind::ALL.to_vec() } else { args.kind.clone() };
    let (mut answers, mut skipped) = (Vec::new(), false);
    for kind in kinds {
        match runtime.block_on(ask(&env, kind, args)) {
            Ok(told) => answers.extend(told),
            Err(Stop::Skip(why)) => {
                eprintln!("{kind}: skipped: {why}");
                // A kind that nobody named is not missed.
                skipped |= !args.kind.is_empty();
            }
            Err(Stop::Fail(why)) => {
                eprintln!("error: {why}");
                return Ok(Exit::BadInput);
            }
            Err(Stop::Error(why)) => return Err(format!("{kind}: {why}").into()),
        }
    }
    print(args, &answers)?;
    let differences = answers.iter().flat_map(|answer| answer.differences.iter().map(move |text| (answer, text)));
    for (answer, difference) in differences.clone() {
        let Answer { kind, members, closes, version, .. } = answer;
        eprintln!(
            "THE MODEL AND THE NODE DIFFER: {kind}, {members} members, {closes} closes, version {version}: {difference}"
        );
    }
    Ok(match (differences.count(), answers.is_empty() || skipped) {
        (1.., _) => Exit::Fail,
        (0, true) => Exit::Skip,
        (0, false) => Exit::Pass,
    })
}

/// All questions to one kind.
async fn ask(env: &Env, kind: Kind, args: &ReplacementArgs) -> Result<Vec<Answer>, Stop> {
    let mut stage = Stage::start(env, kind, &[]).await?;
    let policy = stage.policy().await?;
    let mut answers = Vec::new();
    for (version, feerate, members) in combinations(args) {
        let mut closes: Vec<u32> =
            args.closes.iter().flat_map(|closes| closes.numbers(&policy, members, feerate, version)).collect();
        closes.sort_unstable();
        closes.dedup();
        for closes in closes {
            let close_fee = args.close_fee.clone();
            let seed = args.seed.wrapping_add(answers.len() as u64);
            let question = Question { members, closes, feerate, version, close_fee, seed };
            answers.push(replacement::answer(&mut stage, &question).await?);
        }
    }
    Ok(answers)
}

fn combinations(args: &ReplacementArgs) -> impl Iterator<Item = (TxVersion, FeeRate, u32)> {
    args.version.iter().flat_map(move |&version| {
        args.feerate.iter().flat_map(move |rate| args.members.iter().map(move |&members| (version, rate.0, members)))
    })
}

fn print(args: &ReplacementArgs, answers: &[Answer]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, answers)?;
        return writeln!(out);
    }
    // A single question to each node is answered in full.
    let mut kinds: Vec<&str> = answers.iter().map(|answer| answer.kind.as_str()).collect();
    kinds.dedup();
    if kinds.len() == answers.len() {
        return answers.iter().try_for_each(|answer| writeln!(out, "{}", replacement::told(answer)));
    }
    out.write_all(replacement::table(answers).as_bytes())
}
