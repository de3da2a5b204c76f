//! Does the factory close replace the allocation? Asked of the model and of a real node, and compared.
//!
//! A [`Stage`] is a node of one kind. A [`Case`] is a factory on it, of which any transaction can be made at any fee, since
//! one place holds all the keys. [`answer`] puts the allocation and some closes into the mempool, and finds the smallest
//! fee with which the factory close takes their place: predicted by [`factory_core::replacement`], and measured.

mod answer;
mod case;
mod measure;
mod probe;
mod question;
mod stage;
mod text;

pub use answer::{Answer, Offer, RuleRow};
pub(crate) use case::Draft;
pub use case::{Case, Placed, Shape};
pub use measure::{Measured, answer, smallest_fee};
pub use probe::{Probed, probed_table};
pub use question::{Closes, Question};
pub use stage::Stage;
pub use text::{table, told};
