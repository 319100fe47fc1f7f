//! The picture of what a change of key costs: bytes by members, both in decades.

use std::fmt::Write as _;

use super::traffic::{Cause, Change, kib};

const LEFT: f64 = 64.0;
const TOP: f64 = 96.0;
const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 300.0;

/// A curve: its class, its name, and what of a change it shows.
type Curve = (&'static str, &'static str, Cause, fn(&Change) -> u64);

/// Host blue, members ochre, as elsewhere; a leave is drawn through, the others are broken.
const CURVES: [Curve; 6] = [
    ("host", "host, one leaves", Cause::Leave, |change| both(change.host)),
    ("host joins", "host, one comes", Cause::Join, |change| both(change.host)),
    ("host timely", "host, it is time", Cause::Rotation, |change| both(change.host)),
    ("member", "a member, one leaves", Cause::Leave, |change| both(change.member)),
    ("member timely", "a member, it is time", Cause::Rotation, |change| both(change.member)),
    ("newcomer", "who comes", Cause::Join, |change| both(change.other)),
];

const fn both(traffic: super::world::Traffic) -> u64 {
    traffic.sent.bytes + traffic.received.bytes
}

/// A scale in decades: from `low` to `high` it takes `length`.
#[derive(Clone, Copy, Debug)]
struct Scale {
    low: f64,
    high: f64,
    length: f64,
}

impl Scale {
    fn at(self, value: f64) -> f64 {
        (value.max(self.low) / self.low).log10() / (self.high / self.low).log10() * self.length
    }

    /// Whole powers of ten, and what holds all of these.
    fn around(values: impl Iterator<Item = f64>, length: f64) -> Self {
        let (low, high) = values
            .filter(|value| *value > 0.0)
            .fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = (10_f64.powf(low.log10().floor()), 10_f64.powf(high.log10().ceil()));
        if low < high { Self { low, high, length } } else { Self { low: 1.0, high: 10.0, length } }
    }

    /// Its powers of ten.
    fn decades(self) -> impl Iterator<Item = f64> {
        core::iter::successors(Some(self.low), |value| Some(value * 10.0))
            .take_while(move |value| *value <= self.high * 1.01)
    }
}

/// Curves over the sizes that were measured. Readable on light and dark pages alike.
pub(super) fn picture(changes: &[Change]) -> String {
    let points = |(_, _, cause, pick): &Curve| -> Vec<(f64, f64)> {
        let of = changes.iter().filter(|change| change.cause == *cause);
        // Somebody who comes into an empty room, or is the last, sends and is sent nothing.
        of.map(|change| (count(change.size), kib(pick(change)))).filter(|(_, kib)| *kib > 0.0).collect()
    };
    let all: Vec<(f64, f64)> = CURVES.iter().flat_map(points).collect();
    let y = Scale::around(all.iter().map(|(_, kib)| *kib), HEIGHT);
    let sizes = || changes.iter().map(|change| count(change.size));
    let (least, most) = (sizes().fold(f64::MAX, f64::min), sizes().fold(1.0, f64::max));
    let x = Scale { low: least.min(most / 2.0), high: most, length: WIDTH };
    let (mut grid, mut curves, mut legend) = (String::new(), String::new(), String::new());
    for decade in y.decades() {
        let at = TOP + HEIGHT - y.at(decade);
        let _ =
            writeln!(grid, r#"<line class="line" x1="{LEFT}" x2="{:.0}" y1="{at:.1}" y2="{at:.1}"/>"#, LEFT + WIDTH);
        let _ = writeln!(grid, r#"<text class="scale" x="{:.0}" y="{:.1}">{decade} KiB</text>"#, LEFT - 8.0, at + 4.0);
    }
    let mut shown: Vec<usize> = changes.iter().map(|change| change.size).collect();
    shown.dedup();
    for size in shown {
        let at = LEFT + x.at(count(size));
        let _ = writeln!(grid, r#"<text class="name" x="{at:.1}" y="{:.0}">{size}</text>"#, TOP + HEIGHT + 20.0);
    }
    for (number, curve) in (0_u32..).zip(&CURVES) {
        let (class, name, ..) = curve;
        let place = |(size, kib): &(f64, f64)| (LEFT + x.at(*size), TOP + HEIGHT - y.at(*kib));
        let path: Vec<(f64, f64)> = points(curve).iter().map(place).collect();
        let text: Vec<String> = path.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(curves, r#"<polyline class="{class}" points="{}"/>"#, text.join(" "));
        for (x, y) in &path {
            let _ = writeln!(curves, r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="2.5"/>"#);
        }
        // Three beside each other, the host's above.
        let (left, top) = (LEFT + 210.0 * f64::from(number % 3), 44.0 + 20.0 * f64::from(number / 3));
        let _ = writeln!(
            legend,
            r#"<line class="{class}" x1="{left:.0}" x2="{:.0}" y1="{top:.0}" y2="{top:.0}"/><text x="{:.0}" y="{:.0}">{name}</text>"#,
            left + 28.0,
            left + 36.0,
            top + 4.0
        );
    }
    let (width, height) = (LEFT + WIDTH + 24.0, TOP + HEIGHT + 56.0);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" role="img" aria-label="Bytes about keys for each change, by members of the room">
<style>
text {{ font: 12px system-ui, sans-serif; fill: #808080 }}
.name, .axis {{ text-anchor: middle }} .scale {{ text-anchor: end }} .title {{ font-size: 14px; font-weight: 600 }}
polyline, line {{ fill: none; stroke-width: 2 }}
.host {{ stroke: #2f7dd1 }} .member {{ stroke: #c98a2b }} .newcomer {{ stroke: #3a9d5d }}
.joins {{ stroke-dasharray: 8 4 }} .timely {{ stroke-dasharray: 2 4 }}
circle {{ stroke-dasharray: none; fill: none }}
line.line {{ stroke: #80808055; stroke-width: 1 }}
</style>
<text class="title" x="{LEFT}" y="18">What a change of key costs, sent and received, by members of the room</text>
{legend}{grid}{curves}<text class="axis" x="{:.0}" y="{:.0}">members of the room</text>
</svg>
"##,
        LEFT + WIDTH / 2.0,
        TOP + HEIGHT + 44.0
    )
}

#[expect(clippy::cast_precision_loss, reason = "members of a room")]
const fn count(size: usize) -> f64 {
    size as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decades_are_as_far_from_each_other() {
        let scale = Scale::around([0.0, 3.0, 250.0].into_iter(), 300.0);
        assert_eq!(scale.decades().collect::<Vec<_>>(), [1.0, 10.0, 100.0, 1_000.0]);
        let places: Vec<f64> = scale.decades().map(|decade| scale.at(decade).round()).collect();
        assert_eq!(places, [0.0, 100.0, 200.0, 300.0]);
        assert_eq!(scale.at(0.1), 0.0, "nothing is drawn below the picture");
    }

    #[test]
    fn a_picture_of_nothing_is_one() {
        assert!(picture(&[]).ends_with("</svg>\n"));
        assert_eq!(Scale::around([].into_iter(), 10.0).decades().count(), 2);
    }
}
