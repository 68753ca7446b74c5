//! Which of several media types a caller would rather read: `Accept` of RFC 9110, section 12.5.1.

use axum::http::{HeaderMap, header};

/// How much a media range of `Accept` wants something, and how closely it names it.
type Weight = (u16, u8);

/// The place of the offered media type that `Accept` prefers; the first one when it prefers none of them to it.
#[must_use]
pub fn preferred(headers: &HeaderMap, offers: &[&str]) -> usize {
    let texts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut weights: Vec<Weight> = vec![(0, 0); offers.len()];
    for range in texts.flat_map(|text| text.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let Some(weight) = weight.map_or(Some(1_000), thousandths) else { continue };
        for (wanted, offer) in weights.iter_mut().zip(offers) {
            raise(wanted, &name, offer, weight);
        }
    }
    let mut best = 0;
    for (place, weight) in weights.iter().enumerate().skip(1) {
        if weight.0 > 0 && *weight > weights[best] {
            best = place;
        }
    }
    best
}

/// The range that names a type most closely says how much it is wanted.
fn raise(wanted: &mut Weight, range: &str, media_type: &str, weight: u16) {
    let group = media_type.split_once('/').map_or(media_type, |(group, _)| group);
    let closeness = match range {
        "*/*" => 1,
        range if range.strip_suffix("/*") == Some(group) => 2,
        range if range == media_type => 3,
        _ => return,
    };
    if closeness >= wanted.1 {
        *wanted = (weight, closeness);
    }
}

/// `q` of RFC 9110, section 12.4.2, in thousandths; `None` for what is none.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    if digits.len() > 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match (whole, format!("{digits:0<3}").parse().ok()?) {
        ("0", fraction) => Some(fraction),
        ("1", 0) => Some(1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_that_is_named_most_closely_and_wanted_most_is_preferred() {
        let offers = ["application/x-ndjson", "text/csv", "application/json"];
        for (accept, expected) in [
            ("", 0),
            ("*/*", 0),
            ("text/csv", 1),
            ("text/*;q=0.2, application/json", 2),
            ("application/*", 0),
            ("text/csv;q=0", 0),
            ("image/png", 0),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(preferred(&headers, &offers), expected, "{accept}");
        }
    }
}
