//! What one account is given beside its plans.

use headroom_core::account::{Override, OverrideValue};
use headroom_core::catalog::Catalog;
use headroom_core::time::Millis;
use headroom_engine::admin::{OverrideChange, OverrideTerms};
use headroom_proto::v1;
use headroom_proto::v1::r#override::Value;

use super::{Administration, facts};
use crate::grpc::parse;
use crate::grpc::present::{self, int, timestamp};
use crate::grpc::status::WireError;

impl Administration {
    pub(super) async fn set_override(
        &self,
        rq: &v1::PutOverrideRequest,
    ) -> Result<Option<v1::Account>, WireError> {
        let account = parse::id("account", &rq.account)?;
        let missing = || WireError::field("override", "is missing");
        let one = rq.r#override.as_ref().ok_or_else(missing)?;
        let feature = parse::id("override.feature", &one.feature)?;
        let change = match one.value.as_ref().ok_or_else(missing)? {
            Value::SwitchOn(on) => OverrideChange::Switch(*on),
            Value::ConfigValue(json) => {
                facts::check_json("override.config_value", json)?;
                OverrideChange::Config(json)
            }
            Value::Limit(limit) => {
                let included = limit.included_units;
                let included =
                    included.map(|u| parse::units("included_units", u, 0)).transpose()?;
                let name = parse::id("override.limit", &limit.limit)?;
                match limit.subject.as_str() {
                    "" => OverrideChange::Limit(name, included),
                    of => OverrideChange::SubjectLimit(parse::subject(of)?, name, included),
                }
            }
            Value::Rate(rate) => {
                let rate = rate.rate.as_ref().map(|rate| parse::rate("override.rate", rate));
                OverrideChange::Rate(rate.transpose()?)
            }
            Value::SpendCap(cap) => {
                let minor = |minor| parse::units("override.spend_cap.cap_minor", minor, 0);
                OverrideChange::SpendCap(
                    parse::id("override.spend_cap.limit", &cap.limit)?,
                    cap.cap_minor.map(minor).transpose()?,
                    parse::id("override.spend_cap.currency", &cap.currency)?,
                )
            }
        };
        let instant = |field, at: &Option<prost_types::Timestamp>| {
            at.as_ref().map(|at| parse::timestamp(field, at)).transpose()
        };
        let terms = OverrideTerms {
            starts_at: instant("override.starts_at", &one.starts_at)?,
            ends_at: instant("override.ends_at", &one.ends_at)?,
            at_least: one.at_least,
        };
        if let OverrideTerms { starts_at: Some(starts_at), ends_at: Some(ends_at), .. } = terms
            && ends_at <= starts_at
        {
            return Err(WireError::field("override.ends_at", "must be after starts_at"));
        }
        let engine = &self.core.shared.engine;
        let changed = engine.put_override(account, feature, &change, terms, self.now())?;
        self.changed(account, changed).await
    }

    pub(super) async fn remove_override(
        &self,
        rq: &v1::DeleteOverrideRequest,
    ) -> Result<Option<v1::Account>, WireError> {
        let account = parse::id("account", &rq.account)?;
        let feature = parse::id("feature", &rq.feature)?;
        let said = |text: &str| !text.is_empty();
        let limit = Some(rq.limit.as_str()).filter(|limit| said(limit));
        let subject = Some(rq.subject.as_str()).filter(|subject| said(subject));
        let engine = &self.core.shared.engine;
        let changed = engine.delete_override(account, feature, (limit, subject), self.now())?;
        self.changed(account, changed).await
    }
}

/// An override as answers show it.
pub(super) fn show(catalog: &Catalog, one: &Override) -> v1::Override {
    v1::Override {
        feature: catalog.feature_text(one.feature).to_owned(),
        value: Some(match &one.value {
            OverrideValue::Switch { on } => Value::SwitchOn(*on),
            OverrideValue::Config { value_json } => Value::ConfigValue(value_json.to_string()),
            OverrideValue::Limit { limit, included_units } => Value::Limit(v1::LimitOverride {
                limit: catalog.text(*limit).to_owned(),
                included_units: included_units.map(int),
                subject: String::new(),
            }),
            OverrideValue::SubjectLimit { subject, limit, included_units } => {
                Value::Limit(v1::LimitOverride {
                    limit: catalog.text(*limit).to_owned(),
                    included_units: included_units.map(int),
                    subject: subject.to_string(),
                })
            }
            OverrideValue::Rate { rate } => {
                Value::Rate(v1::RateOverride { rate: rate.map(present::rate) })
            }
            OverrideValue::SpendCap { limit, cap_minor, currency } => {
                Value::SpendCap(v1::SpendCapOverride {
                    limit: catalog.text(*limit).to_owned(),
                    cap_minor: cap_minor.map(int),
                    currency: currency.to_string(),
                })
            }
        }),
        starts_at: (one.starts_at != Millis(i64::MIN)).then(|| timestamp(one.starts_at)),
        ends_at: (one.ends_at != Millis::FOREVER).then(|| timestamp(one.ends_at)),
        at_least: one.at_least,
    }
}
