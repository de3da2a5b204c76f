//! What the harness found, in every form: for people and for programs.

mod html;
mod junit;
mod markdown;
mod model;
mod schema;
mod summary;
#[cfg(test)]
mod tests;
mod text;

pub use html::html;
pub use junit::junit;
pub use markdown::markdown;
pub use model::*;
pub use schema::schema;
pub(crate) use text::grouped;
