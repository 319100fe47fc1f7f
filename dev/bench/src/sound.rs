//! Speech over bad paths: how much of it is heard, with forward error correction and without, as a table and a picture.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use undertone_testkit::{Heard, Loss, Weather, talk_through};

/// What is looked at: 30 ms of jitter on each.
const PATHS: &[(&str, Loss)] = &[
    ("1 %", Loss::Random(0.01)),
    ("5 %", Loss::Random(0.05)),
    ("10 %", Loss::Random(0.1)),
    ("20 %", Loss::Random(0.2)),
    ("10 % in bursts", Loss::Bursts { share: 0.1, length: 3.0 }),
];

/// Each path and what came of it, with forward error correction and without.
type Row = (&'static str, Heard, Heard);

/// Measures and prints a table in Markdown; the picture goes to `plot`.
pub(crate) fn measure(seconds: u64, plot: Option<&PathBuf>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut rows: Vec<Row> = Vec::new();
    println!("{} calls of {seconds} s each ...", 2 * PATHS.len());
    for (name, loss) in PATHS {
        let weather = Weather { loss: *loss, jitter: Duration::from_millis(30), seed: 7 };
        let with = runtime.block_on(talk_through("sound", weather, true, seconds))?;
        let without = runtime.block_on(talk_through("sound", weather, false, seconds))?;
        rows.push((name, with, without));
    }
    println!("\n| lost | of packets | whole | without FEC | longest hole | without | likeness | without | buffer |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (name, with, without) in &rows {
        println!(
            "| {name} | {:.1} % | {:.1} % | {:.1} % | {} ms | {} ms | {:.2} | {:.2} | {} ms |",
            with.lost,
            with.whole,
            without.whole,
            with.gap_ms,
            without.gap_ms,
            with.likeness,
            without.likeness,
            with.buffer_ms
        );
    }
    if let Some(path) = plot {
        std::fs::write(path, picture(&rows))?;
    }
    Ok(())
}

/// Where the picture's scale begins, in percent: what is below is not worth hearing.
const FLOOR: f64 = 70.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 60.0;
const HEIGHT: f64 = 240.0;
const STEP: f64 = 124.0;
const BAR: f64 = 40.0;

/// Bars: the percentage of frames that came whole. Readable on light and dark pages alike.
fn picture(rows: &[Row]) -> String {
    let y = |percent: f64| TOP + HEIGHT * (100.0 - percent.max(FLOOR)) / (100.0 - FLOOR);
    let (mut x, mut bars) = (LEFT, String::new());
    for (name, with, without) in rows {
        for (place, heard, class) in [(14.0, with, "with"), (14.0 + BAR + 6.0, without, "without")] {
            let (left, top) = (x + place, y(heard.whole));
            let _ = writeln!(
                bars,
                r#"<rect class="{class}" x="{left:.0}" y="{top:.1}" width="{BAR:.0}" height="{:.1}" rx="2"/>"#,
                TOP + HEIGHT - top
            );
            let _ = writeln!(
                bars,
                r#"<text x="{:.0}" y="{:.1}" class="value">{:.1}</text>"#,
                left + BAR / 2.0,
                top - 5.0,
                heard.whole
            );
        }
        let _ = writeln!(
            bars,
            r#"<text x="{:.0}" y="{:.0}" class="name">{name}</text>"#,
            x + STEP / 2.0,
            TOP + HEIGHT + 20.0
        );
        x += STEP;
    }
    let mut lines = String::new();
    for percent in [70.0, 80.0, 90.0, 97.0, 100.0] {
        let (class, y) = (if percent > 96.0 && percent < 98.0 { "aim" } else { "line" }, y(percent));
        let _ = writeln!(lines, r#"<line class="{class}" x1="{LEFT}" x2="{x}" y1="{y:.1}" y2="{y:.1}"/>"#);
        let _ =
            writeln!(lines, r#"<text class="scale" x="{:.0}" y="{:.1}">{percent:.0} %</text>"#, LEFT - 8.0, y + 4.0);
    }
    let (width, height) = (x + 20.0, TOP + HEIGHT + 40.0);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" role="img" aria-label="Frames heard whole, by packets lost">
<style>
text {{ font: 12px system-ui, sans-serif; fill: #808080 }}
.name, .value {{ text-anchor: middle }} .scale {{ text-anchor: end }} .title {{ font-size: 14px; font-weight: 600 }}
.with {{ fill: #2f7dd1 }} .without {{ fill: #c98a2b }}
.line {{ stroke: #80808055 }} .aim {{ stroke: #3a9d5d; stroke-dasharray: 5 4 }}
</style>
<text class="title" x="{LEFT}" y="18">Frames of speech heard whole, by what the path loses</text>
<rect class="with" x="{LEFT}" y="26" width="10" height="10"/><text x="{:.0}" y="35">with error correction</text>
<rect class="without" x="{:.0}" y="26" width="10" height="10"/><text x="{:.0}" y="35">without</text>
{lines}{bars}</svg>
"##,
        LEFT + 16.0,
        LEFT + 170.0,
        LEFT + 186.0
    )
}
