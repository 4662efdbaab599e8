//! A benchmark's figures as text, at most 80 columns wide.

use std::fmt::Write;

use mobilemoe_web::engine::bench::{KernelProfile, Spread};

use super::{Measured, speedups};
use crate::terminal::{bold, short_bytes, thousands};

pub fn of(measured: &Measured) -> String {
    let report = &measured.report;
    let mut out = format!("{}\n", bold(&measured.name));
    let mut line = |label: &str, text: String| {
        let _ = writeln!(out, "  {label:<12} {text}");
    };
    line("adapter", format!("{} ({})", report.adapter, report.backend));
    // Names of forms may be long.
    for (i, form) in report.variant.split(", ").enumerate() {
        line(if i == 0 { "variant" } else { "" }, form.into());
    }
    line("cache", format!("{:?}, chunks of {}", report.kv, report.chunk_tokens));
    line(
        "memory",
        format!(
            "{} on the GPU, {} of them weights; loaded in {}",
            short_bytes(report.gpu_bytes),
            short_bytes(report.weight_bytes),
            time(measured.load_ms)
        ),
    );
    if let Some(per_token) = &report.per_token {
        let count = |count: f64| thousands(count.round() as u64);
        line(
            "a token",
            format!(
                "{} dispatches, {} pass, {} submit, {} bytes read back",
                count(per_token.dispatches_per_token),
                count(per_token.passes_per_token),
                count(per_token.submits_per_token),
                count(per_token.readback_bytes_per_token)
            ),
        );
        line(
            "",
            format!(
                "{} bind groups and {} buffers made, {} buffer writes",
                count(per_token.bind_groups_created_per_token),
                count(per_token.buffers_created_per_token),
                count(per_token.buffer_writes_per_token)
            ),
        );
    }
    line(
        "",
        format!(
            "{} of weights read; {:.3} times the least, {}",
            short_bytes(report.weight_bytes_per_token),
            report.weight_bytes_per_token as f64 / report.min_weight_bytes_per_token as f64,
            short_bytes(report.min_weight_bytes_per_token)
        ),
    );

    if report.read_gb_per_s > 0.0 {
        let reached = report.decode.first().map_or(String::new(), |figure| {
            let share = 100.0 * figure.gb_per_s / report.read_gb_per_s;
            format!("; decoding reaches {share:.0}% of it")
        });
        line(
            "memory gives",
            format!("{:.2} GB/s to plain reading{reached}", report.read_gb_per_s),
        );
    }

    if let Some(shortest) = report.decode.first() {
        let _ = writeln!(
            out,
            "\n{}",
            bold("  Decode after    ms/token   from       to         runs  tokens/s  speed   GB/s")
        );
        for figure in &report.decode {
            let median = figure.ms_per_token.median;
            let _ = writeln!(
                out,
                "  {:<14}  {}  {:>8.2}  {:>4.0}%  {:>5.2}",
                thousands(figure.context as u64),
                spread(&figure.ms_per_token),
                1e3 / median,
                100.0 * shortest.ms_per_token.median / median,
                figure.gb_per_s
            );
        }
    }
    if !report.prefill.is_empty() {
        let _ = writeln!(
            out,
            "\n{}",
            bold("  Prefill of       tokens/s   from       to         runs  experts used")
        );
        for figure in &report.prefill {
            let prompt = format!("{} {}", thousands(figure.prompt_tokens as u64), figure.stream);
            let experts = match measured.experts {
                0 => "none".into(),
                experts => format!(
                    "{:.0}/{experts} by {}",
                    figure.experts_used, figure.experts_used_by_tokens
                ),
            };
            let part = match figure.measured_tokens < figure.prompt_tokens {
                true => format!("; first {}", thousands(figure.measured_tokens as u64)),
                false => String::new(),
            };
            let _ = writeln!(out, "  {prompt:<15}  {}  {experts}{part}", spread(&figure.tokens_per_s));
        }
    }
    if let Some(profile) = &report.profile {
        let decode = format!("Decode after {}", thousands(profile.decode_context as u64));
        let prefill = format!("Prefill of {}", thousands(profile.prefill_tokens as u64));
        kernels(&mut out, &decode, &profile.decode);
        kernels(&mut out, &prefill, &profile.prefill);
    }
    if report.aborted {
        out += "\n  Ended early.\n";
    }
    out + "\n"
}

/// GPU time by kernel.
fn kernels(out: &mut String, title: &str, kernels: &[KernelProfile]) {
    let total_ms: f64 = kernels.iter().map(|kernel| kernel.ms).sum();
    let heading = format!(
        "  {title:<20} {:>10}  share  dispatches  {:>8}   GB/s",
        "GPU ms", "read"
    );
    let _ = writeln!(out, "\n{}", bold(&heading));
    let mut row = |name: &str, ms: f64, dispatches: f64, read: Option<u64>| {
        let bytes = read.map_or(String::new(), short_bytes);
        let rate = read.map_or(String::new(), |bytes| format!("{:.2}", bytes as f64 / ms / 1e6));
        let share = 100.0 * ms / total_ms;
        let line = format!("  {name:<20} {ms:>10.3} {share:>5.1}%  {dispatches:>10}  {bytes:>8}  {rate:>5}");
        let _ = writeln!(out, "{}", line.trim_end());
    };
    for kernel in kernels {
        row(kernel.kernel, kernel.ms, kernel.dispatches, kernel.bytes);
    }
    let dispatches = kernels.iter().map(|kernel| kernel.dispatches).sum();
    let read: u64 = kernels.iter().filter_map(|kernel| kernel.bytes).sum();
    row("in all", total_ms, dispatches, Some(read).filter(|read| *read > 0));
}

/// How many times as fast the first model is.
pub fn comparison(first: &Measured, other: &Measured) -> String {
    let mut out = format!("{}\n", bold(&format!("{} over {}", first.name, other.name)));
    for (figure, ratio) in speedups(first, other) {
        let _ = writeln!(out, "  {figure:<32} {ratio:>6.2} x");
    }
    out + "\n"
}

/// Median, least and most, each in 9 columns, and the number of runs.
fn spread(spread: &Spread) -> String {
    let number = |value: f64| {
        let decimals = match value {
            _ if value < 10.0 => 3,
            _ if value < 100.0 => 2,
            _ if value < 1_000.0 => 1,
            _ => 0,
        };
        format!("{value:.decimals$}")
    };
    format!(
        "{:>8}  {:>8}  {:>8}  {:>4}",
        number(spread.median),
        number(spread.min),
        number(spread.max),
        spread.runs
    )
}

fn time(ms: f64) -> String {
    if ms < 1_000.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.1} s", ms / 1e3)
    }
}
