//! What of a file a request wants (RFC 9110, 13 and 14), and how it leaves: nothing that was not held against its
//! digest before.

use std::ops::RangeInclusive;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_range_header::{RangeUnsatisfiableError, parse_range_header};
use store::{Contents, LicenseFiles, StoreError};

use crate::content::Content;
use crate::problem::Problem;

/// A delivery of so many octets is read as a whole before the first of them leaves.
const READ_WHOLE: u64 = 4 << 20;

/// What a request wants of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It has it.
    Nothing,
    /// All of it.
    Whole,
    /// These octets.
    Part(RangeInclusive<u64>),
    /// Octets that there are not.
    Unsatisfiable,
}

impl Wanted {
    /// What a request wants of a file of so many octets under this strong entity tag.
    pub(crate) fn of(headers: &HeaderMap, tag: &str, octets: u64) -> Self {
        let tags = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let mut tags = tags.flat_map(|value| value.split(',')).map(str::trim);
        if tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag) {
            return Self::Nothing;
        }
        let mut ranges = headers.get_all(header::RANGE).iter();
        let (Some(range), None) = (ranges.next(), ranges.next()) else { return Self::Whole };
        // A date tells nothing here: files have none, and another tag is another file.
        if headers.get_all(header::IF_RANGE).iter().any(|known| known != tag) {
            return Self::Whole;
        }
        let parsed = range.to_str().ok().and_then(|range| parse_range_header(range).ok());
        // Another unit or no range at all is as if nothing was said; several are answered by all of the file.
        let Some(parsed) = parsed.filter(|parsed| parsed.len() == 1) else { return Self::Whole };
        match parsed.validate(octets) {
            Ok(found) => found.into_iter().next().map_or(Self::Whole, Self::Part),
            Err(RangeUnsatisfiableError::Unsatisfiable) => Self::Unsatisfiable,
            Err(_) => Self::Whole,
        }
    }
}

/// What is told of a file beside its octets.
pub(crate) struct Delivered<'a> {
    /// Its strong entity tag.
    pub(crate) tag: &'a str,
    pub(crate) media_type: &'a str,
    /// What it is called where it is saved.
    pub(crate) name: &'a str,
    /// How many it has.
    pub(crate) octets: u64,
}

impl Delivered<'_> {
    /// The answer with these of its octets; with none of them where the request has it.
    pub(crate) fn answer(
        &self,
        code: StatusCode,
        range: Option<&RangeInclusive<u64>>,
        body: Body,
        more: Option<(HeaderName, String)>,
    ) -> Result<Response, Problem> {
        let mut fields = vec![
            (header::ETAG, self.tag.to_owned()),
            (header::CACHE_CONTROL, "private, no-cache".to_owned()),
        ];
        fields.extend(more);
        if let Some(range) = range {
            let length = range.end() - range.start() + 1;
            fields.extend([
                (header::CONTENT_TYPE, self.media_type.to_owned()),
                (header::CONTENT_LENGTH, length.to_string()),
                (header::ACCEPT_RANGES, "bytes".to_owned()),
                (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", self.name)),
            ]);
            if code == StatusCode::PARTIAL_CONTENT {
                let place = format!("bytes {}-{}/{}", range.start(), range.end(), self.octets);
                fields.push((header::CONTENT_RANGE, place));
            }
        }
        let mut response = (code, body).into_response();
        for (name, value) in fields {
            let value = HeaderValue::try_from(value).map_err(|_| Problem::panicked())?;
            response.headers_mut().insert(name, value);
        }
        Ok(response)
    }

    /// The answer where there are not the octets that are wanted.
    pub(crate) fn unsatisfiable(&self, problem: Problem) -> Result<Response, Problem> {
        let range = HeaderValue::try_from(format!("bytes */{}", self.octets));
        Ok(([(header::CONTENT_RANGE, range.map_err(|_| Problem::panicked())?)], problem).into_response())
    }
}

/// A range of contents as a body. What is small is all there when this answers, of what is large the first part is.
///
/// # Errors
/// The contents are damaged or cannot be read.
pub(super) async fn body(
    files: &LicenseFiles,
    contents: &Contents,
    range: RangeInclusive<u64>,
) -> Result<Body, StoreError> {
    let (start, end) = range.into_inner();
    let (first, last) = (start / Contents::PART, end / Contents::PART);
    let at_once = if end - start < READ_WHOLE { last } else { first };
    let mut ready = Vec::new();
    for part in first..=at_once {
        ready.extend(slice(files, contents, part, (start, end)).await?);
    }
    let left = (end - start + 1).saturating_sub(ready.len() as u64);
    let (files, contents) = (files.clone(), contents.clone());
    let rest = Content::new(at_once + 1..last + 1, left, move |part| {
        let (files, contents) = (files.clone(), contents.clone());
        Box::pin(async move { slice(&files, &contents, part, (start, end)).await })
    });
    Ok(Body::new(rest.behind(ready)))
}

/// What of a part lies in a range.
async fn slice(
    files: &LicenseFiles,
    contents: &Contents,
    part: u64,
    (start, end): (u64, u64),
) -> Result<Vec<u8>, StoreError> {
    let mut octets = files.part(contents, part).await?;
    let begin = part * Contents::PART;
    let place = |position: u64| usize::try_from(position.saturating_sub(begin)).unwrap_or(usize::MAX);
    octets.truncate(place(end + 1));
    octets.drain(..place(start).min(octets.len()));
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    const TAG: &str = "\"aa\"";

    fn wanted(headers: &[(HeaderName, &'static str)]) -> Wanted {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        Wanted::of(&map, TAG, 1000)
    }

    #[test]
    fn a_range_is_first_last_and_cut_to_what_there_is() {
        for (range, want) in [
            ("bytes=0-0", Wanted::Part(0..=0)),
            ("bytes=999-", Wanted::Part(999..=999)),
            ("bytes=-1", Wanted::Part(999..=999)),
            ("bytes=-5000", Wanted::Part(0..=999)),
            ("bytes=10-5000", Wanted::Part(10..=999)),
            ("bytes=1000-", Wanted::Unsatisfiable),
            ("bytes=1000-2000", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("bytes=5-1", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("lines=0-1", Wanted::Whole),
        ] {
            assert_eq!(wanted(&[(header::RANGE, range)]), want, "{range}");
        }
        let twice = [(header::RANGE, "bytes=0-0"), (header::RANGE, "bytes=1-1")];
        assert_eq!(wanted(&twice), Wanted::Whole);
    }

    #[test]
    fn what_is_known_is_not_wanted_whatever_the_range() {
        for tags in ["\"aa\"", "W/\"aa\"", "*", "\"bb\", W/\"cc\" ,\"aa\""] {
            assert_eq!(
                wanted(&[(header::IF_NONE_MATCH, tags), (header::RANGE, "bytes=0-0")]),
                Wanted::Nothing
            );
        }
        for tags in ["\"bb\"", "aa", "\"AA\""] {
            assert_eq!(wanted(&[(header::IF_NONE_MATCH, tags)]), Wanted::Whole, "{tags}");
        }
    }

    #[test]
    fn a_range_of_another_file_is_all_of_this_one() {
        let range = (header::RANGE, "bytes=0-0");
        assert_eq!(wanted(&[range.clone(), (header::IF_RANGE, TAG)]), Wanted::Part(0..=0));
        for other in ["\"bb\"", "W/\"aa\"", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(wanted(&[range.clone(), (header::IF_RANGE, other)]), Wanted::Whole, "{other}");
        }
    }
}
