//! Prompts as the catalog writes them, and what it says about all of them.

/// The situation a prompt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scenario {
    /// A soft threshold is passed.
    NearLimit,
    /// The included units are used up: refused, or billed as overage.
    LimitHit,
    /// Above the included units, within grace.
    Grace,
    /// The plan does not contain the feature.
    LockedFeature,
    /// Somebody needs a seat, and all are taken.
    SeatsFull,
    /// Somebody is being invited, and all seats are taken.
    InviteWithoutSeat,
    /// A trial is about to end.
    TrialEnding,
    /// A soft threshold of a pool of credits is passed.
    CreditsLow,
    /// Requests come faster than the rate allows.
    RateTier,
    /// The plan has the feature once so many units of another were used.
    Unlock,
}

impl Scenario {
    /// Every scenario, in the order of the documentation.
    pub const ALL: [Scenario; 10] = [
        Scenario::NearLimit,
        Scenario::LimitHit,
        Scenario::Grace,
        Scenario::LockedFeature,
        Scenario::SeatsFull,
        Scenario::InviteWithoutSeat,
        Scenario::TrialEnding,
        Scenario::CreditsLow,
        Scenario::RateTier,
        Scenario::Unlock,
    ];

    /// The word of the catalog and of the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Scenario::NearLimit => "near_limit",
            Scenario::LimitHit => "limit_hit",
            Scenario::Grace => "grace",
            Scenario::LockedFeature => "locked_feature",
            Scenario::SeatsFull => "seats_full",
            Scenario::InviteWithoutSeat => "invite_without_seat",
            Scenario::TrialEnding => "trial_ending",
            Scenario::CreditsLow => "credits_low",
            Scenario::RateTier => "rate_tier",
            Scenario::Unlock => "unlock",
        }
    }

    /// Whether the person could go on without a word. Only then may one be held back: who stands
    /// before a limit is always told what happened and what it costs to go on.
    pub fn is_promotion(self) -> bool {
        match self {
            Scenario::NearLimit | Scenario::TrialEnding | Scenario::CreditsLow => true,
            Scenario::LimitHit
            | Scenario::Grace
            | Scenario::LockedFeature
            | Scenario::SeatsFull
            | Scenario::InviteWithoutSeat
            | Scenario::RateTier
            | Scenario::Unlock => false,
        }
    }
}

/// Who is in front of the product, as the request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Audience {
    /// May buy.
    Buyer,
    /// Works with the product, and has to ask somebody who may buy.
    Member,
    /// Manages the account, and may not buy.
    Admin,
}

impl Audience {
    /// Every audience.
    pub const ALL: [Audience; 3] = [Audience::Buyer, Audience::Member, Audience::Admin];

    /// The word of the catalog.
    pub fn as_str(self) -> &'static str {
        match self {
            Audience::Buyer => "buyer",
            Audience::Member => "member",
            Audience::Admin => "admin",
        }
    }
}

/// One of the texts of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TextKey {
    /// One line.
    Title,
    /// One paragraph.
    Message,
    /// The label of the action.
    CallToAction,
    /// The address of the action.
    Url,
}

impl TextKey {
    /// Every text.
    pub const ALL: [TextKey; 4] =
        [TextKey::Title, TextKey::Message, TextKey::CallToAction, TextKey::Url];

    /// The key in the catalog.
    pub fn as_str(self) -> &'static str {
        match self {
            TextKey::Title => "title",
            TextKey::Message => "message",
            TextKey::CallToAction => "call_to_action",
            TextKey::Url => "url",
        }
    }
}

/// The long form of a prompt: why they bought, the goal that was agreed, what they did, what it
/// brought, what comes next. Five templates, each about a fact of the account.
pub const STEPS: usize = 5;

/// Some of a prompt's templates. What is absent is as in what these texts stand in for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Texts {
    /// One line.
    pub title: Option<String>,
    /// One paragraph.
    pub message: Option<String>,
    /// The label of the action. Empty: no action.
    pub call_to_action: Option<String>,
    /// The address of the action. Empty: none.
    pub url: Option<String>,
    /// The long form: [`STEPS`] templates. Empty: none.
    pub steps: Vec<String>,
}

impl Texts {
    /// One of the texts, if it is there.
    pub fn get(&self, key: TextKey) -> Option<&str> {
        let text = match key {
            TextKey::Title => &self.title,
            TextKey::Message => &self.message,
            TextKey::CallToAction => &self.call_to_action,
            TextKey::Url => &self.url,
        };
        text.as_deref()
    }
}

/// Other words for a part of the audience, to see which do better.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariantSpec {
    /// Its name for programs.
    pub variant: String,
    /// Its share in basis points.
    pub share_bp: u32,
    /// What it says otherwise.
    pub texts: Texts,
    /// What it says otherwise in other languages: language and texts.
    pub languages: Vec<(String, Texts)>,
}

/// The variant of everybody whom no other has.
pub const CONTROL: &str = "control";

/// What stands for the variant of those who get no prompt, so that it can be seen what prompts do.
pub const HOLDOUT: &str = "holdout";

/// What decides who gets which variant: the same every time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Unit {
    /// All of an account are in the same group.
    #[default]
    Account,
    /// Each person is in a group of their own.
    Person,
}

impl Unit {
    /// The word of the catalog.
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::Account => "account",
            Unit::Person => "person",
        }
    }
}

/// How often may be prompted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// Whose showings are counted.
    pub per: Unit,
    /// The most showings in the span, at least 1.
    pub shown: u32,
    /// The span, in milliseconds.
    pub within_ms: i64,
}

/// A prompt as written. Texts are templates over the facts of the decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptSpec {
    /// Its name for programs.
    pub prompt: String,
    /// The situation it is for.
    pub scenario: Scenario,
    /// Only for this feature. `None`: for every feature.
    pub feature: Option<String>,
    /// Only for accounts on one of these plans. Empty: on every plan.
    pub plans: Vec<String>,
    /// Only for accounts of one of these segments. Empty: of every one.
    pub segments: Vec<String>,
    /// Only for these. Empty: for everybody.
    pub audiences: Vec<Audience>,
    /// Its templates in the catalog's own language. Title and message are there.
    pub texts: Texts,
    /// Its templates in other languages: language and texts.
    pub languages: Vec<(String, Texts)>,
    /// Other words for some.
    pub variants: Vec<VariantSpec>,
    /// What decides who gets which.
    pub assign_by: Unit,
    /// The share that gets no prompt, in basis points.
    pub holdout_bp: u32,
    /// How often it may be shown.
    pub caps: Vec<Cap>,
    /// How long after a showing it is not shown again, in milliseconds. 0: it may be at once.
    pub cool_down_ms: i64,
    /// The plan offered.
    pub offer: Option<String>,
}

impl PromptSpec {
    /// A prompt for everybody, without words.
    pub fn new(prompt: &str, scenario: Scenario) -> PromptSpec {
        PromptSpec {
            prompt: prompt.to_owned(),
            scenario,
            feature: None,
            plans: Vec::new(),
            segments: Vec::new(),
            audiences: Vec::new(),
            texts: Texts::default(),
            languages: Vec::new(),
            variants: Vec::new(),
            assign_by: Unit::Account,
            holdout_bp: 0,
            caps: Vec::new(),
            cool_down_ms: 0,
            offer: None,
        }
    }

    /// The places of texts that may stand for a variant in a language, the first that has one wins:
    /// the variant's and then the prompt's own, in the language, then in the ones it falls back to,
    /// at last in the catalog's own. `variant` is a place in [`PromptSpec::variants`].
    pub fn sources<'a>(
        &'a self,
        variant: Option<usize>,
        language: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Texts> {
        let variant = variant.and_then(|ix| self.variants.get(ix));
        let in_language = move |languages: &'a [(String, Texts)], tag: &str| {
            languages.iter().find(|(known, _)| known == tag).map(|(_, texts)| texts)
        };
        let translated = language.into_iter().flat_map(fallbacks).flat_map(move |tag| {
            let other = variant.and_then(|variant| in_language(&variant.languages, tag));
            other.into_iter().chain(in_language(&self.languages, tag))
        });
        translated.chain(variant.map(|variant| &variant.texts)).chain([&self.texts])
    }

    /// The template of a text for a variant in a language. `None` language: the catalog's own.
    pub fn text<'a>(
        &'a self,
        key: TextKey,
        variant: Option<usize>,
        language: Option<&'a str>,
    ) -> &'a str {
        self.sources(variant, language).find_map(|texts| texts.get(key)).unwrap_or_default()
    }

    /// The templates of the long form, alike.
    pub fn steps<'a>(&'a self, variant: Option<usize>, language: Option<&'a str>) -> &'a [String] {
        let mut all = self.sources(variant, language).map(|texts| texts.steps.as_slice());
        all.find(|steps| !steps.is_empty()).unwrap_or_default()
    }

    /// What a variant is called: that of a place, or [`CONTROL`].
    pub fn variant_name(&self, variant: Option<usize>) -> &str {
        variant.and_then(|ix| self.variants.get(ix)).map_or(CONTROL, |found| &found.variant)
    }
}

/// A language tag and the ones it falls back to: `de-AT`, `de`.
pub fn fallbacks(tag: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(tag), |tag| tag.rfind('-').map(|end| &tag[..end]))
}

/// What a catalog says about all of its prompts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptingSpec {
    /// The language that texts are written in when they do not say.
    pub language: String,
    /// The languages that every prompt is translated into.
    pub languages: Vec<String>,
    /// The account fact that says its language, for requests that do not.
    pub language_fact: String,
    /// The account fact that says its segment.
    pub segment_fact: String,
    /// How often promotion may be shown, all prompts together.
    pub caps: Vec<Cap>,
    /// From and until which minute of the day, in the account's zone, there is no promotion.
    pub quiet: Option<(u16, u16)>,
    /// How long before its end a trial is about to end, in milliseconds. `None`: as long as the nearest day
    /// of the signal `trial_ending`.
    pub trial_ending_ms: Option<i64>,
    /// How long after a showing a change of plan counts as its doing, in milliseconds.
    pub conversion_ms: i64,
}

/// Milliseconds of a day.
pub const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl Default for PromptingSpec {
    fn default() -> PromptingSpec {
        PromptingSpec {
            // Day before month, and a clock of 24 hours: what the most people read without doubt.
            language: "en-GB".to_owned(),
            languages: Vec::new(),
            language_fact: "language".to_owned(),
            segment_fact: "segment".to_owned(),
            caps: Vec::new(),
            quiet: None,
            trial_ending_ms: None,
            conversion_ms: 7 * DAY_MS,
        }
    }
}

impl PromptingSpec {
    /// The translated language that suits a locale: itself, or the nearest it falls back to.
    /// `None`: the catalog's own, also for a locale that is none.
    pub fn language_for(&self, locale: &str) -> Option<&str> {
        let locale = locale.replace('_', "-");
        for tag in fallbacks(&locale) {
            if tag.eq_ignore_ascii_case(&self.language) {
                return None;
            }
            let known = self.languages.iter().find(|known| known.eq_ignore_ascii_case(tag));
            if let Some(known) = known {
                return Some(known);
            }
        }
        None
    }

    /// Whether there is no promotion at a minute of the day. Hours that begin after they end go
    /// over midnight.
    pub fn is_quiet(&self, minute: u16) -> bool {
        self.quiet.is_some_and(|(from, until)| match from <= until {
            true => from <= minute && minute < until,
            false => from <= minute || minute < until,
        })
    }
}
