//! The harness as a library: a test of somebody else's, in a crate that has nothing but `shopfloor` and `tokio`.

mod support;

use std::error::Error;

use shopfloor::bitcoin::Amount;
use shopfloor::node::Submission;
use shopfloor::report::Verdict;
use shopfloor::{Kind, Status, Stop, Testbed};

const ONE: Amount = Amount::from_sat(100_000);

#[tokio::test(flavor = "multi_thread")]
async fn a_lifecycle_in_under_twenty_lines() -> Result<(), Box<dyn Error>> {
    if !support::is_there(Kind::Knots29) {
        return Ok(());
    }
    let mut bed = Testbed::builder().node("alice", Kind::Core31).node("bob", Kind::Knots29).members(2).start().await?;
    bed.open().await?;
    bed.pay("operator", "m0", ONE).await?;
    bed.sign_closes().await?;
    bed.sign_factory_close().await?;
    assert_eq!(bed.send("operator", "allocation").await?, Submission::Accepted);
    assert_eq!(bed.status("bob", "allocation")?, Some(Status::InMempool));
    assert_eq!(bed.send("m0", "factory-close").await?, Submission::Accepted);
    bed.mine(1).await?;
    assert!(matches!(bed.status("bob", "allocation")?, Some(Status::Replaced(_))));
    assert_eq!(bed.status("bob", "factory-close")?, Some(Status::Confirmed(204)));
    assert_eq!(bed.balance("m0").await?, ONE);
    assert_eq!(bed.finish().await?.verdict, Verdict::Pass);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_played_as_they_are_written_in_files() -> Result<(), Box<dyn Error>> {
    let mut bed = Testbed::builder().node("alice", Kind::Core31).node("bob", Kind::Core31).members(2).start().await?;
    bed.open().await?;
    bed.play("- htlc: { from: operator, to: m1, amount: 50_000 sat, expiry: 400, secret: coffee }").await?;
    bed.play("- claim: { by: m1, secret: coffee }").await?;
    bed.sign_closes().await?;
    bed.sign_factory_close().await?;
    bed.play("- partition: [[alice], [bob]]").await?;
    bed.send("operator", "factory-close").await?;
    bed.mine(1).await?;
    assert_eq!(bed.status("alice", "factory-close")?, Some(Status::Confirmed(204)));
    assert_eq!(bed.status("bob", "factory-close")?, Some(Status::Signed));
    assert_eq!(bed.rpc("bob")?.chain().await?.blocks, 203);
    bed.play("- heal\n- expect: { confirmed: factory-close, same_tip: true }").await?;
    let report = bed.finish().await?;
    assert_eq!(report.balances["m1"].final_sat, 50_000);
    assert_eq!(report.nodes.keys().collect::<Vec<_>>(), ["alice", "bob"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_and_the_testbed_goes_on() -> Result<(), Box<dyn Error>> {
    let mut bed = Testbed::builder().members(2).start().await?;
    bed.open().await?;
    let mut said = Vec::new();
    said.extend(bed.pay("operator", "m2", ONE).await.err());
    said.extend(bed.pay("operator", "mallory", ONE).await.err());
    said.extend(bed.pay("m0", "m1", ONE).await.err());
    said.extend(bed.send("operator", "close").await.err());
    said.extend(bed.send("m0", "close-m0").await.err());
    said.extend(bed.status("carol", "funding").err());
    said.extend(bed.rpc("carol").err());
    said.extend(bed.play("- offline: m7").await.err());
    said.extend(bed.play("- partition: [[node], [carol]]").await.err());
    said.extend(bed.play("- dance: m0").await.err());
    said.extend(bed.play("- expect: { balances: { m0: 1 sat } }").await.err());
    let said: Vec<String> = said.iter().map(Stop::to_string).collect();
    for (said, shown) in said.iter().zip([
        "there is no m2: the factory has 2 members",
        "`mallory` is no party",
        "m0 has no channel with m1",
        "`close` is no transaction",
        "m0: ",
        "there is no node carol",
        "there is no node carol",
        "there is no m7: the factory has 2 members",
        "there is no node carol",
        "unknown variant `dance`",
        "m0 has 0 sat, expected 1 sat: -1 sat",
    ]) {
        assert!(said.contains(shown), "expected `{shown}`, found `{said}`");
    }
    assert_eq!(said.len(), 11, "{said:?}");

    // Nothing of that has changed anything.
    bed.pay("operator", "m1", ONE).await?;
    let error = bed.finish().await.unwrap_err().to_string();
    assert!(error.contains("nothing confirmed has settled m0's channel and 1 more"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_to_go_wrong_and_did_not_is_said() -> Result<(), Box<dyn Error>> {
    let mut bed = Testbed::builder().members(2).start().await?;
    bed.open().await?;
    bed.sign_closes().await?;
    bed.sign_factory_close().await?;
    bed.play("- withhold: { from: m0, message: completion }").await?;
    bed.send("operator", "factory-close").await?;
    bed.mine(1).await?;
    let error = bed.finish().await.unwrap_err().to_string();
    assert_eq!(error, "m0 was to withhold its completion, and had none to send");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_hold_together_does_not_start() {
    let error = Testbed::builder().capacity(Amount::from_sat(1)).start().await.unwrap_err();
    assert!(matches!(error, Stop::Fail(_)) && error.to_string().starts_with("factory.capacity: "), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn testbeds_beside_each_other_do_not_disturb_each_other() -> Result<(), Box<dyn Error>> {
    // The same names and the same seed: only what each of them does is its own.
    let play = async |amount: u64| -> Result<_, Stop> {
        let mut bed = Testbed::builder().members(2).start().await?;
        bed.open().await?;
        bed.pay("operator", "m0", Amount::from_sat(amount)).await?;
        bed.sign_closes().await?;
        bed.sign_factory_close().await?;
        bed.send("operator", "factory-close").await?;
        bed.mine(1).await?;
        bed.finish().await
    };
    let (one, two, three) = tokio::join!(play(10_000), play(20_000), play(30_000));
    let reports = [one?, two?, three?];
    let held: Vec<u64> = reports.iter().map(|report| report.balances["m0"].final_sat).collect();
    assert_eq!(held, [10_000, 20_000, 30_000]);
    let blocks = |index: usize| reports[index].blocks.iter().map(|block| &block.hash).collect::<Vec<_>>();
    assert_eq!(blocks(0)[..3], blocks(1)[..3], "up to the first payment nothing differs");
    assert_ne!(blocks(0)[3], blocks(1)[3]);
    Ok(())
}
