//! `shopfloor replacement`.

use std::io::{self, Write as _};
use std::path::PathBuf;

use bitcoin::FeeRate;
use factory_core::TxVersion;
use serde::Serialize;

use super::{AnyError, Exit, tx_version, update};
use crate::node::Kind;
use crate::node::provision::Env;
use crate::replacement::{self, Answer, Closes, Probed, Question, Stage};
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
    /// An option of the nodes, such as --arg=-incrementalrelayfee=0. The model asks the node what it makes of it, but
    /// before Core 31 nodes do not tell their limits of ancestors and descendants: the model keeps to 25 and 101 kvB
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    arg: Vec<String>,
    /// What decides every key and nonce
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the answers as a JSON array
    #[arg(long)]
    json: bool,
    /// Ask what each mempool asks for, and nothing about one factory
    #[arg(long, conflicts_with_all = ["members", "closes", "feerate", "version", "close_fee"])]
    policy: bool,
    /// Put the table into a Markdown file, in the place that is marked for it
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    update: Option<PathBuf>,
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
    if args.policy {
        let (found, missing) = each(args, async |kind| {
            let mut stage = Stage::start(&env, kind, &args.arg).await?;
            Probed::of(&mut stage).await
        })?;
        show(args, "policy", &found, || replacement::probed_table(&found))?;
        return Ok(if missing || found.is_empty() { Exit::Skip } else { Exit::Pass });
    }
    let (answers, missing) = match each(args, async |kind| ask(&env, kind, args).await) {
        Ok((answers, missing)) => (answers.concat(), missing),
        Err(Stop::Fail(why)) => {
            eprintln!("error: {why}");
            return Ok(Exit::BadInput);
        }
        Err(stop) => return Err(stop.into()),
    };
    show(args, "replacement", &answers, || text(&answers))?;
    let differences = answers.iter().flat_map(|answer| answer.differences.iter().map(move |text| (answer, text)));
    for (answer, difference) in differences.clone() {
        let Answer { kind, members, closes, version, .. } = answer;
        eprintln!(
            "THE MODEL AND THE NODE DIFFER: {kind}, {members} members, {closes} closes, version {version}: {difference}"
        );
    }
    Ok(match (differences.count(), answers.is_empty() || missing) {
        (1.., _) => Exit::Fail,
        (0, true) => Exit::Skip,
        (0, false) => Exit::Pass,
    })
}

/// Asks every kind, and tells whether one that was named is missing. Kinds that nobody named may be.
fn each<T>(args: &ReplacementArgs, ask: impl AsyncFn(Kind) -> Result<T, Stop>) -> Result<(Vec<T>, bool), Stop> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Stop::Error(error.to_string()))?;
    let kinds = if args.kind.is_empty() { Kind::ALL.to_vec() } else { args.kind.clone() };
    let (mut found, mut missing) = (Vec::new(), false);
    for kind in kinds {
        match runtime.block_on(ask(kind)) {
            Ok(told) => found.push(told),
            Err(Stop::Skip(why)) => {
                eprintln!("{kind}: skipped: {why}");
                missing |= !args.kind.is_empty();
            }
            Err(stop) => return Err(stop),
        }
    }
    Ok((found, missing))
}

/// All questions to one kind.
async fn ask(env: &Env, kind: Kind, args: &ReplacementArgs) -> Result<Vec<Answer>, Stop> {
    let mut stage = Stage::start(env, kind, &args.arg).await?;
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

/// Writes it where it is wanted.
fn show<T: Serialize>(
    args: &ReplacementArgs,
    name: &str,
    found: &[T],
    text: impl Fn() -> String,
) -> Result<(), AnyError> {
    if let Some(path) = &args.update {
        return update(path, name, &text());
    }
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, found)?;
        writeln!(out)?;
    } else {
        out.write_all(text().as_bytes())?;
    }
    Ok(())
}

/// A single question to each node is answered in full, several in a line each.
fn text(answers: &[Answer]) -> String {
    let mut kinds: Vec<&str> = answers.iter().map(|answer| answer.kind.as_str()).collect();
    kinds.dedup();
    match kinds.len() == answers.len() {
        true => answers.iter().map(replacement::told).collect::<Vec<_>>().join("\n"),
        false => replacement::table(answers),
    }
}
