//! The small pieces that every part of the HTML page is written with: a state as a word with a mark, a list of gaps.

use maud::{Markup, html};

use super::model::Standing;
use super::wording::{standing_mark, standing_word};
use crate::domain::Gap;

/// A state as a word with a mark.
pub(super) fn standing(standing: Standing) -> Markup {
    let tone = match standing {
        Standing::Proven => "good",
        Standing::Unproven => "warn",
        Standing::Failed | Standing::NotTested => "bad",
    };
    mark(tone, standing_mark(standing), standing_word(standing))
}

pub(super) fn mark(tone: &str, sign: &str, word: &str) -> Markup {
    html! { span class={ "mark " (tone) } { i aria-hidden="true" { (sign) } (word) } }
}

pub(super) fn gap_list(gaps: &[Gap]) -> Markup {
    html! { ul.plain { @for gap in gaps { li { (gap.what) ": " span.soft { (gap.why) } } } } }
}
