use domain::{OrderId, Sku};

use super::*;

type Headers = Vec<(&'static str, Vec<u8>)>;

fn event(stream: StreamName, metadata: &str) -> RecordedEvent {
    RecordedEvent {
        position: u64::MAX - 1,
        stream,
        revision: 7,
        id: EventId(Uuid::new_v4()),
        type_name: "order.placed.v2".into(),
        data: std::sync::Arc::from(*b"{\"order\" : \"as it was stored\"}"),
        metadata: metadata.as_bytes().into(),
        recorded_at: "2010-12-01T08:26:00.000001Z".parse().unwrap(),
        damage: None,
    }
}

fn decode_all(headers: &Headers, value: Option<&[u8]>) -> Result<(Uuid, RecordedEvent), MalformedMessage> {
    decode(headers.iter().map(|(name, value)| (*name, Some(&**value))), value)
}

#[test]
fn a_decoded_event_has_the_bytes_of_the_original() {
    let store_id = Uuid::new_v4();
    let id = Uuid::new_v4();
    let sku = StreamName::Stock(Sku::new("Käse, 1 kg/½").unwrap());
    let metadata = format!(
        r#"{{ "command_id":"{id}","command":"order.place","correlation_id":"{id}","causation_id":"{id}","later":1 }}"#
    );
    for (stream, metadata) in
        [(sku, metadata.as_str()), (OrderId(id).into(), "{}"), (OrderId(id).into(), "not even JSON")]
    {
        let event = event(stream, metadata);
        let headers = headers(&event, store_id);
        assert_eq!(decode_all(&headers, Some(&event.data)), Ok((store_id, event)));
    }
}

#[test]
fn the_headers_name_the_actor() {
    let id = Uuid::new_v4();
    let metadata = |actor: &str| {
        format!(r#"{{"command_id":"{id}","command":"order.place","correlation_id":"{id}"{actor}}}"#)
    };
    let of_person = metadata(r#","actor":{"principal":"shop","person":"Jana Müller"}"#);
    let of_earlier_build = metadata("");
    let actor_of = |metadata: &str| -> Headers {
        let headers = headers(&event(OrderId(id).into(), metadata), id);
        headers.into_iter().filter(|(name, _)| [ACTOR, PERSON].contains(name)).collect()
    };
    let expected = vec![(ACTOR, b"shop".to_vec()), (PERSON, "Jana Müller".into())];
    assert_eq!(actor_of(&of_person), expected);
    assert_eq!(actor_of(&of_earlier_build), vec![]);
}

#[test]
fn the_headers_name_the_trace_of_a_sampled_request() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let id = Uuid::new_v4();
    let trace_of = |more: &str| {
        let metadata = format!(r#"{{"command_id":"{id}","command":"c","correlation_id":"{id}"{more}}}"#);
        let headers = headers(&event(OrderId(id).into(), &metadata), id);
        headers.into_iter().find(|(name, _)| *name == TRACEPARENT).map(|(_, value)| value)
    };
    assert_eq!(trace_of(&format!(r#","traceparent":"{TRACE}""#)), Some(TRACE.into()));
    assert_eq!(trace_of(""), None);
}

#[test]
fn a_message_that_is_not_an_event_is_refused_and_the_error_names_the_header() {
    let event = event(OrderId(Uuid::new_v4()).into(), "{}");
    let intact = headers(&event, Uuid::new_v4());
    for header in [ID, SOURCE, TYPE, SUBJECT, TIME, REVISION, POSITION, METADATA] {
        let without: Headers = intact.iter().filter(|(name, _)| *name != header).cloned().collect();
        assert_eq!(decode_all(&without, Some(b"{}")), Err(MalformedMessage::Missing(header)));
    }
    for header in [ID, SOURCE, SUBJECT, TIME, REVISION, POSITION] {
        let mut broken = intact.clone();
        broken.iter_mut().find(|(name, _)| *name == header).unwrap().1 = b"-1\xff".to_vec();
        let error = decode_all(&broken, Some(b"{}")).unwrap_err();
        assert!(error.to_string().contains(header), "{error}");
    }
    assert_eq!(decode_all(&intact, None), Err(MalformedMessage::NoValue));
}
