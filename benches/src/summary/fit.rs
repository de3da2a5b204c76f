//! How a cost grows.

/// How a cost grows with N, as powers of N.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// The slope of the straight line that fits best through the logarithms of all points (least squares).
    pub fitted: f64,
    /// The slope between the two largest N: where small N are all fixed cost, the fit alone would hide what comes after.
    pub last: f64,
}

/// The growth of a cost that was measured at several N, as pairs (N, cost), both above zero. `None` if there are fewer than
/// three different N: two points always fit.
pub fn growth(points: &[(f64, f64)]) -> Option<Growth> {
    let mut logarithms: Vec<(f64, f64)> = points.iter().map(|(size, cost)| (size.ln(), cost.ln())).collect();
    logarithms.sort_by(|one, other| one.0.total_cmp(&other.0));
    logarithms.dedup_by_key(|point| point.0);
    let [.., before, last] = logarithms[..] else { return None };
    if logarithms.len() < 3 {
        return None;
    }
    let count = logarithms.len() as f64;
    let mean_x = logarithms.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = logarithms.iter().map(|(_, y)| y).sum::<f64>() / count;
    let covariance: f64 = logarithms.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = logarithms.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    Some(Growth { fitted: covariance / variance, last: (last.1 - before.1) / (last.0 - before.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-9
    }

    #[test]
    fn a_power_has_its_own_exponent() {
        for exponent in [0.0, 0.5, 1.0, 1.1, 2.0] {
            let points = [2.0, 10.0, 100.0, 2322.0_f64].map(|size| (size, 37.0 * size.powf(exponent)));
            let found = growth(&points).unwrap();
            assert!(close(found.fitted, exponent) && close(found.last, exponent), "{exponent}: {found:?}");
        }
    }

    #[test]
    fn the_line_is_that_of_least_squares() {
        // Powers of ten: x = 0, 1, 2, and y = 0, 1, 4. The means are 1 and 5/3; the slope is (5/3 + 7/3) / 2 = 2. The last
        // step goes from 1 to 4.
        let found = growth(&[(1.0, 1.0), (10.0, 10.0), (100.0, 10_000.0)]).unwrap();
        assert!(close(found.fitted, 2.0), "{found:?}");
        assert!(close(found.last, 3.0), "{found:?}");
    }

    #[test]
    fn the_order_of_the_points_does_not_matter() {
        let points = [(1.0, 1.0), (10.0, 10.0), (100.0, 10_000.0)];
        let reversed: Vec<_> = points.iter().rev().copied().collect();
        assert_eq!(growth(&points), growth(&reversed));
    }

    #[test]
    fn two_points_are_no_evidence() {
        assert_eq!(growth(&[]), None);
        assert_eq!(growth(&[(10.0, 1.0), (100.0, 2.0)]), None);
        assert_eq!(growth(&[(10.0, 1.0), (10.0, 1.5), (100.0, 2.0)]), None);
    }
}
