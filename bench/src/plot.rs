//! The result as one SVG picture, written by hand: rates of appending, its slowest hundredth, growth, and the goals.

use std::{fmt::Write as _, path::Path};

use anyhow::Context as _;

use crate::{
    goal::{Goal, Wanted},
    report::{Row, find},
};

const WIDTH: f64 = 1_040.0;
const LEFT: f64 = 80.0;
const PANEL: f64 = 250.0;
const BAR_HEIGHT: f64 = 18.0;

/// The subjects of appending, with a colour that people of every sight can tell apart.
const COLOURS: &[(&str, &str)] =
    &[("hub", "#0072b2"), ("postgres-es", "#d55e00"), ("esrs", "#009e73"), ("pgbench", "#7f7f7f")];

const CLIENTS: &[usize] = &[1, 8, 32, 64];

/// Writes the picture.
pub fn write(path: &Path, rows: &[Row], goals: &[Goal], machine: &str) -> anyhow::Result<()> {
    let svg = draw(rows, goals, machine)?;
    std::fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))
}

fn draw(rows: &[Row], goals: &[Goal], machine: &str) -> anyhow::Result<String> {
    let measured: Vec<&Goal> = goals.iter().filter(|goal| goal.measured.is_some_and(|value| value > 0.0)).collect();
    let goals_top = 70.0 + 2.0 * (PANEL + 90.0);
    #[expect(clippy::cast_precision_loss, reason = "a handful of goals")]
    let height = goals_top + measured.len() as f64 * (BAR_HEIGHT + 8.0) + 70.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    text(&mut svg, (LEFT, 24.0), "start", 16, "Service Hub: make bench")?;
    text(&mut svg, (LEFT, 42.0), "start", 10, machine)?;
    let half = (WIDTH - LEFT) / 2.0;
    let rate = |clients, subject: &str| find(rows, "append", clients, subject).map(|row| row.per_second);
    let p99 = |clients, subject: &str| find(rows, "append", clients, subject).and_then(|row| row.p99_ms);
    bars(&mut svg, (LEFT, 70.0, half - 60.0), "append: commands a second, by clients", &rate)?;
    bars(&mut svg, (LEFT + half, 70.0, half - 60.0), "append: 99th percentile in ms, by clients", &p99)?;
    growth(&mut svg, (LEFT, 70.0 + PANEL + 90.0, half - 60.0), rows)?;
    others(&mut svg, (LEFT + half, 70.0 + PANEL + 90.0), rows)?;
    goal_bars(&mut svg, goals_top, &measured)?;
    svg += "</svg>\n";
    Ok(svg)
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, size: u32, content: &str) -> std::fmt::Result {
    let content = content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{content}</text>",
        at.0, at.1
    )
}

fn rect(svg: &mut String, (x, y, width, height): (f64, f64, f64, f64), colour: &str) -> std::fmt::Result {
    writeln!(svg, "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>")
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) -> std::fmt::Result {
    writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>",
        from.0, from.1, to.0, to.1
    )
}

/// The axis from 0 to `most`, with lines at round figures.
fn axis(svg: &mut String, (x, top, width): (f64, f64, f64), most: f64) -> std::fmt::Result {
    let step = round_step(most / 5.0);
    let mut value = 0.0;
    while value <= most {
        let y = top + PANEL - value / most * PANEL;
        line(svg, (x, y), (x + width, y), "#dddddd")?;
        text(svg, (x - 6.0, y + 4.0), "end", 11, &short(value))?;
        value += step;
    }
    Ok(())
}

/// 1, 2 or 5 times a power of ten, at least `wanted`.
fn round_step(wanted: f64) -> f64 {
    let power = 10_f64.powf(wanted.max(1e-6).log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= wanted).unwrap_or(10.0 * power)
}

fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.1}M", value / 1e6),
        value if value >= 10_000.0 => format!("{:.0}k", value / 1e3),
        value if value >= 1_000.0 => format!("{:.1}k", value / 1e3),
        value if value >= 10.0 => format!("{value:.0}"),
        value => format!("{value:.1}"),
    }
}

type Figure<'a> = &'a dyn Fn(usize, &str) -> Option<f64>;

fn bars(svg: &mut String, place: (f64, f64, f64), title: &str, figure: Figure<'_>) -> std::fmt::Result {
    let (x, top, width) = place;
    text(svg, (x, top - 8.0), "start", 13, title)?;
    let all =
        CLIENTS.iter().flat_map(|&clients| COLOURS.iter().filter_map(move |(subject, _)| figure(clients, subject)));
    let most = all.fold(0.0, f64::max) * 1.1;
    if most <= 0.0 {
        return text(svg, (x, top + PANEL / 2.0), "start", 12, "not run");
    }
    axis(svg, place, most)?;
    let group = width / 4.0;
    let bar = group / 5.5;
    let mut left = x;
    for &clients in CLIENTS {
        let mut at = left + bar * 0.75;
        for (subject, colour) in COLOURS {
            if let Some(value) = figure(clients, subject) {
                let height = value / most * PANEL;
                rect(svg, (at, top + PANEL - height, bar * 0.9, height), colour)?;
                text(svg, (at + bar * 0.45, top + PANEL - height - 3.0), "middle", 8, &short(value))?;
            }
            at += bar;
        }
        text(svg, (left + group / 2.0, top + PANEL + 16.0), "middle", 12, &format!("{clients}"))?;
        left += group;
    }
    let mut at = x;
    for (subject, colour) in COLOURS {
        rect(svg, (at, top + PANEL + 28.0, 11.0, 11.0), colour)?;
        text(svg, (at + 15.0, top + PANEL + 38.0), "start", 11, subject)?;
        at += 95.0;
    }
    Ok(())
}

fn growth(svg: &mut String, place: (f64, f64, f64), rows: &[Row]) -> std::fmt::Result {
    let (x, top, width) = place;
    text(svg, (x, top - 8.0), "start", 13, "growth: commands a second at 32 clients, by events in the log")?;
    let sizes: Vec<(&str, f64)> = crate::workload::SIZES
        .iter()
        .filter_map(|size| Some((size.name, find(rows, "growth", 32, &format!("hub@{}", size.name))?.per_second)))
        .collect();
    let most = sizes.iter().map(|(_, value)| *value).fold(0.0, f64::max) * 1.1;
    if most <= 0.0 {
        return text(svg, (x, top + PANEL / 2.0), "start", 12, "not run");
    }
    axis(svg, place, most)?;
    let mut left = x;
    for (name, value) in sizes {
        let height = value / most * PANEL;
        rect(svg, (left + width / 16.0, top + PANEL - height, width / 8.0, height), "#0072b2")?;
        text(svg, (left + width / 8.0, top + PANEL - height - 4.0), "middle", 11, &short(value))?;
        text(svg, (left + width / 8.0, top + PANEL + 16.0), "middle", 12, name)?;
        left += width / 4.0;
    }
    Ok(())
}

/// What has too different scales for one picture, as a list.
fn others(svg: &mut String, (x, top): (f64, f64), rows: &[Row]) -> std::fmt::Result {
    text(svg, (x, top - 8.0), "start", 13, "the other workloads: a second; p50 and p99 in ms")?;
    let mut y = top + 12.0;
    for row in rows.iter().filter(|row| row.workload != "append" && row.workload != "growth") {
        let ms = |value: Option<f64>| value.map_or_else(String::new, |ms| format!("{ms:.2}"));
        text(svg, (x, y), "start", 11, &format!("{} ({})", row.workload, row.clients))?;
        text(svg, (x + 110.0, y), "start", 11, &row.subject)?;
        text(svg, (x + 270.0, y), "end", 11, &short(row.per_second))?;
        text(svg, (x + 330.0, y), "end", 11, &ms(row.p50_ms))?;
        text(svg, (x + 390.0, y), "end", 11, &ms(row.p99_ms))?;
        y += 14.0;
    }
    Ok(())
}

/// How far each goal is reached, on a scale of halves and doubles; the line in the middle is the goal itself.
fn goal_bars(svg: &mut String, top: f64, goals: &[&Goal]) -> std::fmt::Result {
    let (x, width) = (LEFT + 360.0, WIDTH - LEFT - 560.0);
    text(
        svg,
        (LEFT, top - 8.0),
        "start",
        13,
        "goals: measured against wanted, from a quarter to four times (right of the line is reached)",
    )?;
    let mut y = top + 8.0;
    for goal in goals {
        let measured = goal.measured.unwrap_or_default();
        let share = match goal.wanted {
            Wanted::AtLeast(wanted) => measured / wanted,
            Wanted::AtMost(wanted) => wanted / measured,
        };
        let place = x + width * (share.log2().clamp(-2.0, 2.0) + 2.0) / 4.0;
        let colour = if share >= 1.0 { "#009e73" } else { "#d55e00" };
        rect(svg, (x, y, place - x, BAR_HEIGHT), colour)?;
        text(svg, (x - 8.0, y + 13.0), "end", 11, &goal.what)?;
        text(
            svg,
            (x + width + 8.0, y + 13.0),
            "start",
            11,
            &format!("{} ({})", goal.measured_text(), goal.wanted_text()),
        )?;
        y += BAR_HEIGHT + 8.0;
    }
    line(svg, (x + width / 2.0, top), (x + width / 2.0, y), "black")
}

#[cfg(test)]
mod tests {
    use super::{draw, round_step};

    #[test]
    fn a_picture_is_drawn_of_nothing_too() {
        let svg = draw(&[], &[], "a < b").unwrap();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.contains("a &lt; b"), "{svg}");
    }

    #[test]
    fn steps_are_round() {
        assert!((round_step(1_300.0) - 2_000.0).abs() < 1e-6);
        assert!((round_step(0.3) - 0.5).abs() < 1e-9);
    }
}
