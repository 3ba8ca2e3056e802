use domain::Sku;

use super::*;

struct Wanted {
    below: Option<u32>,
    sku: Sku,
}

impl FromParameters for Wanted {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let below = parameters.optional("below", whole_number);
        let sku = parameters.required("sku", Sku::new);
        Some(Self { below, sku: sku? })
    }
}

/// The value read, or `field: message` of each error.
fn read(query: &str) -> Result<Wanted, Vec<String>> {
    let uri = format!("/v1/things?{query}").parse().unwrap();
    let mut parameters = Parameters::parse(&uri);
    let read = Wanted::read(&mut parameters);
    let errors = parameters.errors();
    if errors.is_empty() {
        return Ok(read.unwrap());
    }
    Err(errors.into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect())
}

fn list_id(uri: &str) -> Uuid {
    Parameters::parse(&uri.parse().unwrap()).list_id()
}

#[test]
fn values_are_form_decoded() {
    let wanted = read("sku=GIFT+SET%2F%C3%A9%2B&below=7").unwrap_or_else(|errors| panic!("{errors:?}"));
    assert_eq!((wanted.sku.as_str(), wanted.below), ("GIFT SET/é+", Some(7)));
}

#[test]
fn one_answer_names_every_error() {
    let errors = read("below=-1&bellow=3&sku=A&sku=B").err().unwrap();
    assert_eq!(
        errors,
        [
            "sku: is given more than once",
            "below: is not a whole number from 0 to 4294967295",
            "bellow: is unknown; there are below, sku",
        ]
    );
    assert_eq!(read("below=1").err().unwrap(), ["sku: is required"]);
}

#[test]
fn bytes_that_are_not_utf_8_and_broken_escapes_are_refused_not_replaced() {
    for value in ["%FF", "%C3%28", "%", "%4", "%zz", "100%25%"] {
        let errors = read(&format!("sku={value}")).err().unwrap();
        assert_eq!(errors[0], "sku: is not UTF-8 or not percent-encoded", "{value}");
    }
    let errors = read("sku=A&%FF=1").err().unwrap();
    assert_eq!(errors, ["query: has a name that is not UTF-8 or not percent-encoded"]);
}

#[test]
fn a_query_with_too_many_parameters_is_refused_without_reading_them_all() {
    let many = (0..5_000).map(|number| format!("p{number}=")).collect::<Vec<_>>().join("&");
    let errors = read(&many).err().unwrap();
    assert!(errors.contains(&"query: has more than 32 parameters".to_owned()));
    assert!(errors.len() < 2 * PARAMETERS_MAX, "{} errors", errors.len());
}

#[test]
fn a_list_id_depends_on_the_path_and_the_filters_but_not_on_their_order_or_the_limit() {
    let orders = list_id("/v1/orders?status=placed&sku=A");
    assert_eq!(orders, list_id("/v1/orders?limit=7&sku=A&cursor=abc&status=placed"));
    let others = [
        "/v1/orders?status=placed",
        "/v1/orders?status=placed&sku=B",
        "/v1/orders?status=A&sku=placed",
        "/v1/payments?status=placed&sku=A",
    ];
    for other in others {
        assert_ne!(orders, list_id(other), "{other}");
    }
}

#[test]
fn an_instant_is_rfc_3339_or_a_date_at_midnight_utc() {
    let eight = "2010-12-01T08:26:00Z".parse::<Timestamp>().unwrap();
    assert_eq!(instant("2010-12-01T08:26:00Z"), Ok(eight));
    assert_eq!(instant("2010-12-01T10:26:00+02:00"), Ok(eight));
    assert_eq!(instant("2010-12-01"), Ok("2010-12-01T00:00:00Z".parse().unwrap()));
    for text in
        ["", "2010-13-01", "2010-12-01T08:26:00", "2010-12-01T10:26:00 02:00", "yesterday", "1291190400"]
    {
        assert!(instant(text).is_err(), "{text} was accepted");
    }
}
