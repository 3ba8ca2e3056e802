//! Draws events as dots in three lanes, in the order of the log, with an arrow from the cause of each.

use maud::{Markup, html};

/// The kind of stream that an event is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Order,
    Payment,
    Stock,
}

impl Lane {
    const ALL: [Self; 3] = [Self::Order, Self::Payment, Self::Stock];

    pub fn name(self) -> &'static str {
        match self {
            Self::Order => "Order",
            Self::Payment => "Payment",
            Self::Stock => "Stock",
        }
    }

    pub fn class(self) -> &'static str {
        match self {
            Self::Order => "of-order",
            Self::Payment => "of-payment",
            Self::Stock => "of-stock",
        }
    }

    fn y(self) -> usize {
        match self {
            Self::Order => 26,
            Self::Payment => 74,
            Self::Stock => 122,
        }
    }
}

/// An event.
pub(super) struct Dot {
    pub lane: Lane,
    pub title: String,
    /// The number of the event that caused it, from 1.
    pub cause: Option<usize>,
    /// True if it came after the state that is shown.
    pub is_later: bool,
}

const LEFT: usize = 84;
const STEP: usize = 38;
const RADIUS: usize = 11;
const HEIGHT: usize = 148;

fn x(number: usize) -> usize {
    LEFT + number * STEP - STEP / 2
}

/// The drawing. Its dots lead to the events below it.
pub(super) fn lanes(dots: &[Dot]) -> Markup {
    let width = LEFT + dots.len().max(6) * STEP + 10;
    html! {
        div.box.lanes role="region" aria-label="Events by stream" tabindex="0" {
            svg width=(width) height=(HEIGHT) viewBox={ "0 0 " (width) " " (HEIGHT) } role="group"
                aria-label="Events in the order of the log; arrows lead from causes to effects" {
                defs {
                    marker #arrow viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto" {
                        path d="M0 0.8 L7 4 L0 7.2 z" {}
                    }
                }
                @for lane in Lane::ALL {
                    text.name x="0" y=(lane.y() + 4) { (lane.name()) }
                    line class={ "rail " (lane.class()) } x1=(LEFT - 14) x2=(width - 4) y1=(lane.y()) y2=(lane.y()) {}
                }
                @for (number, dot) in (1..).zip(dots) {
                    @if let Some(from) = cause_of(dots, number, dot) {
                        path.arrow d=(arrow(from, (number, dot.lane))) marker-end="url(#arrow)" {}
                    }
                }
                @for (number, dot) in (1..).zip(dots) {
                    a class=[dot.is_later.then_some("later")] href={ "#e" (number) } aria-label={ (number) " " (dot.lane.name()) ": " (dot.title) } {
                        title { (number) " " (dot.title) }
                        circle class={ "dot " (dot.lane.class()) } cx=(x(number)) cy=(dot.lane.y()) r=(RADIUS) {}
                        text.in x=(x(number)) y=(dot.lane.y() + 4) text-anchor="middle" { (number) }
                    }
                }
            }
        }
    }
}

/// The dot that an arrow comes from. The log has a cause before its effects.
fn cause_of(dots: &[Dot], number: usize, dot: &Dot) -> Option<(usize, Lane)> {
    let cause = dot.cause.filter(|cause| (1..number).contains(cause))?;
    dots.get(cause - 1).map(|from| (cause, from.lane))
}

/// A curve between two dots. Within a lane it is an arc above it; between lanes it leaves and arrives sideways.
fn arrow((cause, from): (usize, Lane), (effect, to): (usize, Lane)) -> String {
    let (x1, y1, x2, y2) = (x(cause), from.y(), x(effect), to.y());
    if from == to {
        let top = y1 - RADIUS - 8;
        return format!("M{x1} {} C{x1} {top} {x2} {top} {x2} {}", y1 - RADIUS, y2 - RADIUS - 1);
    }
    let is_down = y2 > y1;
    let (start, end) = if is_down { (y1 + RADIUS, y2 - RADIUS - 1) } else { (y1 - RADIUS, y2 + RADIUS + 1) };
    let middle = usize::midpoint(start, end);
    format!("M{x1} {start} C{x1} {middle} {x2} {middle} {x2} {end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_leads_from_each_known_cause() {
        let dot = |lane, cause| Dot { lane, title: "<Placed>".to_owned(), cause, is_later: false };
        let dots = [dot(Lane::Order, None), dot(Lane::Stock, Some(1)), dot(Lane::Order, Some(9))];
        let drawn = lanes(&dots).into_string();
        assert_eq!(drawn.matches("class=\"arrow\"").count(), 1);
        assert_eq!(drawn.matches("<circle").count(), 3);
        assert!(drawn.contains("&lt;Placed&gt;"));
    }
}
