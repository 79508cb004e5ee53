//! What is sold in the story: `deploy/example/catalog.yaml`, a thousand times smaller.

pub(super) const GROWING: &str = r#"
default_plan: free
features:
  tokens:
    name: LLM tokens
    kind: quota
    unit: tokens
    limits:
      hourly: { window: { calendar: hour } }
      monthly: { window: billing }
  sso: { name: Single sign-on, kind: switch }
  models: { name: Models, kind: config }
plans:
  free:
    name: Free
    entitlements:
      tokens:
        hourly: { included: 300, soft_limits: [80%, 95%], policy: block }
        monthly: { included: 1_000, soft_limits: [80%, 95%], policy: block }
      models: [small]
  pro:
    name: Pro
    price: { amount_minor: 4900, currency: USD, per: month }
    entitlements:
      tokens:
        hourly: { included: 750, soft_limits: [80%, 95%], policy: { grace: 10% } }
        monthly: { included: 10_000, soft_limits: [80%, 95%], policy: { grace: 10% } }
      models: [small]
  scale:
    name: Scale
    price: { amount_minor: 49900, currency: USD, per: month }
    entitlements:
      tokens:
        hourly: { included: 2_000, soft_limits: [80%], policy: overage }
        monthly: { included: 150_000, soft_limits: [80%], policy: overage }
      sso: on
      models: [small, large]
prompts:
  - prompt: near
    scenario: near_limit
    feature: tokens
    offer: pro
    plans: [free]
    title: "{{ percent }} % of your {{ limit }} tokens are used"
    message: >-
      {% if reaches_limit_when %}At this rate you reach {{ included }} {{ reaches_limit_when }}. {% endif %}{{
      offer_plan_name }} has {{ offer_included }} for {{ offer_price }} a {{ offer_per }}.
  - prompt: overage
    scenario: limit_hit
    feature: tokens
    plans: [scale]
    title: "Your included {{ limit }} tokens are used up"
    message: "What is above is billed."
  - prompt: hit
    scenario: limit_hit
    feature: tokens
    title: "Your {{ limit }} tokens do not cover this"
    message: "You've used {{ used }} of {{ included }}."
  - prompt: grace
    scenario: grace
    feature: tokens
    title: "You're past your {{ limit }} tokens"
    message: "You can go on for a while."
  - prompt: locked
    scenario: locked_feature
    feature: sso
    offer: scale
    title: "{{ feature_name }} comes with {{ offer_plan_name }}"
    message: "It costs {{ offer_price }} a {{ offer_per }}."
sinks:
  - { sink: audit, kind: ndjson, path: signals.ndjson }
"#;
