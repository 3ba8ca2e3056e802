//! Charts, as SVG without styles of their own: the style sheet colours them.

use maud::{Markup, PreEscaped, html};
use plotters::{
    backend::SVGBackend,
    chart::ChartBuilder,
    drawing::{DrawingAreaErrorKind, IntoDrawingArea},
    element::Rectangle,
    series::LineSeries,
    style::{Color, RGBColor, ShapeStyle, TextStyle},
};

const WIDTH: u32 = 760;
const HEIGHT: u32 = 220;
/// The style sheet replaces these colours by those of the theme.
const BARS: RGBColor = RGBColor(1, 1, 1);
const LINE: RGBColor = RGBColor(2, 2, 2);
const GRID: RGBColor = RGBColor(3, 3, 3);
const WORDS: RGBColor = RGBColor(4, 4, 4);

/// Counts of the hours of a day, and of the day before.
pub(super) struct ByHour {
    pub today: [i64; 24],
    pub yesterday: [i64; 24],
}

/// A chart with bars for today and a line for yesterday, and the same figures as a table.
pub(super) fn by_hour(counts: &ByHour) -> Markup {
    let label = "Orders by hour: today as bars, yesterday as a line";
    html! {
        figure.chart {
            div.box role="img" aria-label=(label) {
                @match drawn(counts) {
                    Ok(svg) => (PreEscaped(svg)),
                    Err(error) => { (log_failure(&error)) p.muted { "The chart cannot be drawn." } },
                }
            }
            figcaption {
                span.key.bars { "today" } " " span.key.line { "yesterday" }
                details {
                    summary { "As a table" }
                    table {
                        caption.visually-hidden { (label) }
                        thead { tr { th { "Hour" } th.number { "Today" } th.number { "Yesterday" } } }
                        tbody {
                            @for hour in 0..24 {
                                tr {
                                    td { (format!("{hour:02}:00")) }
                                    td.number { (counts.today[hour]) }
                                    td.number { (counts.yesterday[hour]) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

const SPARK_WIDTH: u32 = 120;
const SPARK_HEIGHT: u32 = 26;

/// A small line of values, the latest at the right, with its least, greatest and latest value in words.
pub(super) fn sparkline(values: &[f64], unit: &str) -> Markup {
    let [_, .., last] = values else { return html! { span.muted { "not enough samples yet" } } };
    let (least, most) =
        (values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(0.0, f64::max));
    let label = format!("{least:.0} to {most:.0} {unit}, now {last:.0}");
    html! {
        span.chart.spark role="img" aria-label=(label) title=(label) {
            @match spark(values, most) {
                Ok(svg) => (PreEscaped(svg)),
                Err(error) => (log_failure(&error)),
            }
        }
    }
}

fn spark(values: &[f64], most: f64) -> Result<String, DrawingAreaErrorKind<std::io::Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (SPARK_WIDTH, SPARK_HEIGHT)).into_drawing_area();
        let last = values.len().saturating_sub(1).max(1);
        let mut chart = ChartBuilder::on(&area).margin(2).build_cartesian_2d(0..last, 0.0..most.max(1.0))?;
        let style = ShapeStyle { color: LINE.to_rgba(), filled: false, stroke_width: 2 };
        chart.draw_series(LineSeries::new(values.iter().copied().enumerate(), style))?;
        area.present()?;
    }
    Ok(svg)
}

fn log_failure(error: &DrawingAreaErrorKind<std::io::Error>) -> Markup {
    tracing::warn!(%error, "Cannot draw a chart; its page is shown without it");
    html! {}
}

fn drawn(counts: &ByHour) -> Result<String, DrawingAreaErrorKind<std::io::Error>> {
    let mut svg = String::new();
    let highest = counts.today.iter().chain(&counts.yesterday).copied().max().unwrap_or_default().max(4);
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(6)
            .x_label_area_size(24)
            .y_label_area_size(44)
            .build_cartesian_2d(0.0..24.0, 0.0..rounded(highest))?;
        let words = TextStyle::from(("sans-serif", 11)).color(&WORDS);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(GRID.mix(0.0))
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_labels(13)
            .y_labels(5)
            .x_label_formatter(&|hour| format!("{hour:.0}"))
            .y_label_formatter(&|count| format!("{count:.0}"))
            .label_style(words)
            .draw()?;
        let bars = (0_u32..).zip(&counts.today).filter(|(_, count)| **count > 0).map(|(hour, count)| {
            let left = f64::from(hour);
            Rectangle::new([(left + 0.14, 0.0), (left + 0.86, to_f64(*count))], BARS.filled())
        });
        chart.draw_series(bars)?;
        let points =
            (0_u32..).zip(&counts.yesterday).map(|(hour, count)| (f64::from(hour) + 0.5, to_f64(*count)));
        let style = ShapeStyle { color: LINE.to_rgba(), filled: false, stroke_width: 2 };
        chart.draw_series(LineSeries::new(points, style))?;
        area.present()?;
    }
    Ok(svg)
}

/// A height that labels divide evenly.
fn rounded(highest: i64) -> f64 {
    let mut step = 4;
    while step < highest {
        step = if step.to_string().starts_with('8') { step / 2 * 5 } else { step * 2 };
    }
    to_f64(step)
}

#[expect(clippy::cast_precision_loss, reason = "a pixel is far coarser")]
fn to_f64(count: i64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_says_its_values_and_needs_two() {
        let html = sparkline(&[3.0, 0.0, 7.0], "events").into_string();
        assert!(html.contains("aria-label=\"0 to 7 events, now 7\"") && html.contains("#020202"), "{html}");
        assert!(!sparkline(&[3.0], "events").into_string().contains("<svg"));
    }

    #[test]
    fn a_chart_has_a_bar_for_each_hour_with_orders_and_no_style_of_its_own() {
        let mut counts = ByHour { today: [0; 24], yesterday: [1; 24] };
        (counts.today[8], counts.today[9]) = (3, 1_250);
        let svg = drawn(&counts).unwrap();
        assert_eq!(svg.matches("fill=\"#010101\"").count(), 2);
        assert!(!svg.contains("style="), "{svg}");
    }
}
