//! The forms of the page of audits. Times are in the time zone of the person.

use maud::{Markup, html};

use super::auditor::ExportFormat;
use crate::pages::{format::field_time, view::View};

pub(super) fn verify(view: &View) -> Markup {
    html! {
        form.asked method="post" action="/audit/verify" {
            (view.form_token())
            button.primary { "Verify now" }
        }
    }
}

pub(super) fn totals(view: &View) -> Markup {
    html! {
        form.asked method="post" action="/audit/totals" {
            (view.form_token())
            (instant(view, "at", "All sums at"))
            button { "Add up" }
        }
    }
}

/// A form for one order or SKU, which needs no run.
pub(super) fn one(view: &View) -> Markup {
    html! {
        form.asked action="/audit/then" {
            label { span { "Order or SKU" } input name="of" size="28" required spellcheck="false"; }
            (instant(view, "at", "at"))
            button { "Show it then" }
        }
    }
}

pub(super) fn export(view: &View) -> Markup {
    html! {
        form.asked method="post" action="/audit/export" {
            (view.form_token())
            label { span { "From (or the begin of the log)" } input type="datetime-local" step="1" name="from"; }
            (instant(view, "to", "before"))
            label {
                span { "Format" }
                select name="format" {
                    @for format in ExportFormat::ALL { option value=(format.as_str()) { (format.as_str()) } }
                }
            }
            button { "Write the files" }
        }
    }
}

/// A field for an instant, which is now at first.
fn instant(view: &View, name: &str, label: &str) -> Markup {
    html! {
        label {
            span { (label) }
            input type="datetime-local" step="1" name=(name) required value=(field_time(view.now, view));
        }
    }
}
