//! The messages of `messages.proto`, which `build.rs` compiles.

#[allow(clippy::pedantic, reason = "generated code")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/eventstoredb.rs"));
}

pub use self::generated::{
    all_options::From as AllFrom,
    append_request::Part as AppendPart,
    append_response::Result as AppendResult,
    appended::{LastRevision, Position as AppendedAt},
    batch_append_response::Result as BatchAppendResult,
    filter_options::{On as FilterOn, Window as FilterWindow},
    read_options::{Count as ReadCount, Filter as ReadFilter, From as ReadFrom},
    read_response::Content as ReadContent,
    stream_options::From as StreamFrom,
    uuid_option::Content as UuidContent,
    write_options::Expected,
    wrong_version::{Current as CurrentVersion, Expected as ExpectedVersion},
    wrong_version_detail::{Current as CurrentDetail, Expected as ExpectedDetail},
    *,
};

impl WireUuid {
    pub fn text(id: uuid::Uuid) -> Self {
        Self { form: Some(wire_uuid::Form::Text(id.to_string())) }
    }

    pub fn structured(id: uuid::Uuid) -> Self {
        let (most, least) = id.as_u64_pair();
        let halves =
            UuidHalves { most_significant: most.cast_signed(), least_significant: least.cast_signed() };
        Self { form: Some(wire_uuid::Form::Structured(halves)) }
    }

    /// `None` for a text that is no UUID.
    pub fn read(&self) -> Option<uuid::Uuid> {
        match self.form.as_ref()? {
            wire_uuid::Form::Text(text) => text.parse().ok(),
            wire_uuid::Form::Structured(UuidHalves { most_significant, least_significant }) => {
                Some(uuid::Uuid::from_u64_pair(
                    most_significant.cast_unsigned(),
                    least_significant.cast_unsigned(),
                ))
            }
        }
    }
}
