//! What plots have in common, whatever they show.

pub(crate) mod canvas;

use std::io;

use plotters::drawing::DrawingAreaErrorKind;

/// Returned when a plot cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw a plot: {0}")]
pub struct PlotError(#[from] DrawingAreaErrorKind<io::Error>);

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plot {
    /// What it shows, in a word that can be part of a file's name.
    pub name: &'static str,
    /// The picture, as SVG.
    pub svg: String,
}
