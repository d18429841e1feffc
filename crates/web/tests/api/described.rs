//! What `/openapi.json` says: its operations, and what may stand in their bodies.

use serde_json::Value;

/// One operation of the description.
pub struct Operation<'a> {
    description: &'a Value,
    pub method: String,
    /// With `{…}` in it.
    pub path: &'a str,
    details: &'a Value,
}

impl<'a> Operation<'a> {
    pub fn all(description: &'a Value) -> Vec<Self> {
        let paths = description["paths"].as_object().expect("paths");
        let of_path = |(path, operations): (&'a String, &'a Value)| {
            let operations = operations.as_object().expect("operations");
            operations.iter().map(move |(method, details)| {
                let method = method.to_uppercase();
                Self { description, method, path, details }
            })
        };
        paths.iter().flat_map(of_path).collect()
    }

    pub fn parameters(&self, of_kind: &str) -> Vec<(&'a str, &'a Value)> {
        let parameters = self.details["parameters"].as_array().map(Vec::as_slice);
        let of_kind = parameters.unwrap_or_default().iter().filter(|one| one["in"] == of_kind);
        of_kind.map(|one| (one["name"].as_str().expect("a name"), &one["schema"])).collect()
    }

    /// The path with this in place of every `{…}`.
    pub fn path_with(&self, id: &str) -> String {
        let segments =
            self.path.split('/').map(|part| if part.starts_with('{') { id } else { part });
        segments.collect::<Vec<_>>().join("/")
    }

    pub fn may_have_no_body(&self) -> bool {
        self.details["requestBody"]["required"] != true
    }

    /// The schema of the body's members, if the operation takes a body.
    pub fn members(&self) -> Option<Vec<Member<'a>>> {
        let mut schema = &self.details["requestBody"]["content"]["application/json"]["schema"];
        if let Some(first) = schema["oneOf"].get(0) {
            // The other one is null: the body may be left out.
            schema = first;
        }
        let pointer = schema["$ref"].as_str()?.strip_prefix('#').expect("a local reference");
        let schema = self.description.pointer(pointer).expect("the schema is there");
        let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
        let members = schema["properties"].as_object().expect("members").iter();
        Some(
            members
                .map(|(name, schema)| Member {
                    name,
                    schema,
                    required: required.iter().any(|other| other == name),
                })
                .collect(),
        )
    }
}

/// A member of a body.
pub struct Member<'a> {
    pub name: &'a str,
    pub schema: &'a Value,
    pub required: bool,
}

/// Whether a value may stand there, and if not, whether it can't even be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    Fits,
    BreaksARule,
    Unreadable,
}

impl Member<'_> {
    fn number(&self, keyword: &str) -> Option<i64> {
        self.schema.get(keyword).and_then(Value::as_i64)
    }

    pub fn is_text(&self) -> bool {
        self.schema["type"] == "string" || self.schema["type"][0] == "string"
    }

    /// A value that fits.
    pub fn good(&self) -> String {
        match (self.is_text(), self.schema["format"] == "date-time") {
            (true, true) => "\"2090-05-01T18:00:00Z\"".to_owned(),
            (true, false) => text("x", self.number("minLength").unwrap_or(0)),
            (false, _) => self.number("minimum").unwrap_or(1).to_string(),
        }
    }

    pub fn fit(&self, json: &str) -> Fit {
        let value: Value = serde_json::from_str(json).expect("JSON");
        let within = |number: i64, min: &str, max: &str| {
            let fits = self.number(min).is_none_or(|min| number >= min)
                && self.number(max).is_none_or(|max| number <= max);
            if fits { Fit::Fits } else { Fit::BreaksARule }
        };
        match (&value, self.is_text()) {
            (Value::String(text), true) if text.contains('\0') => Fit::Unreadable,
            (Value::String(_), true) if self.schema["format"] == "date-time" => Fit::Unreadable,
            (Value::String(text), true) => {
                let chars = i64::try_from(text.chars().count()).expect("a short text");
                within(chars, "minLength", "maxLength")
            }
            (Value::Number(number), false) if number.is_i64() => {
                within(number.as_i64().expect("a whole number"), "minimum", "maximum")
            }
            _ => Fit::Unreadable,
        }
    }

    /// Values around the edges of what fits.
    pub fn edges(&self) -> Vec<String> {
        let beyond = |keyword, step| Some(self.number(keyword)? + step);
        if self.is_text() {
            let lengths = [beyond("minLength", -1), beyond("maxLength", 1)];
            lengths.into_iter().flatten().map(|chars| text("ü", chars)).collect()
        } else {
            let numbers = [beyond("minimum", -1), beyond("maximum", 1)];
            numbers.into_iter().flatten().map(|number| number.to_string()).collect()
        }
    }
}

pub fn text(letter: &str, chars: i64) -> String {
    format!("\"{}\"", letter.repeat(usize::try_from(chars).expect("a length")))
}
