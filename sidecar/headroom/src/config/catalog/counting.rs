//! How a quota's usage is counted, in the file: `aggregation: unique` with `unique_by: device`, and `usage:
//! {buckets: hour, dimensions: [model, region]}`.

use headroom_core::catalog::{Aggregation, CountingSpec};
use headroom_core::tally::{BucketSize, TallySpec};

use super::{Entry, Fields, Reader};

/// Reads what a quota says. What cannot be read is as if it were not there.
pub(super) fn read_counting(reader: &Reader, fields: &mut Fields<'_, '_>) -> CountingSpec {
    let words = Aggregation::ALL.map(|aggregation| (aggregation.as_str(), aggregation));
    let said = fields.optional("aggregation");
    let aggregation = said.and_then(|entry| reader.word(entry, &words));
    let tally = fields.optional("usage").and_then(|entry| read_usage(reader, entry));
    let unique_by = fields.optional("unique_by");
    let unique_by =
        unique_by.map(|entry| reader.text(entry).unwrap_or_else(|| "unread".to_owned()));
    // It belongs to one word alone, which may have been meant.
    let unique_by = unique_by.filter(|_| said.is_none() || aggregation.is_some());
    CountingSpec { aggregation: aggregation.unwrap_or_default(), unique_by, tally }
}

fn read_usage(reader: &Reader, entry: Entry<'_>) -> Option<TallySpec> {
    let mut fields = reader.fields(entry, "a mapping with `buckets`, as `{buckets: hour}`")?;
    let words = BucketSize::ALL.map(|size| (size.as_str(), size));
    let buckets = fields.required("buckets").and_then(|entry| reader.word(entry, &words));
    let dimensions = fields.optional("dimensions");
    fields.end();
    let what = "a list of names, as `[model, region]`";
    let items = dimensions.and_then(|entry| reader.list(entry, what));
    let dimensions = items.into_iter().flatten().filter_map(|item| reader.text(item)).collect();
    // What stands in for a word that is none lets the dimensions be checked all the same.
    Some(TallySpec { buckets: buckets.unwrap_or(BucketSize::Day), dimensions })
}
