//! The form that dashboards read: `customSmallerIsBetter` of github-action-benchmark.

use serde::Serialize;

use super::Measured;

/// One figure. The fields are those of github-action-benchmark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Figure {
    name: String,
    unit: &'static str,
    /// Whole nanoseconds: what is measured here takes many.
    value: u64,
    range: String,
    extra: String,
}

/// Every measurement as a figure.
pub fn figures(measured: &[Measured]) -> Vec<Figure> {
    let figure = |one: &Measured| {
        let size = one.size.map(|size| format!(", {size}")).unwrap_or_default();
        let (low, high) = one.interval;
        Figure {
            name: format!("{}{size} ({})", one.operation, one.who),
            unit: "ns",
            value: one.median.round() as u64,
            range: format!("± {:.0}", one.deviation),
            extra: format!("median, and its 95 % interval: {low:.0} to {high:.0} ns"),
        }
    };
    measured.iter().map(figure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_the_fields_of_the_action() {
        let measured = Measured {
            operation: "lifecycle".to_owned(),
            who: "ours".to_owned(),
            size: Some(20),
            median: 1234.56,
            deviation: 7.8,
            interval: (1200.2, 1300.9),
        };
        let json = serde_json::to_string(&figures(&[measured])).unwrap();
        let expected = r#"[{"name":"lifecycle, 20 (ours)","unit":"ns","value":1235,"range":"± 8","extra":"median, and its 95 % interval: 1200 to 1301 ns"}]"#;
        assert_eq!(json, expected);
    }
}
