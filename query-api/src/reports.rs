//! What the reports share: the time that they cover, and groups of time.

use domain::Timestamp;
use infra::{
    http::parameters::{FromParameters, Parameters, check_range, local_instant},
    read_models::{TimeGroup, TimeRange, quarter_of, starts_quarter},
};
use jiff::tz::TimeZone;
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{Object, RefOr, Schema, Type},
};

pub(crate) const TIME_GROUPS: [TimeGroup; 3] = [TimeGroup::Hour, TimeGroup::Day, TimeGroup::Month];

pub(crate) fn time_group_name(group: TimeGroup) -> &'static str {
    match group {
        TimeGroup::Hour => "hour",
        TimeGroup::Day => "day",
        TimeGroup::Month => "month",
    }
}

/// Describes `group_by`.
#[derive(Debug)]
pub(crate) enum TimeGroupWord {}

impl PartialSchema for TimeGroupWord {
    fn schema() -> RefOr<Schema> {
        let words = TIME_GROUPS.map(time_group_name);
        Object::builder().schema_type(Type::String).enum_values(Some(words)).into()
    }
}

impl ToSchema for TimeGroupWord {}

/// The time that a report covers.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReportTime {
    /// At this instant or later: a whole quarter hour, or a date, which means its first instant in `time_zone`.
    #[param(value_type = Option<String>, example = "2010-12-01")]
    from: Option<i64>,
    /// Before this instant: as for `from`.
    #[param(value_type = Option<String>, example = "2011-01-01T00:00:00Z")]
    to: Option<i64>,
    /// The zone of the IANA database whose hours, days and months the groups are. If omitted: UTC.
    #[param(value_type = Option<String>, example = "Europe/London")]
    time_zone: TimeZone,
}

impl FromParameters for ReportTime {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let time_zone = parameters.optional("time_zone", zone).unwrap_or(TimeZone::UTC);
        let from = parameters.optional("from", |text| quarter(text, &time_zone));
        let to = parameters.optional("to", |text| quarter(text, &time_zone));
        check_range(parameters, from, ("to", to));
        Some(Self { from, to, time_zone })
    }
}

impl ReportTime {
    pub(crate) fn range(&self) -> TimeRange {
        TimeRange { from: self.from, to: self.to, zone: self.time_zone.clone() }
    }

    pub(crate) fn zone_name(&self) -> String {
        zone_name(&self.time_zone)
    }
}

pub(crate) fn zone_name(zone: &TimeZone) -> String {
    zone.iana_name().unwrap_or("UTC").to_owned()
}

pub(crate) fn zone(text: &str) -> Result<TimeZone, &'static str> {
    TimeZone::get(text).map_err(|_| "is no time zone of the IANA database, such as Europe/London")
}

fn quarter(text: &str, zone: &TimeZone) -> Result<i64, &'static str> {
    let at: Timestamp = local_instant(text, zone)?;
    if starts_quarter(at) {
        Ok(quarter_of(at))
    } else {
        Err("is not a whole quarter hour, the finest span of reports")
    }
}
