//! What every plot has: its title, its axes and its key.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color as _, DrawingArea, IntoDrawingArea as _, PathElement, Polygon, RGBColor,
    Rectangle, SVGBackend, ShapeStyle, Text, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{IntoFont as _, TextStyle};

use super::PlotError;

/// Colours that people tell apart however they see colours (Okabe and Ito 2008).
pub(crate) const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    BLACK,
];
/// The colour of what is beside the data.
pub(crate) const GREY: RGBColor = RGBColor(110, 110, 110);

const WIDTH: u32 = 760;
const PLOT_HEIGHT: u32 = 380;
const HEAD_HEIGHT: u32 = 56;
const LINE_HEIGHT: i32 = 20;
const MARGIN: i32 = 16;
const LABEL_LEFT: u32 = 76;
/// What a letter takes at most, in pixels: SVG leaves the font to who shows it.
const LETTER: i32 = 8;

/// Where one draws, in pixels.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// A place in pixels.
pub(crate) type Pixel = (i32, i32);

/// Everything around the data.
pub(crate) struct Frame<'a> {
    /// What the plot shows.
    pub(crate) title: &'a str,
    /// Of what.
    pub(crate) subtitle: &'a str,
    /// What goes to the right.
    pub(crate) x_title: &'a str,
    /// What goes up.
    pub(crate) y_title: &'a str,
    pub(crate) x: Range<f64>,
    pub(crate) y: Range<f64>,
    /// What the values 0, 1, 2, … of x are called, if they are no numbers.
    pub(crate) names: Option<&'a [String]>,
    /// How a value of y is written.
    pub(crate) y_label: &'a dyn Fn(f64) -> String,
    /// What the marks mean.
    pub(crate) keys: &'a [Key],
}

/// What a mark means.
pub(crate) struct Key {
    pub(crate) mark: Mark,
    pub(crate) colour: RGBColor,
    pub(crate) label: String,
}

/// How something is drawn.
#[derive(Clone, Copy)]
pub(crate) enum Mark {
    /// A value with the interval it lies in; each number is another shape.
    Value(usize),
    /// A line.
    Line,
    /// A box.
    Box,
}

impl Frame<'_> {
    /// The plot, as SVG. `data` draws the data, and is told where a pair of values lies.
    pub(crate) fn draw(
        &self,
        data: impl FnOnce(&Area<'_>, &dyn Fn(f64, f64) -> Pixel) -> Result<(), PlotError>,
    ) -> Result<String, PlotError> {
        let labels: Vec<Vec<String>> = self.wrapped_names();
        let label_lines = labels.iter().map(Vec::len).max().unwrap_or(1) as u32;
        let plot_bottom = HEAD_HEIGHT + PLOT_HEIGHT;
        let key_top = (plot_bottom + label_lines * LINE_HEIGHT as u32) as i32 + 2 * LINE_HEIGHT;
        let height = key_top as u32 + self.keys.len() as u32 * LINE_HEIGHT as u32 + MARGIN as u32 / 2;
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE)?;
        write(&area, self.title, (MARGIN, 12), 21, BLACK, HPos::Left)?;
        write(&area, self.subtitle, (MARGIN, 35), 16, GREY, HPos::Left)?;

        let (upper, _) = area.split_vertically(plot_bottom);
        let mut chart = ChartBuilder::on(&upper)
            .margin_top(HEAD_HEIGHT + 6)
            .margin_right(MARGIN)
            .set_left_and_bottom_label_area_size(0)
            .margin_left(LABEL_LEFT)
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_axes().light_line_style(WHITE.mix(0.0)).bold_line_style(RGBColor(225, 225, 225));
        if self.names.is_some() {
            mesh.disable_x_mesh();
        }
        mesh.x_labels(X_TICKS).y_labels(Y_TICKS).draw()?;
        let at = |x, y| chart.backend_coord(&(x, y));
        self.axes(&area, &labels, &at)?;
        data(&area, &at)?;
        for (line, key) in self.keys.iter().enumerate() {
            let y = key_top + line as i32 * LINE_HEIGHT;
            key.draw(&area, (MARGIN, y))?;
        }
        area.present()?;
        drop(chart);
        drop((area, upper));
        Ok(svg)
    }

    /// The axes with their labels and titles.
    fn axes(&self, area: &Area<'_>, labels: &[Vec<String>], at: &dyn Fn(f64, f64) -> Pixel) -> Result<(), PlotError> {
        let (left, bottom) = at(self.x.start, self.y.start);
        let (right, top) = at(self.x.end, self.y.end);
        area.draw(&PathElement::new([(left, top), (left, bottom), (right, bottom)], GREY))?;
        for tick in ticks(&self.y, Y_TICKS) {
            let (_, y) = at(self.x.start, tick);
            let anchor = Pos::new(HPos::Right, VPos::Center);
            area.draw(&Text::new((self.y_label)(tick), (left - 8, y), style(15, BLACK).pos(anchor)))?;
        }
        let mut lines = 1;
        if self.names.is_some() {
            for (place, label) in labels.iter().enumerate() {
                let (x, _) = at(place as f64, self.y.start);
                for (line, text) in label.iter().enumerate() {
                    write(area, text, (x, bottom + 8 + line as i32 * LINE_HEIGHT), 15, BLACK, HPos::Center)?;
                }
                lines = lines.max(label.len());
            }
        } else {
            for tick in ticks(&self.x, X_TICKS) {
                let (x, _) = at(tick, self.y.start);
                write(area, &number(tick), (x, bottom + 8), 15, BLACK, HPos::Center)?;
            }
        }
        let below = bottom + 12 + lines as i32 * LINE_HEIGHT;
        write(area, self.x_title, ((left + right) / 2, below), 16, BLACK, HPos::Center)?;
        let upwards = TextStyle { pos: Pos::new(HPos::Center, VPos::Top), ..style(16, BLACK) };
        let upwards = upwards.transform(plotters::style::FontTransform::Rotate270);
        area.draw(&Text::new(self.y_title.to_owned(), (10, (top + bottom) / 2), upwards))?;
        Ok(())
    }

    /// The names of the values of x, in lines that have room beside each other.
    fn wrapped_names(&self) -> Vec<Vec<String>> {
        let names = self.names.unwrap_or_default();
        let room = (WIDTH - LABEL_LEFT) as i32 - MARGIN;
        let letters = (room / (names.len().max(1) as i32) / LETTER).max(4) as usize;
        names.iter().map(|name| wrapped(name, letters)).collect()
    }
}

const X_TICKS: usize = 12;
const Y_TICKS: usize = 11;

/// The values that plotters draws the lines of the mesh at.
fn ticks(range: &Range<f64>, most: usize) -> Vec<f64> {
    use plotters::coord::ranged1d::{BoldPoints, Ranged as _};
    plotters::coord::types::RangedCoordf64::from(range.clone()).key_points(BoldPoints(most))
}

/// A number, without the digits that are there because of rounding.
pub(crate) fn number(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    match rounded.fract() == 0.0 && rounded.abs() >= 1_000.0 {
        true => format!("{}{}", if rounded < 0.0 { "-" } else { "" }, crate::report::grouped(rounded.abs() as u64)),
        // The sum turns -0 into 0.
        false => (rounded + 0.0).to_string(),
    }
}

/// A text in lines of at most so many letters; words that are longer are cut.
fn wrapped(text: &str, letters: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let rest: Vec<char> = word.chars().collect();
        for piece in rest.chunks(letters) {
            let line = lines.last_mut().filter(|line| line.chars().count() + piece.len() < letters || line.is_empty());
            match line {
                Some(line) if line.is_empty() => line.extend(piece),
                Some(line) => {
                    line.push(' ');
                    line.extend(piece);
                }
                None => lines.push(piece.iter().collect()),
            }
        }
    }
    lines
}

fn style(size: u32, colour: RGBColor) -> TextStyle<'static> {
    TextStyle { color: colour.to_backend_color(), ..("sans-serif", size).into_font().into() }
}

/// Writes a line of text, whose top is at a place.
fn write(area: &Area<'_>, text: &str, place: Pixel, size: u32, colour: RGBColor, from: HPos) -> Result<(), PlotError> {
    let style = style(size, colour).pos(Pos::new(from, VPos::Top));
    Ok(area.draw(&Text::new(text.to_owned(), place, style))?)
}

impl Key {
    /// The sample and what it means, in a line whose top is at a place.
    fn draw(&self, area: &Area<'_>, (x, y): Pixel) -> Result<(), PlotError> {
        let middle = y + LINE_HEIGHT / 2 - 2;
        match self.mark {
            Mark::Value(shape) => value(area, shape, self.colour, x + 12, [middle - 7, middle, middle + 7])?,
            Mark::Line => line(area, self.colour, vec![(x, middle), (x + 24, middle)])?,
            Mark::Box => {
                area.draw(&Rectangle::new([(x + 4, middle - 6), (x + 20, middle + 6)], self.colour.filled()))?;
            }
        }
        write(area, &self.label, (x + 34, y + 1), 16, BLACK, HPos::Left)
    }
}

/// How far to the right of its place a mark of this series stands, in pixels, so that those of the others are seen where
/// their values are the same.
pub(crate) fn beside(series: usize, count: usize) -> i32 {
    /// How far the marks of two series are apart at most.
    const BESIDE: i32 = 10;
    /// How far those of all series are apart at most.
    const ALL_BESIDE: i32 = 40;
    let (series, count) = (series as i32, count as i32);
    let apart = BESIDE.min(ALL_BESIDE / count.max(1)).max(1);
    series * apart - (count - 1) * apart / 2
}

/// Draws a line, such as what theory says.
pub(crate) fn line(area: &Area<'_>, colour: RGBColor, through: Vec<Pixel>) -> Result<(), PlotError> {
    let style = ShapeStyle { color: colour.mix(0.7), filled: false, stroke_width: 2 };
    Ok(area.draw(&PathElement::new(through, style))?)
}

/// Draws a value at the middle one of three heights, and its interval between the other two.
pub(crate) fn value(
    area: &Area<'_>,
    shape: usize,
    colour: RGBColor,
    x: i32,
    [top, middle, bottom]: [i32; 3],
) -> Result<(), PlotError> {
    let bar = ShapeStyle { color: colour.to_rgba(), filled: false, stroke_width: 1 };
    for path in [[(x, top), (x, bottom)], [(x - 4, top), (x + 4, top)], [(x - 4, bottom), (x + 4, bottom)]] {
        area.draw(&PathElement::new(path, bar))?;
    }
    let fill = colour.filled();
    match shape % 4 {
        0 => area.draw(&Circle::new((x, middle), 4, fill))?,
        1 => area.draw(&Rectangle::new([(x - 4, middle - 4), (x + 4, middle + 4)], fill))?,
        2 => area.draw(&Polygon::new([(x - 5, middle + 4), (x + 5, middle + 4), (x, middle - 6)], fill))?,
        _ => area.draw(&Polygon::new([(x - 6, middle), (x, middle - 6), (x + 6, middle), (x, middle + 6)], fill))?,
    }
    Ok(())
}
