//! Pictures of curves: some panels, one below the other, readable on light and dark pages alike.

use std::fmt::Write as _;

const LEFT: f64 = 76.0;
const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 230.0;
/// Above and below a panel's curves: its title and legend, its scale.
const ABOVE: f64 = 88.0;
const BELOW: f64 = 48.0;

/// A curve, by the class that draws it.
pub(super) struct Curve {
    pub(super) class: &'static str,
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// Curves over one scale.
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) across: &'static str,
    pub(super) unit: &'static str,
    pub(super) curves: Vec<Curve>,
    /// What stands below the curves. In decades, or evenly.
    pub(super) marks: Vec<f64>,
    pub(super) decades: bool,
}

/// From `low` to `high` within `length`, in decades or evenly.
#[derive(Clone, Copy, Debug)]
struct Scale {
    low: f64,
    high: f64,
    length: f64,
    decades: bool,
}

impl Scale {
    fn at(self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let share = if self.decades {
            (value / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        share * self.length
    }

    /// Whole powers of ten, or whole parts of one, that hold all of these.
    fn around(values: impl Iterator<Item = f64>, length: f64, decades: bool) -> Self {
        let (low, high) = values
            .filter(|value| *value > 0.0)
            .fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), value| (low.min(value), high.max(value)));
        if !decades {
            let step = 10_f64.powf(high.log10().floor());
            return Self { low: 0.0, high: (high / step).ceil() * step, length, decades };
        }
        let (low, high) = (10_f64.powf(low.log10().floor()), 10_f64.powf(high.log10().ceil()));
        if low < high { Self { low, high, length, decades } } else { Self { low: 1.0, high: 10.0, length, decades } }
    }

    fn lines(self) -> Vec<f64> {
        if self.decades {
            core::iter::successors(Some(self.low), |value| Some(value * 10.0))
                .take_while(|value| *value <= self.high * 1.01)
                .collect()
        } else {
            (0..=4).map(|quarter| self.high * f64::from(quarter) / 4.0).collect()
        }
    }
}

fn draw(picture: &mut String, top: f64, panel: &Panel) {
    let Panel { title, across, unit, curves, marks, decades } = panel;
    let points = || curves.iter().flat_map(|curve| curve.points.iter());
    let y = Scale::around(points().map(|(_, y)| *y), HEIGHT, *decades);
    let (low, high) = marks.iter().fold((f64::MAX, f64::MIN), |(low, high), mark| (low.min(*mark), high.max(*mark)));
    let x = Scale { low, high, length: WIDTH, decades: *decades };
    let (upper, lower) = (top + ABOVE, top + ABOVE + HEIGHT);
    let _ = writeln!(picture, r#"<text class="title" x="{LEFT}" y="{:.0}">{title}</text>"#, top + 18.0);
    for value in y.lines() {
        let at = lower - y.at(value);
        let _ =
            writeln!(picture, r#"<line class="line" x1="{LEFT}" x2="{:.0}" y1="{at:.1}" y2="{at:.1}"/>"#, LEFT + WIDTH);
        let _ =
            writeln!(picture, r#"<text class="scale" x="{:.0}" y="{:.1}">{value} {unit}</text>"#, LEFT - 8.0, at + 4.0);
    }
    for mark in marks {
        let at = LEFT + x.at(*mark);
        let _ = writeln!(picture, r#"<text class="name" x="{at:.1}" y="{:.0}">{mark}</text>"#, lower + 18.0);
    }
    let _ = writeln!(
        picture,
        r#"<text class="name" x="{:.0}" y="{:.0}">{across}</text>"#,
        LEFT + WIDTH / 2.0,
        lower + 38.0
    );
    for (number, curve) in (0_u32..).zip(curves) {
        let place = |(across, up): &(f64, f64)| (LEFT + x.at(*across), lower - y.at(*up));
        let path: Vec<(f64, f64)> = curve.points.iter().filter(|(_, up)| *up > 0.0).map(place).collect();
        let text: Vec<String> = path.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let class = curve.class;
        let _ = writeln!(picture, r#"<polyline class="{class}" points="{}"/>"#, text.join(" "));
        for (x, y) in path.iter().filter(|_| *decades) {
            let _ = writeln!(picture, r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="2.5"/>"#);
        }
        // Three beside each other.
        let (left, height) = (LEFT + 210.0 * f64::from(number % 3), upper - 44.0 + 20.0 * f64::from(number / 3));
        let _ = writeln!(
            picture,
            r#"<line class="{class}" x1="{left:.0}" x2="{:.0}" y1="{height:.0}" y2="{height:.0}"/><text x="{:.0}" y="{:.0}">{}</text>"#,
            left + 28.0,
            left + 36.0,
            height + 4.0,
            curve.name
        );
    }
}

/// All of these, one below the other.
pub(super) fn picture(label: &str, panels: &[Panel]) -> String {
    let (mut drawn, mut top) = (String::new(), 0.0);
    for panel in panels {
        draw(&mut drawn, top, panel);
        top += ABOVE + HEIGHT + BELOW;
    }
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {:.0} {top:.0}" role="img" aria-label="{label}">
<style>
text {{ font: 12px system-ui, sans-serif; fill: #808080 }}
.name {{ text-anchor: middle }} .scale {{ text-anchor: end }} .title {{ font-size: 14px; font-weight: 600 }}
polyline, line {{ fill: none; stroke-width: 2 }}
.host {{ stroke: #2f7dd1 }} .mls {{ stroke: #3a9d5d }} .alone {{ stroke: #c98a2b }}
.others {{ stroke-dasharray: 8 4 }} .comes {{ stroke-dasharray: 2 4 }}
circle {{ stroke-dasharray: none; fill: none }}
line.line {{ stroke: #80808055; stroke-width: 1 }}
</style>
{drawn}</svg>
"##,
        LEFT + WIDTH + 24.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_hold_what_is_drawn() {
        let decades = Scale::around([3.0, 250.0].into_iter(), 300.0, true);
        assert_eq!(decades.lines(), [1.0, 10.0, 100.0, 1_000.0]);
        assert_eq!([1.0, 10.0, 1_000.0].map(|value| decades.at(value).round()), [0.0, 100.0, 300.0]);
        let evenly = Scale::around([700.0, 2_300.0].into_iter(), 300.0, false);
        assert_eq!((evenly.low, evenly.high, evenly.at(1_500.0)), (0.0, 3_000.0, 150.0));
    }

    #[test]
    fn a_picture_has_all_of_its_panels() {
        let panel = |title| Panel {
            title,
            across: "members",
            unit: "KiB",
            curves: vec![Curve { class: "host", name: "host".into(), points: vec![(2.0, 1.0), (10.0, 8.0)] }],
            marks: vec![2.0, 10.0],
            decades: true,
        };
        let picture = picture("both", &[panel("one"), panel("other")]);
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
        assert_eq!(picture.matches("<polyline").count(), 2);
    }
}
