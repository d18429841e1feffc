//! How names are searched: by any part of them, in either case. Databases know the case of letters by
//! their locale, or of ASCII only; so it is decided here, once for both stores.

/// A text as it is searched in.
pub(crate) fn folded(text: &str) -> String {
    // Whoever types Russian seldom types the dots.
    text.to_lowercase().replace('ё', "е")
}

/// A pattern for LIKE that finds this text as it stands in whatever was [`folded`].
pub(crate) fn like_pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in folded(text).chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}
