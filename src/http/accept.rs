//! What media type an answer has: `Accept` (RFC 9110, section 12.5.1) against what can be had.

use http::{HeaderMap, header};

use crate::model::{ErrorCode, Problem};

/// `application/json`
pub(crate) const JSON: &str = "application/json";
/// `application/x-ndjson`
pub(crate) const NDJSON: &str = "application/x-ndjson";
/// `application/vnd.apache.arrow.stream`
pub(crate) const ARROW: &str = "application/vnd.apache.arrow.stream";
/// `application/vnd.apache.parquet`
pub(crate) const PARQUET: &str = "application/vnd.apache.parquet";
/// `text/event-stream`
pub(crate) const EVENT_STREAM: &str = "text/event-stream";

/// Another name of [`NDJSON`].
const JSON_LINES: &str = "application/jsonl";
/// What a browser's address bar asks for: it gets the first of what can be had.
const HTML: &str = "text/html";

/// One range of an `Accept` header.
struct Range<'a> {
    media_type: &'a str,
    /// Thousandths.
    quality: u16,
}

/// Chooses one of `offered`, of which the first is what a caller without preference gets.
///
/// # Errors
/// `not_acceptable` with what can be had.
pub(crate) fn negotiate(headers: &HeaderMap, offered: &[&'static str]) -> Result<&'static str, Problem> {
    if !headers.contains_key(header::ACCEPT) {
        return offered.first().copied().ok_or_else(Problem::internal);
    }
    let texts: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let ranges: Vec<Range<'_>> = texts.iter().flat_map(|text| text.split(',')).filter_map(range).collect();
    let first = offered.first().copied();
    if ranges.is_empty() && headers.get_all(header::ACCEPT).iter().all(|value| value.as_bytes().trim_ascii().is_empty())
    {
        return first.ok_or_else(Problem::internal);
    }
    let mut best: Option<(&'static str, u16)> = None;
    for candidate in offered {
        let mut quality = quality_of(&ranges, candidate);
        if *candidate == NDJSON {
            quality = quality.max(quality_of(&ranges, JSON_LINES));
        }
        if Some(*candidate) == first {
            quality = quality.max(exact_quality(&ranges, HTML).unwrap_or(0));
        }
        if quality > best.map_or(0, |(_, best)| best) {
            best = Some((candidate, quality));
        }
    }
    best.map(|(chosen, _)| chosen).ok_or_else(|| {
        Problem::new(ErrorCode::NotAcceptable, "None of the media types in Accept can be had here.")
            .allowing(offered.iter().copied())
    })
}

/// Reads `type/subtype;q=0.5`; none for what is no range.
fn range(text: &str) -> Option<Range<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next().filter(|media_type| media_type.contains('/'))?;
    let quality = parts
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
        .map_or(Some(1_000), |(_, value)| thousandths(value.trim()))?;
    Some(Range { media_type, quality })
}

/// Reads a weight, `0` to `1` with at most three digits after the point.
fn thousandths(text: &str) -> Option<u16> {
    let weight: f32 = text.parse().ok().filter(|weight| (0.0..=1.0).contains(weight))?;
    // In range, so that rounding is exact to a thousandth.
    (0..=1_000).find(|thousandth| f32::from(*thousandth) >= (weight * 1_000.0).round())
}

/// The quality that the most specific range gives to a type; 0 where none matches.
fn quality_of(ranges: &[Range<'_>], media_type: &str) -> u16 {
    let family = media_type.split_once('/').map_or("", |(family, _)| family);
    let of_family = |range: &Range<'_>| {
        range.media_type.split_once('/').is_some_and(|(head, sub)| sub == "*" && head.eq_ignore_ascii_case(family))
    };
    exact_quality(ranges, media_type)
        .or_else(|| ranges.iter().filter(|range| of_family(range)).map(|range| range.quality).max())
        .or_else(|| ranges.iter().filter(|range| range.media_type == "*/*").map(|range| range.quality).max())
        .unwrap_or(0)
}

fn exact_quality(ranges: &[Range<'_>], media_type: &str) -> Option<u16> {
    ranges.iter().filter(|range| range.media_type.eq_ignore_ascii_case(media_type)).map(|range| range.quality).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: Option<&str>, offered: &[&'static str]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(header::ACCEPT, accept.parse().unwrap());
        }
        negotiate(&headers, offered).ok()
    }

    #[test]
    fn accept_chooses_by_quality_and_specificity() {
        let read = [JSON, NDJSON];
        for (accept, expected) in [
            (None, Some(JSON)),
            (Some(""), Some(JSON)),
            (Some("*/*"), Some(JSON)),
            (Some("*/*;q=0.1"), Some(JSON)),
            (Some("application/*"), Some(JSON)),
            (Some("application/*;q=0.1, text/*"), Some(JSON)),
            (Some("text/*"), None),
            (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Some(JSON)),
            (Some("text/html"), Some(JSON)),
            (Some("application/x-ndjson"), Some(NDJSON)),
            (Some("application/jsonl"), Some(NDJSON)),
            (Some("Application/X-NDJSON; charset=utf-8"), Some(NDJSON)),
            (Some("application/json;q=0.5, application/x-ndjson"), Some(NDJSON)),
            (Some("application/json, application/x-ndjson"), Some(JSON)),
            (Some("application/*;q=0.3, application/x-ndjson;q=0"), Some(JSON)),
            (Some("*/*;q=0.1, application/json;q=0"), Some(NDJSON)),
            (Some("application/json;q=0"), None),
            (Some("image/png"), None),
            (Some("garbage"), None),
            (Some("application/json;q=7"), None),
        ] {
            assert_eq!(chosen(accept, &read), expected, "{accept:?}");
        }
    }

    #[test]
    fn a_stream_without_preference_is_an_event_stream() {
        let stream = [EVENT_STREAM, NDJSON];
        assert_eq!(chosen(None, &stream), Some(EVENT_STREAM));
        assert_eq!(chosen(Some("text/html"), &stream), Some(EVENT_STREAM));
        assert_eq!(chosen(Some("text/*"), &stream), Some(EVENT_STREAM));
        assert_eq!(chosen(Some("application/x-ndjson"), &stream), Some(NDJSON));
        assert_eq!(chosen(Some("application/json"), &stream), None);
    }
}
