//! Catalogs of the tests.

/// One feature that is billed when it is used up, and one that is not to be passed. Windows never
/// end, so no test fails at midnight.
pub(crate) const PLAIN: &str = "\
default_plan: open
features:
  calls:
    name: Calls
    kind: quota
    limits: { total: { window: lifetime } }
  slots:
    name: Slots
    kind: quota
    limits: { total: { window: lifetime } }
  sso: { name: Single sign-on, kind: switch }
  models: { name: Models, kind: config }
plans:
  open:
    name: Open
    entitlements:
      calls:
        total:
          included: 400
          soft_limits: [1%, 2%, 3%, 5%, 8%, 12%, 18%, 25%, 35%, 45%, 55%, 70%, 85%, 95%]
          policy: overage
      sso: on
      models: [small]
  tight:
    name: Tight
    entitlements:
      calls: { total: { included: 1000, policy: overage } }
      slots: { total: { included: 40, soft_limits: [50%, 90%], policy: block } }
sinks:
  - { sink: audit, kind: ndjson, path: signals.ndjson }
";
