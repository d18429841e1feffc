//! Tables of bodies, good and bad.

use super::*;

fn detail_of(body: &[u8]) -> String {
    let problem = Fields::parse(body).expect_err("a bad body");
    assert_eq!(problem.kind, ProblemKind::MalformedBody);
    problem.detail.into_owned()
}

/// What one take says about one value; `Ok` with the value's debug text.
fn verdict<T: fmt::Debug>(
    take: fn(&mut Fields, &'static str) -> T,
    json: &str,
) -> Result<String, String> {
    let mut fields = Fields::parse(format!("{{\"field\":{json}}}").as_bytes()).expect("an object");
    let value = take(&mut fields, "field");
    match fields.finish() {
        Ok(()) => Ok(format!("{value:?}")),
        Err(problem) => {
            assert_eq!(problem.kind, ProblemKind::InvalidValue);
            assert_eq!(problem.errors.len(), 1);
            Err(problem.errors[0].detail.clone().into_owned())
        }
    }
}

#[test]
fn bodies_that_are_no_objects_are_malformed() {
    for (body, says) in [
        (&b""[..], "the body is empty"),
        (b" \r\n", "the body is empty"),
        (b"[1,{}]", "the body is an array"),
        (b"\"text\"", "the body is a string"),
        (b"1", "the body is a number"),
        (b"-1", "the body is a number"),
        (b"1.5", "the body is a number"),
        (b"true", "the body is a boolean"),
        (b"null", "the body is null"),
        (b"{\n \"a\":,}", "line 2 column 6"),
        (b"{\"a\":1", "line 1 column 6"),
        (b"{} {}", "line 1 column 4"),
        (b"{\"a\":\"\xff\"}", "line 1 column"),
        (b"{\"\xc3\x28\":1}", "line 1 column"),
        (b"{\"a\":\"\\ud800\"}", "line 1 column"),
        (b"{\"a\":1,\"a\":2}", "\"a\" stands twice"),
        (b"name=x&capacity=2", "line 1 column"),
    ] {
        let detail = detail_of(body);
        assert!(detail.contains(says), "{body:?}: {detail}");
    }
}

#[test]
fn depth_and_width_are_bounded() {
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(20_000), "]".repeat(20_000));
    assert!(detail_of(deep.as_bytes()).contains("recursion limit"));
    // What is thrown away anyway is skipped without recursion.
    let deep = "[".repeat(60_000);
    assert!(detail_of(deep.as_bytes()).contains("EOF"));
    let wide: Vec<String> = (0..65).map(|number| format!("\"m{number}\":0")).collect();
    let wide = format!("{{{}}}", wide.join(","));
    assert!(detail_of(wide.as_bytes()).contains("64 members"));
}

#[test]
fn integers() {
    for (json, value) in [
        ("0", 0),
        ("-0", 0),
        ("-7", -7),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
        ("2.0", 2),
        ("1e3", 1000),
    ] {
        assert_eq!(verdict(Fields::integer, json), Ok(value.to_string()), "{json}");
    }
    for (json, says) in [
        ("9223372036854775808", "must lie between"),
        ("-9223372036854775809", "must lie between"),
        ("1e300", "must lie between"),
        ("1.5", "must be a whole number, got the number 1.5"),
        ("\"1\"", "must be a whole number, got the string \"1\""),
        ("true", "must be a whole number, got true"),
        ("null", "must be a whole number, got null"),
        ("[]", "must be a whole number, got an array"),
        ("{}", "must be a whole number, got an object"),
    ] {
        let detail = verdict(Fields::integer, json).expect_err(json);
        assert!(detail.starts_with(says), "{json}: {detail}");
        let detail = verdict(Fields::optional_integer, json).expect_err(json);
        assert!(detail.starts_with(says), "{json}: {detail}");
    }
}

#[test]
fn texts() {
    assert_eq!(verdict(Fields::text, "\"ü\""), Ok("\"ü\"".into()));
    assert_eq!(verdict(Fields::optional_text, "\"\""), Ok("Some(\"\")".into()));
    for json in ["1", "null", "false", "[]", "{}", "\"a\\u0000b\""] {
        assert!(verdict(Fields::text, json).is_err(), "{json}");
        assert!(verdict(Fields::optional_text, json).is_err(), "{json}");
    }
}

#[test]
fn timestamps() {
    for (text, micros) in [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:01.5Z", 1_500_000),
        ("1970-01-01t00:00:00.000001z", 1),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:00:00-01:00", 0),
    ] {
        assert_eq!(
            verdict(Fields::timestamp, &format!("\"{text}\"")),
            Ok(micros.to_string()),
            "{text}"
        );
    }
    for text in [
        "",
        "tomorrow",
        "1970-01-01",
        "1970-01-01T00:00:00",
        "1970-01-01T00:00Z",
        "1970-01-01T00:00:00.Z",
        "1970-01-01T00:00:00+01",
        "1970-01-01 00:00:00Z",
        "1970-13-01T00:00:00Z",
        "1970-02-30T00:00:00Z",
        "1970-01-01T25:00:00Z",
        "1970-01-01T00:00:00+99:99",
        "+002030-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z[UTC]",
        "1970-01-01T00:00:00.1234567890123456789012345678901234567890Z",
        "１970-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
    ] {
        assert!(verdict(Fields::timestamp, &format!("\"{text}\"")).is_err(), "{text}");
    }
    assert!(verdict(Fields::timestamp, "0").is_err());
}

#[test]
fn every_bad_field_is_reported_once_and_good_ones_are_not() {
    let mut fields =
        Fields::parse(br#"{"capacity":"2","date":"soon","price":5,"colour":1,"size":2}"#)
            .expect("an object");
    assert_eq!(fields.text("name"), "");
    assert_eq!(fields.integer("capacity"), 0);
    assert_eq!(fields.timestamp("date"), 0);
    assert_eq!(fields.optional_integer("price"), Some(5));
    assert_eq!(fields.optional_text("description"), None);
    let problem = fields.finish().expect_err("bad fields");
    assert_eq!(problem.detail, "name is required (and 4 more)");
    let named: Vec<&str> = problem.errors.iter().map(|error| &*error.field).collect();
    assert_eq!(named, ["name", "capacity", "date", "colour", "size"]);
    assert_eq!(
        problem.errors[3].detail,
        "is unknown, expected only name, capacity, date, price, description"
    );
}

#[test]
fn long_values_are_cut_in_the_answer() {
    let long = "x".repeat(50_000);
    let detail = verdict(Fields::integer, &format!("\"{long}\"")).expect_err("a string");
    assert!(detail.len() < 200);
    let fields = Fields::parse(format!("{{\"{long}\":1}}").as_bytes()).expect("an object");
    let problem = fields.finish().expect_err("an unknown field");
    assert!(problem.to_json().len() < 2_000);
}

#[test]
fn an_optional_body_may_be_missing_but_not_broken() {
    for body in [&b""[..], b"\n", b"null", b" null\n", b"{}", b" { } "] {
        assert!(Fields::parse_optional(body).expect("fine").is_none());
    }
    assert!(Fields::parse_optional(b"{\"bookingId\":1}").expect("fine").is_some());
    assert!(Fields::parse_optional(b"[]").is_err());
    assert!(Fields::parse_optional(b"{").is_err());
}
