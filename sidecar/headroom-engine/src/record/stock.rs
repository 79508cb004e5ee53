//! The bytes of an allocation's stock.

use headroom_core::names::NameId;
use headroom_core::stock::{BilledBy, Stock, StockRule};

use crate::codec::{Malformed, Put, Take};

pub(crate) fn put_stock(out: &mut Vec<u8>, stock: &Stock) {
    out.put_u64(u64::from(stock.feature.0));
    out.put_u64(u64::from(stock.limit.0));
    out.put_window(stock.window);
    out.push(match stock.rule.billed_by {
        BilledBy::Peak => 0,
        BilledBy::Average => 1,
        BilledBy::End => 2,
    });
    out.put_u64(u64::from(stock.rule.months));
    out.put_u64(stock.level_units);
    out.put_u64(stock.peak_units);
    let [high, low] = halves(stock.unit_ms);
    out.put_u64(high);
    out.put_u64(low);
    out.put_millis(stock.counted_to);
}

pub(crate) fn take_stock(from: &mut Take<'_>) -> Result<Stock, Malformed> {
    Ok(Stock {
        feature: NameId(from.small("feature")?),
        limit: NameId(from.small("limit")?),
        window: from.window("window")?,
        rule: StockRule {
            billed_by: match from.u8("measure")? {
                0 => BilledBy::Peak,
                1 => BilledBy::Average,
                2 => BilledBy::End,
                _ => return Err(Malformed { what: "measure" }),
            },
            months: from.small("months")?,
        },
        level_units: from.u64("level")?,
        peak_units: from.u64("peak")?,
        unit_ms: {
            let (high, low) = (from.u64("unit-milliseconds")?, from.u64("unit-milliseconds")?);
            u128::from(high) << 64 | u128::from(low)
        },
        counted_to: from.millis("time")?,
    })
}

fn halves(value: u128) -> [u64; 2] {
    let bytes = value.to_be_bytes();
    let (high, low) = bytes.split_at(8);
    [high, low].map(|half| half.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}
