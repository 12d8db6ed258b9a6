//! The curves of `cargo xtask growth` as an SVG: a panel for each thing that grows, a line a tier.
//! Its page and its words are those of the other picture, too.

use std::fmt::Write as _;

use super::growth::{Curve, TIERS};

const PANEL: (f64, f64) = (360.0, 120.0);
const MARGIN: (f64, f64) = (60.0, 76.0);
const GAP: (f64, f64) = (76.0, 84.0);
const COLUMNS: usize = 2;

/// Of all pictures, for light and for dark pages.
const PAGE_STYLE: &str = "\
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-size: 13px; font-weight: 600 }
.small { font-size: 11px; fill: #57606a }
.grid { stroke: #8c959f; stroke-opacity: .35 }
.line { fill: none; stroke-width: 2; stroke-linejoin: round }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .small { fill: #9ba5b0 } }
";

/// Colours that people tell apart who see few (Okabe and Ito).
const STYLE: &str = "\
.dot { stroke-width: 5; stroke-linecap: round }
.a { stroke: #0072b2 } .b { stroke: #d55e00; stroke-dasharray: 6 3 } .c { stroke: #009e73; stroke-dasharray: 2 3 }
@media (prefers-color-scheme: dark) { .a { stroke: #56b4e9 } .b { stroke: #e69f00 } .c { stroke: #44c4a1 } }
";

/// The beginning of a picture, with a style of its own beside that of all.
pub(super) fn page((width, height): (f64, f64), label: &str, style: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\" aria-label=\"{label}\">\n\
         <style>{PAGE_STYLE}{style}</style>\n"
    )
}

/// All curves, two in a row. Both axes are logarithmic to the right, linear from 0 upwards.
pub(super) fn draw(curves: &[Curve]) -> String {
    let rows = curves.len().div_ceil(COLUMNS) as f64;
    let width = MARGIN.0 + COLUMNS as f64 * (PANEL.0 + GAP.0) - GAP.0 + 24.0;
    let height = MARGIN.1 + rows * (PANEL.1 + GAP.1) - GAP.1 + 36.0;
    let mut svg = page((width, height), "What a sample costs while more is measured", STYLE);
    for (number, tier) in TIERS.iter().enumerate() {
        let x = MARGIN.0 + 90.0 * number as f64;
        // Writing to a String cannot fail.
        let _ = writeln!(svg, "<path class=\"line {tier}\" d=\"M{x} 18h28\"/>");
        text(
            &mut svg,
            (x + 34.0, 22.0),
            "small",
            "start",
            &format!("tier {}", tier.to_uppercase()),
        );
    }
    for (number, curve) in curves.iter().enumerate() {
        let (column, row) = ((number % COLUMNS) as f64, (number / COLUMNS) as f64);
        let corner = (MARGIN.0 + column * (PANEL.0 + GAP.0), MARGIN.1 + row * (PANEL.1 + GAP.1));
        panel(&mut svg, corner, curve);
    }
    svg.push_str("</svg>\n");
    svg
}

/// One thing that grows: its scale, and a line for each tier.
fn panel(svg: &mut String, (left, top): (f64, f64), curve: &Curve) {
    let highest = curve.costs.iter().flatten().flatten().fold(0.0, |a: f64, &b| a.max(b));
    let ceiling = nice_ceiling(highest);
    let (first, last) = (curve.points.first().copied(), curve.points.last().copied());
    let (first, last) = (first.unwrap_or(1).max(1) as f64, last.unwrap_or(1).max(2) as f64);
    let x = |point: u64| left + PANEL.0 * (point as f64 / first).ln() / (last / first).ln();
    let y = |cost: f64| top + PANEL.1 * (1.0 - cost / ceiling);
    text(svg, (left, top - 26.0), "title", "start", &curve.title);
    text(svg, (left, top - 10.0), "small", "start", curve.unit);
    for step in 0..=4 {
        let cost = ceiling * f64::from(step) / 4.0;
        let _ = writeln!(svg, "<path class=\"grid\" d=\"M{left} {:.1}h{}\"/>", y(cost), PANEL.0);
        text(svg, (left - 6.0, y(cost) + 4.0), "small", "end", &label(cost, ceiling));
    }
    for &point in &curve.points {
        text(
            svg,
            (x(point), top + PANEL.1 + 16.0),
            "small",
            "middle",
            &thousands(&point.to_string()),
        );
    }
    for (tier, costs) in TIERS.iter().zip(&curve.costs) {
        // A difference of two measurements that is below nothing says nothing.
        let known = curve.points.iter().zip(costs).filter_map(|(p, c)| Some((*p, (*c)?)));
        let known = known.filter(|(_, cost)| *cost >= 0.0);
        let corners: Vec<_> =
            known.map(|(point, cost)| format!("{:.1} {:.1}", x(point), y(cost))).collect();
        if !corners.is_empty() {
            let _ = writeln!(svg, "<path class=\"line {tier}\" d=\"M{}\"/>", corners.join("L"));
        }
        for corner in &corners {
            let _ = writeln!(svg, "<path class=\"dot {tier}\" d=\"M{corner}h0\"/>");
        }
    }
}

/// The next of 1, 2, 4 or 8 times a power of ten that is not below `highest`.
fn nice_ceiling(highest: f64) -> f64 {
    let power = 10f64.powf(highest.max(1e-3).log10().floor());
    let steps = [1.0, 2.0, 4.0, 8.0, 10.0].into_iter();
    steps.map(|step| step * power).find(|&ceiling| ceiling >= highest).unwrap_or(10.0 * power)
}

/// A number of a scale that ends at `ceiling`, with as many digits as all its numbers need.
fn label(value: f64, ceiling: f64) -> String {
    match ceiling {
        _ if ceiling >= 20.0 => thousands(&format!("{value:.0}")),
        _ if ceiling >= 2.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Digits with a comma before each three but the first.
pub(super) fn thousands(digits: &str) -> String {
    match digits.split_at_checked(digits.len().saturating_sub(3)) {
        Some((front, back)) if !front.is_empty() => format!("{},{back}", thousands(front)),
        _ => digits.to_owned(),
    }
}

/// Words at a place; `anchor` says which end of them.
pub(super) fn text(svg: &mut String, (x, y): (f64, f64), class: &str, anchor: &str, words: &str) {
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_ends_at_a_round_number_above_the_highest_cost() {
        for (highest, expected) in [(0.7, 0.8), (1.0, 1.0), (3.2, 4.0), (9.0, 10.0), (170.0, 200.0)]
        {
            assert!((nice_ceiling(highest) - expected).abs() < 1e-9, "{highest}");
        }
    }

    #[test]
    fn the_numbers_of_a_scale_have_the_same_digits() {
        let labels = |ceiling: f64| [0.0, 0.5, 1.0].map(|part| label(part * ceiling, ceiling));
        assert_eq!(labels(20_000.0), ["0", "10,000", "20,000"]);
        assert_eq!(labels(10.0), ["0.0", "5.0", "10.0"]);
        assert_eq!(labels(0.8), ["0.00", "0.40", "0.80"]);
        assert_eq!(["999", "1000", "1000019900"].map(thousands), ["999", "1,000", "1,000,019,900"]);
    }

    #[test]
    fn a_line_leaves_out_what_is_unknown() {
        let costs = vec![vec![Some(2.0), None, Some(2.0)]; TIERS.len()];
        let points = vec![1, 10, 100];
        let curve = Curve { title: "More processes".to_owned(), unit: "each", points, costs };
        let svg = draw(&[curve]);
        assert!(svg.contains("class=\"line a\" d=\"M60.0 76.0L420.0 76.0\""), "{svg}");
    }
}
