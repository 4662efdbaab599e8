//! The loss over all stages, as SVG.

use std::fmt::Write;

use crate::train::LogLine;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 40.0;
/// Losses are drawn on a logarithmic scale between these.
const LOWEST: f64 = 0.1;
const HIGHEST: f64 = 10.0;
const COLOURS: [&str; 4] = ["#1f6fb4", "#2a9d5c", "#d9822b", "#b5348f"];

/// A curve for each stage, one behind the other along the steps.
pub fn loss_plot(stages: &[(&str, Vec<LogLine>)]) -> String {
    let steps: f64 = stages
        .iter()
        .filter_map(|(_, log)| log.last())
        .map(|line| line.step as f64)
        .sum();
    let x = |step: f64| LEFT + step / steps.max(1.0) * (WIDTH - LEFT - RIGHT);
    let y = |loss: f64| {
        let height = (loss.clamp(LOWEST, HIGHEST) / LOWEST).ln() / (HIGHEST / LOWEST).ln();
        HEIGHT - BOTTOM - height * (HEIGHT - TOP - BOTTOM)
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    for loss in [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0] {
        let (y, end) = (y(loss), WIDTH - RIGHT);
        let _ = writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{end}\" stroke=\"#ddd\"/>");
        let (x, y) = (LEFT - 8.0, y + 4.0);
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\" fill=\"#444\">{loss}</text>"
        );
    }
    let mut before = 0.0;
    for ((name, log), colour) in stages.iter().zip(COLOURS) {
        let Some(last) = log.last() else { continue };
        let points: Vec<String> = log
            .iter()
            .map(|line| format!("{:.1},{:.1}", x(before + line.step as f64), y(line.loss)))
            .collect();
        let points = points.join(" ");
        let _ = writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>"
        );
        let middle = x(before + last.step as f64 / 2.0);
        let _ = writeln!(
            svg,
            "<text x=\"{middle:.1}\" y=\"22\" text-anchor=\"middle\" fill=\"{colour}\">{name}</text>"
        );
        before += last.step as f64;
        let at = x(before);
        let _ = writeln!(
            svg,
            "<path d=\"M{at:.1} {TOP}V{}\" stroke=\"#bbb\" stroke-dasharray=\"3 3\"/>",
            HEIGHT - BOTTOM
        );
    }
    let (middle, low) = ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 12.0);
    let _ = writeln!(
        svg,
        "<text x=\"{middle}\" y=\"{low}\" text-anchor=\"middle\" fill=\"#444\">steps, {steps:.0} in all (left: loss per learned token, in nats)</text>\n</svg>"
    );
    svg
}
