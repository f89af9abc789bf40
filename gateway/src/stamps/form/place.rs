//! Where on the pages a stamp is seen.

use formats::pdf::sign::{Edge, Occurrence, PageRect, Pages, Place};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::body::Faults;

/// Where a stamp is seen. All measures are millimetres on the page as it is shown.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlaceBody {
    /// `rect`, `keyword` or `seam` (骑缝章).
    kind: String,
    /// Pages: `all` (default), `last`, `first-last` such as `2-5`, or single ones such as `1,4,7`.
    pages: Option<String>,
    /// Of a rect: from the left edge.
    left: Option<f32>,
    /// Of a rect: from the upper edge.
    top: Option<f32>,
    /// Width of what is seen; the seal's own if one is shown and this is absent, a QR code's is 25.
    width: Option<f32>,
    /// Height of what is seen; as the width.
    height: Option<f32>,
    /// Of a keyword: the text that it stands over.
    keyword: Option<String>,
    /// Of a keyword: `all` (default), `first` or `last` of its occurrences, or the number of one, counted from `1`.
    occurrence: Option<String>,
    /// Of a keyword: from its middle to the right.
    right: Option<f32>,
    /// Of a keyword: from its middle downwards.
    down: Option<f32>,
    /// Of a seam: `right` (default), `left`, `top` or `bottom`.
    edge: Option<String>,
    /// Of a seam: from the start of the edge.
    offset: Option<f32>,
    /// Of a seam: how many pages share one seal at most; 20 if it is absent.
    most_pages: Option<u32>,
}

impl PlaceBody {
    /// Whether what is shown there is cut into strips.
    pub(super) fn is_seam(&self) -> bool {
        self.kind == "seam"
    }

    pub(super) fn check(&self, faults: &mut Faults, path: &str, usual: Option<(f32, f32)>) -> Option<Place> {
        const OCCURRENCES: [(&str, Occurrence); 3] =
            [("all", Occurrence::All), ("first", Occurrence::First), ("last", Occurrence::Last)];
        const EDGES: [(&str, Edge); 4] =
            [("right", Edge::Right), ("left", Edge::Left), ("top", Edge::Top), ("bottom", Edge::Bottom)];
        let field = |name: &str| format!("{path}.{name}");
        let measures = [
            ("width", self.width),
            ("height", self.height),
            ("left", self.left),
            ("top", self.top),
            ("right", self.right),
            ("down", self.down),
            ("offset", self.offset),
        ];
        for (name, value) in measures {
            let least = if matches!(name, "width" | "height") { 1.0 } else { -10_000.0 };
            if value.is_some_and(|value| !(least..=10_000.0).contains(&value)) {
                faults.add(&field(name), "invalid_value", format!("must be from {least} to 10000 mm"));
            }
        }
        let pages = self.pages(faults, &field("pages"));
        let strangers: &[(&str, bool)] = match self.kind.as_str() {
            "rect" => &[
                ("keyword", self.keyword.is_some()),
                ("occurrence", self.occurrence.is_some()),
                ("edge", self.edge.is_some()),
            ],
            "keyword" => {
                &[("left", self.left.is_some()), ("top", self.top.is_some()), ("edge", self.edge.is_some())]
            }
            _ => &[
                ("left", self.left.is_some()),
                ("top", self.top.is_some()),
                ("keyword", self.keyword.is_some()),
            ],
        };
        for (name, is_there) in strangers {
            if *is_there {
                faults.add(&field(name), "not_applicable", format!("has no meaning for a {}", self.kind));
            }
        }
        let (usual_width, usual_height) = usual.unzip();
        let mut side = |name: &str, given: Option<f32>, usual: Option<f32>| {
            if given.or(usual).is_none() {
                faults.add(
                    &field(name),
                    "missing_field",
                    "is required but where a seal or a QR code is shown",
                );
            }
            given.or(usual)
        };
        let width = side("width", self.width, usual_width);
        let height = side("height", self.height, usual_height);
        let size = width.zip(height);
        match self.kind.as_str() {
            "rect" => {
                let (Some(left), Some(top)) = (self.left, self.top) else {
                    faults.add(&field("left"), "missing_field", "left and top are required");
                    return None;
                };
                let (width, height) = size?;
                let rect = PageRect { left, top, width, height };
                Some(Place::Rect { pages: pages?, rect })
            }
            "keyword" => {
                // White space is not looked at where a keyword is looked for.
                let seen = |keyword: &String| keyword.chars().filter(|of| !of.is_whitespace()).count();
                let keyword = self.keyword.clone().filter(|keyword| (1..=128).contains(&seen(keyword)));
                if keyword.is_none() {
                    let detail = "must be 1 to 128 characters, white space apart";
                    faults.add(&field("keyword"), "invalid_value", detail);
                }
                let number = self.occurrence.as_deref().and_then(|text| text.parse().ok());
                let occurrence = match number.filter(|number| (1..=1_000).contains(number)) {
                    Some(number) => Some(Occurrence::Nth(number)),
                    None => faults.word(
                        &field("occurrence"),
                        self.occurrence.as_deref(),
                        &OCCURRENCES,
                        Occurrence::All,
                    ),
                };
                let offset = (self.right.unwrap_or(0.0), self.down.unwrap_or(0.0));
                Some(Place::Keyword {
                    keyword: keyword?,
                    pages: pages?,
                    occurrence: occurrence?,
                    size: size?,
                    offset,
                })
            }
            "seam" => {
                let edge = faults.word(&field("edge"), self.edge.as_deref(), &EDGES, Edge::Right);
                let most_pages = self.most_pages.unwrap_or(20);
                if !(2..=200).contains(&most_pages) {
                    faults.add(&field("most_pages"), "invalid_value", "must be from 2 to 200");
                }
                let offset = self.offset.unwrap_or(0.0);
                Some(Place::Seam { pages: pages?, edge: edge?, size: size?, offset, most_pages })
            }
            _ => {
                faults.add(&field("kind"), "invalid_value", "must be one of: rect, keyword, seam");
                None
            }
        }
    }

    fn pages(&self, faults: &mut Faults, path: &str) -> Option<Pages> {
        let text = self.pages.as_deref().unwrap_or("all");
        let number =
            |text: &str| text.trim().parse::<u32>().ok().filter(|number| (1..=100_000).contains(number));
        let pages = match text {
            "all" => Some(Pages::All),
            "last" => Some(Pages::Last),
            text => match text.split_once('-') {
                Some((first, last)) => {
                    let range = number(first).zip(number(last)).filter(|(first, last)| first <= last);
                    range.map(|(first, last)| Pages::Range(first, last))
                }
                None => text.split(',').map(number).collect::<Option<Vec<_>>>().map(Pages::These),
            },
        };
        if pages.is_none() {
            faults.add(path, "invalid_value", "must be all, last, such as 2-5 or such as 1,4,7");
        }
        pages
    }
}
