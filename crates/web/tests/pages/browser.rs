//! A browser without scripts: it keeps cookies, follows redirects, and sends forms as they stand in
//! the page.

use std::collections::BTreeMap;

use eventbooker_testkit::client::{Answer, Client};
use scraper::{ElementRef, Html, Selector};

/// What pages may do; every page says so.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

pub struct Browser {
    client: Client,
    language: &'static str,
    cookies: BTreeMap<String, String>,
}

/// A page as it came.
pub struct Page {
    pub status: u16,
    pub path: String,
    pub answer: Answer,
    pub html: Html,
}

impl Browser {
    pub fn new(client: Client, language: &'static str) -> Self {
        Self { client, language, cookies: BTreeMap::new() }
    }

    /// The session's token.
    pub fn session(&self) -> Option<&str> {
        self.cookies.get("session_id").map(String::as_str)
    }

    pub fn set_cookie(&mut self, name: &str, value: &str) {
        self.cookies.insert(name.to_owned(), value.to_owned());
    }

    /// Sends a request and takes cookies.
    pub fn send(&mut self, method: &str, path: &str, form: Option<&str>) -> Answer {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut ask = self
            .client
            .ask(method, path)
            .header("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
            .header("Accept-Language", self.language);
        if !cookies.is_empty() {
            ask = ask.header("Cookie", &cookies.join("; "));
        }
        if let Some(form) = form {
            ask = ask
                .header("Content-Type", "application/x-www-form-urlencoded")
                .header("Sec-Fetch-Site", "same-origin")
                .body(form.as_bytes());
        }
        let answer = ask.answer();
        for cookie in answer.headers.get_all("set-cookie") {
            let cookie = cookie.to_str().expect("text");
            let (pair, rest) = cookie.split_once(';').expect("attributes");
            let (name, value) = pair.split_once('=').expect("a pair");
            assert!(rest.contains("HttpOnly") && rest.contains("SameSite=Lax"), "{cookie}");
            if rest.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.set_cookie(name, value);
            }
        }
        answer
    }

    /// Opens a page, through redirects.
    pub fn open(&mut self, path: &str) -> Page {
        let answer = self.send("GET", path, None);
        self.arrive(path, answer)
    }

    /// Sends the form that goes to `action`, with these fields typed into it. An answer that isn't
    /// an error has to be a redirect.
    pub fn submit(&mut self, page: &Page, action: &str, typed: &[(&str, &str)]) -> Page {
        let body = page.form(action, typed);
        let answer = self.send("POST", action, Some(&body));
        assert!(answer.status == 303 || answer.status >= 400, "{action}: {answer:?}");
        self.arrive(action, answer)
    }

    fn arrive(&mut self, path: &str, answer: Answer) -> Page {
        let (mut path, mut answer) = (path.to_owned(), answer);
        for _ in 0..4 {
            if !matches!(answer.status, 303 | 308) {
                return Page::of(path, answer);
            }
            let location = answer.header("location").expect("a location").to_owned();
            location.split('#').next().expect("a path").clone_into(&mut path);
            answer = self.send("GET", &path, None);
        }
        panic!("{path} leads in a circle");
    }
}

impl Page {
    fn of(path: String, answer: Answer) -> Self {
        let status = answer.status;
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{answer:?}");
        let policy = answer.header("content-security-policy").expect("a policy");
        // One hash, of the style sheet; that it is the right one is seen in a real browser.
        let (before, hash) = policy.split_once(" 'sha256-").expect("a hash");
        let (_, after) = hash.split_once("='").expect("a hash's end");
        assert_eq!(format!("{before}{after}"), POLICY, "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        let text = String::from_utf8(answer.body.clone()).expect("UTF-8");
        assert!(!text.contains("<script>") && !text.contains(" style="), "{text}");
        let html = Html::parse_document(&text);
        let page = Self { status, path, answer, html };
        if text.starts_with("<!doctype") {
            page.assert_sound();
        }
        page
    }

    /// What every whole page has to have.
    fn assert_sound(&self) {
        let path = &self.path;
        let root = self.html.root_element();
        let spoken = root.value().attr("lang").expect("a language");
        assert!(matches!(spoken, "en" | "ru"), "{path}");
        assert_eq!(self.all("main").len(), 1, "{path}");
        assert_eq!(self.all("h1").len(), 1, "{path}");
        let mut ids = std::collections::BTreeSet::new();
        for element in self.all("[id]") {
            let id = element.value().attr("id").expect("it has one");
            assert!(ids.insert(id), "{path}: the id {id} is there twice");
        }
        for element in self.all("label[for], [aria-describedby], [aria-labelledby]") {
            for attribute in ["for", "aria-describedby", "aria-labelledby"] {
                for id in element.value().attr(attribute).unwrap_or_default().split_whitespace() {
                    assert!(ids.contains(id), "{path}: {attribute} names {id}");
                }
            }
        }
        for input in self.all("input:not([type=hidden]), textarea, progress") {
            let id = input.value().attr("id").expect("an input has an id");
            assert_eq!(self.all(&format!("label[for={id}]")).len(), 1, "{path}: {id} has a label");
        }
        for element in self.all("*") {
            let handler = element.value().attrs().find(|(name, _)| name.starts_with("on"));
            assert_eq!(handler, None, "{path}");
        }
        for element in self.all("script, link, img") {
            let element = element.value();
            let loaded = element.attr("src").or(element.attr("href")).expect("an address");
            assert!(loaded.starts_with("/assets/"), "{path}: {loaded}");
        }
    }

    pub fn all(&self, selector: &str) -> Vec<ElementRef<'_>> {
        self.html.select(&Selector::parse(selector).expect("a selector")).collect()
    }

    pub fn has(&self, selector: &str) -> bool {
        !self.all(selector).is_empty()
    }

    /// The text of what matches, with single spaces.
    pub fn text(&self, selector: &str) -> String {
        let texts = self.all(selector).into_iter().flat_map(|element| element.text());
        let text: String = texts.collect::<Vec<_>>().join(" ");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// An attribute of the first that matches.
    pub fn attribute(&self, selector: &str, name: &str) -> String {
        let element = *self
            .all(selector)
            .first()
            .unwrap_or_else(|| panic!("no {selector} in {}: {}", self.path, self.html.html()));
        element.value().attr(name).unwrap_or_default().to_owned()
    }

    /// What stands in a field.
    pub fn value(&self, selector: &str) -> String {
        let fields = self.all(selector);
        field(*fields.first().unwrap_or_else(|| panic!("no {selector} in {}", self.path))).1
    }

    /// The body of the form that goes to `action`, with these fields typed into it.
    pub fn form(&self, action: &str, typed: &[(&str, &str)]) -> String {
        let selector = format!("form[action={action:?}]");
        let forms = self.all(&selector);
        let form = forms.first();
        let form = form.unwrap_or_else(|| panic!("no form for {action} in {}", self.html.html()));
        assert_eq!(form.value().attr("method"), Some("post"));
        let inputs = Selector::parse("input:not([type=checkbox]), textarea").expect("a selector");
        let mut fields: Vec<(String, String)> = form.select(&inputs).map(field).collect();
        for (name, text) in typed {
            match fields.iter_mut().find(|(field, _)| field == name) {
                Some((_, value)) => (*text).clone_into(value),
                None => fields.push(((*name).to_owned(), (*text).to_owned())),
            }
        }
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields).finish()
    }
}

/// The name of a field, and what a browser would send of it.
fn field(input: ElementRef<'_>) -> (String, String) {
    let attribute = |name| input.value().attr(name).unwrap_or_default().to_owned();
    let value = if input.value().name() == "textarea" {
        input.text().collect::<String>().replace('\n', "\r\n")
    } else {
        attribute("value")
    };
    (attribute("name"), value)
}
