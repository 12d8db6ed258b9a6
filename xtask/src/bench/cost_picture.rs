//! What a sample costs as an SVG: a panel for each share of active processes, a row for each
//! sampler, and a mark of its own shape for each number of processes.

use std::fmt::Write as _;

use super::picture::{page, text, thousands};
use super::record::Section;
use super::{FEW, SAMPLERS};

/// Where the panels begin: right of the names, below the key and the scale.
const CORNER: (f64, f64) = (340.0, 92.0);
/// Of a panel, without its column of numbers.
const PANEL_WIDTH: f64 = 230.0;
const NUMBERS_WIDTH: f64 = 62.0;
const GAP: f64 = 28.0;
const ROW_HEIGHT: f64 = 28.0;
/// The marks of a row stand below each other by so much: costs that hardly change would hide them.
const STEP: f64 = 7.5;

/// Ours stand out by their weight, where there is no colour.
const STYLE: &str = "\
.ours { font-weight: 600 } .mark { fill: #fff; stroke: #24292f; stroke-width: 1.4 }
.mark.last { fill: #24292f } .mark.own { stroke: #0072b2 } .mark.own.last { fill: #0072b2 }
.band { fill: #8c959f; fill-opacity: .10 } .reach { fill: none; stroke: #8c959f; stroke-width: 1.2 }
@media (prefers-color-scheme: dark) {
  .mark { fill: #0d1117; stroke: #e6edf3 } .mark.last { fill: #e6edf3 }
  .mark.own { stroke: #56b4e9 } .mark.own.last { fill: #56b4e9 }
}
";

/// What the marks look like, for the smallest number of processes first.
#[derive(Clone, Copy)]
enum Shape {
    Circle,
    Triangle,
    Square,
}

const SHAPES: &[Shape] = &[Shape::Circle, Shape::Triangle, Shape::Square];

/// The cost scale of all panels, from a power of ten to another one.
#[derive(Clone, Copy)]
struct Scale {
    first: f64,
    last: f64,
}

/// What is drawn: of all sections the sizes and shares, and who was measured anywhere.
struct Chart<'a> {
    sections: Vec<&'a Section>,
    sizes: Vec<u64>,
    active: Vec<u64>,
    samplers: Vec<&'static str>,
    scale: Scale,
}

/// All sections but those of few processes, which are about memory; empty panels where there are
/// no others.
pub(super) fn draw(sections: &[Section]) -> String {
    let chart = Chart::of(sections);
    let panels = chart.active.len().max(1) as f64;
    let panel = PANEL_WIDTH + NUMBERS_WIDTH + GAP;
    let size = (CORNER.0 + panels * panel, CORNER.1 + chart.height() + 20.0);
    let mut svg = page(size, "CPU time of a sample by sampler", STYLE);
    chart.draw_key(&mut svg);
    chart.draw_names(&mut svg, size.0);
    for (number, &active) in chart.active.iter().enumerate() {
        chart.draw_panel(&mut svg, CORNER.0 + number as f64 * panel, active);
    }
    svg.push_str("</svg>\n");
    svg
}

impl<'a> Chart<'a> {
    fn of(sections: &'a [Section]) -> Self {
        let sections: Vec<_> = sections.iter().filter(|s| s.processes > FEW).collect();
        let mut sizes: Vec<u64> = sections.iter().map(|section| section.processes).collect();
        sizes.sort_unstable();
        sizes.dedup();
        // More than there are shapes are not told apart: the largest ones are shown.
        sizes.drain(..sizes.len().saturating_sub(SHAPES.len()));
        let mut active: Vec<u64> = sections.iter().map(|section| section.active).collect();
        active.sort_unstable();
        active.dedup();
        let is_there = |name: &&str| sections.iter().any(|section| section.row(name).is_some());
        let samplers = SAMPLERS.iter().map(|sampler| sampler.name).filter(is_there).collect();
        let scale = Scale::of(&sections);
        Chart { sections, sizes, active, samplers, scale }
    }

    fn height(&self) -> f64 {
        self.samplers.len() as f64 * ROW_HEIGHT
    }

    fn middle_of_row(row: usize) -> f64 {
        CORNER.1 + (row as f64 + 0.5) * ROW_HEIGHT
    }

    fn draw_key(&self, svg: &mut String) {
        text(svg, (12.0, 24.0), "title", "start", "CPU us per process and sample");
        text(svg, (12.0, 42.0), "small", "start", "numbers: of the filled marks");
        for (number, (size, shape)) in self.sizes.iter().zip(SHAPES).enumerate() {
            let x = CORNER.0 + 8.0 + 140.0 * number as f64;
            shape.draw(svg, (x, 20.0), self.class(*size, "top"));
            let words = format!("{} processes", thousands(&size.to_string()));
            text(svg, (x + 12.0, 24.0), "small", "start", &words);
        }
    }

    fn draw_names(&self, svg: &mut String, width: f64) {
        for (row, name) in self.samplers.iter().enumerate() {
            let middle = Self::middle_of_row(row);
            if row % 2 == 0 {
                let top = middle - ROW_HEIGHT / 2.0;
                // Writing to a String cannot fail.
                let _ = writeln!(
                    svg,
                    "<rect class=\"band\" x=\"0\" y=\"{top:.1}\" width=\"{width}\" height=\"{ROW_HEIGHT}\"/>"
                );
            }
            let class = if is_own(name) { "ours" } else { "" };
            text(svg, (CORNER.0 - 14.0, middle + 4.0), class, "end", name);
        }
    }

    fn draw_panel(&self, svg: &mut String, left: f64, active: u64) {
        let title = format!("{active} percent active");
        text(svg, (left, CORNER.1 - 32.0), "title", "start", &title);
        for power in self.scale.powers() {
            let x = self.scale.place(left, power);
            let height = self.height();
            let _ = writeln!(svg, "<path class=\"grid\" d=\"M{x:.1} {}v{height:.1}\"/>", CORNER.1);
            let digits = power.to_string();
            let words = if power < 1.0 { digits } else { thousands(&digits) };
            text(svg, (x, CORNER.1 - 10.0), "small", "middle", &words);
        }
        for (row, name) in self.samplers.iter().enumerate() {
            self.draw_row(svg, (left, Self::middle_of_row(row)), active, name);
        }
    }

    /// The marks of all sizes, a line through them, and what the largest one costs.
    fn draw_row(&self, svg: &mut String, (left, middle): (f64, f64), active: u64, name: &str) {
        let costs: Vec<_> = self.sizes.iter().map(|&size| self.cost(size, active, name)).collect();
        let top = middle - STEP * (costs.len().max(1) - 1) as f64 / 2.0;
        let place =
            |number: usize, cost| (self.scale.place(left, cost), top + STEP * number as f64);
        let known = costs.iter().enumerate().filter_map(|(n, &cost)| Some((n, place(n, cost?))));
        let known: Vec<(usize, (f64, f64))> = known.collect();
        let corners: Vec<_> = known.iter().map(|(_, (x, y))| format!("{x:.1} {y:.1}")).collect();
        if corners.len() > 1 {
            let _ = writeln!(svg, "<path class=\"reach\" d=\"M{}\"/>", corners.join("L"));
        }
        for (number, place) in known {
            SHAPES[number].draw(svg, place, self.class(self.sizes[number], name));
        }
        if let Some(cost) = costs.last().copied().flatten() {
            let right = left + PANEL_WIDTH + NUMBERS_WIDTH;
            text(svg, (right, middle + 4.0), "small", "end", &number(cost));
        }
    }

    fn cost(&self, processes: u64, active: u64, name: &str) -> Option<f64> {
        let mut sections = self.sections.iter();
        let section = sections.find(|s| (s.processes, s.active) == (processes, active))?;
        section.cpu_us(name)
    }

    /// How a mark is painted: filled at the largest size.
    fn class(&self, size: u64, name: &str) -> &'static str {
        match (self.sizes.last() == Some(&size), is_own(name)) {
            (true, true) => "mark own last",
            (true, false) => "mark last",
            (false, true) => "mark own",
            (false, false) => "mark",
        }
    }
}

fn is_own(name: &str) -> bool {
    name.starts_with("metrics-per-process")
}

impl Scale {
    fn of(sections: &[&Section]) -> Self {
        let costs = sections.iter().flat_map(|section| &section.rows).map(|row| row.cpu_us);
        let costs = costs.filter(|cost| *cost > 0.0);
        let (lowest, highest) =
            costs.fold((f64::MAX, 0.0_f64), |(low, high), cost| (low.min(cost), high.max(cost)));
        if highest <= 0.0 {
            return Scale { first: 1.0, last: 10.0 };
        }
        let first = 10f64.powf(lowest.log10().floor());
        let last = 10f64.powf(highest.log10().ceil());
        Scale { first, last: last.max(10.0 * first) }
    }

    /// The numbers that are written above a panel.
    fn powers(self) -> Vec<f64> {
        let powers = std::iter::successors(Some(self.first), |power| Some(power * 10.0));
        powers.take_while(|power| *power < self.last * 2.0).collect()
    }

    fn place(self, left: f64, cost: f64) -> f64 {
        let share = (cost / self.first).ln() / (self.last / self.first).ln();
        left + PANEL_WIDTH * share.clamp(0.0, 1.0)
    }
}

impl Shape {
    fn draw(self, svg: &mut String, (x, y): (f64, f64), class: &str) {
        let _ = match self {
            Shape::Circle => {
                writeln!(svg, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>")
            }
            Shape::Triangle => {
                let top = y - 3.6;
                writeln!(svg, "<path class=\"{class}\" d=\"M{x:.1} {top:.1}l3.6 6.4h-7.2z\"/>")
            }
            Shape::Square => {
                let (left, top) = (x - 3.0, y - 3.0);
                writeln!(svg, "<path class=\"{class}\" d=\"M{left:.1} {top:.1}h6v6h-6z\"/>")
            }
        };
    }
}

/// Three digits, more before a point.
fn number(cost: f64) -> String {
    match cost {
        _ if cost >= 99.95 => thousands(&format!("{cost:.0}")),
        _ if cost >= 9.995 => format!("{cost:.1}"),
        _ => format!("{cost:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::{row, section};
    use super::super::{PSUTIL, TIER_A};
    use super::*;

    #[test]
    fn a_scale_reaches_from_a_power_of_ten_to_another() {
        let check = |costs: &[f64], expected: &[f64]| {
            let rows = costs.iter().map(|&cost| row("top", cost)).collect();
            let section = section(1000, 0, rows);
            assert_eq!(Scale::of(&[&section]).powers(), expected, "{costs:?}");
        };
        check(&[0.9, 1160.0], &[0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0]);
        check(&[3.0, 4.0], &[1.0, 10.0]);
        check(&[], &[1.0, 10.0]);
    }

    #[test]
    fn costs_are_written_with_three_digits() {
        let written = [0.889, 9.996, 17.56, 171.9, 2250.4].map(number);
        assert_eq!(written, ["0.89", "10.0", "17.6", "172", "2,250"]);
    }

    #[test]
    fn every_sampler_of_every_panel_has_a_mark_for_each_size() {
        let rows = || vec![row(TIER_A, 1.0), row(PSUTIL, 150.0)];
        let sections = [
            section(FEW, 10, rows()),
            section(1000, 10, rows()),
            section(5000, 10, vec![row(TIER_A, 1.0)]),
            section(10_000, 10, rows()),
            section(10_000, 100, rows()),
        ];
        let svg = draw(&sections);
        // One more of each is in the key.
        let marks = |start: &str| svg.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!(marks("<circle class=\"mark"), 1 + 2);
        assert_eq!(svg.matches("l3.6 6.4h-7.2z").count(), 1 + 1);
        assert_eq!(svg.matches("h6v6h-6z").count(), 1 + 4);
        assert!(!svg.contains("500 processes"), "{svg}");
    }
}
