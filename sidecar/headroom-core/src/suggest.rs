//! "Did you mean": the known word that somebody most probably wanted to write.

/// The word that `word` was probably meant to be: at most a third of its letters differ, or it is
/// the beginning of it.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Long words are no typing errors, and the distance costs the product of the lengths.
    const WORD_CHARS_MAX: usize = 64;
    let chars = word.chars().count();
    if chars > WORD_CHARS_MAX {
        return None;
    }
    let folded = word.to_lowercase();
    known
        .into_iter()
        .filter(|known| *known != word && known.len() <= 2 * WORD_CHARS_MAX)
        .map(|known| (strsim::damerau_levenshtein(&folded, &known.to_lowercase()), known))
        .filter(|(distance, known)| {
            *distance <= (chars / 3).max(1) || (chars >= 3 && known.starts_with(&folded))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}
