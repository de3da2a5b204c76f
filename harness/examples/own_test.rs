//! A test of one's own. In a crate that depends on `shopfloor` and `tokio`, the function below stands in `tests/`, with
//! `#[tokio::test(flavor = "multi_thread")]` in the place of `#[tokio::main]`. It needs the node programs: see
//! `shopfloor node install`.

use shopfloor::bitcoin::Amount;
use shopfloor::{Kind, Status, Testbed};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut bed = Testbed::builder().node("alice", Kind::Core31).node("bob", Kind::Knots29).members(2).start().await?;
    bed.open().await?;
    bed.pay("operator", "m0", Amount::from_sat(100_000)).await?;
    bed.sign_closes().await?;
    bed.sign_factory_close().await?;
    bed.play("- partition: [[alice], [bob]]").await?;
    bed.send("operator", "allocation").await?;
    assert_eq!(bed.status("alice", "allocation")?, Some(Status::InMempool));
    assert_eq!(bed.status("bob", "allocation")?, Some(Status::Signed));
    bed.play("- heal").await?;
    bed.send("operator", "factory-close").await?;
    bed.mine(1).await?;
    assert_eq!(bed.balance("m0").await?, Amount::from_sat(100_000));
    let report = bed.finish().await?;
    println!("{}: {} assertions hold", report.verdict.word(), report.assertions);
    Ok(())
}
