//! The values that scenarios are written with: amounts, feerates, counts, names.

mod measure;
mod name;
mod number;
mod text;
mod txs;

pub use measure::{BlockWeight, Percent, Span};
pub use name::{KindName, Named, PartyName, TransactionName, Who};
pub use number::{Count, Premium, Rate, Sat, Seconds, Size};
pub use txs::{TxPattern, Txs};
