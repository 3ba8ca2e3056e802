//! An official client, kcat, reads what docs/events.md says.
