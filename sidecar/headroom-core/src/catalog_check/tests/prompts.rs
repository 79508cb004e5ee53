//! Prompts: what is missing in a language, who can never see one, and what may be held back.

use super::{check, good, problems};
use crate::catalog::{CatalogSpec, PromptSpec, Scenario};
use crate::prompt::{Audience, Cap, DAY_MS, Texts, Unit, VariantSpec};

fn said(title: &str) -> Texts {
    Texts { title: Some(title.into()), ..Texts::default() }
}

fn all_said() -> Texts {
    let text = |text: &str| Some(text.to_owned());
    Texts { message: text("M"), call_to_action: text("C"), ..said("T") }
}

fn german(spec: &mut CatalogSpec) {
    spec.prompting.languages = vec!["de".into(), "de-AT".into()];
    for prompt in &mut spec.prompts {
        prompt.languages = vec![("de".into(), all_said())];
    }
}

fn variant(name: &str, share_bp: u32, texts: Texts) -> VariantSpec {
    VariantSpec { variant: name.into(), share_bp, texts, languages: vec![] }
}

#[test]
fn every_prompt_is_whole_in_every_language() {
    check(german, "");
    check(
        |s| {
            german(s);
            s.prompts[1].languages[0].1.message = None;
            s.prompts[1].languages[0].1.call_to_action = None;
        },
        "prompts/1/languages/de: the prompt has no `message`, `call_to_action` in `de`",
    );
    check(
        |s| {
            german(s);
            s.prompts[0].languages.push(("dee".into(), all_said()));
            s.prompts[1].languages.push(("en-GB".into(), all_said()));
        },
        "prompts/0/languages/dee: `dee` is none of the languages in `prompting.languages`\n\
         prompts/1/languages/en-GB: `en-GB` is the catalog's own language: its texts stand at the \
         prompt",
    );
    check(
        |s| s.prompting.languages = vec!["d".into(), "EN-gb".into()],
        "prompting/languages/0: \"d\" is no language tag, as `de` or `pt-BR`\n\
         prompting/languages/1: language `EN-gb` is there twice\n\
         prompts/0/languages/d: the prompt has no `title`, `message`, `call_to_action` in `d`\n\
         prompts/0/languages/EN-gb: the prompt has no `title`, `message`, `call_to_action` in \
         `EN-gb`\n\
         prompts/1/languages/d: the prompt has no `title`, `message`, `call_to_action` in `d`\n\
         prompts/1/languages/EN-gb: the prompt has no `title`, `message`, `call_to_action` in \
         `EN-gb`",
    );
}

#[test]
fn a_variant_says_something_otherwise_in_every_language() {
    check(|s| s.prompts[1].variants = vec![variant("bold", 5_000, said("Now"))], "");
    check(
        |s| {
            german(s);
            s.prompts[1].variants = vec![variant("bold", 5_000, said("Now"))];
        },
        "prompts/1/variants/0/languages/de: the variant has no `title` in `de`",
    );
    check(
        |s| {
            s.prompts[1].variants = vec![
                variant("control", 5_000, said("a")),
                variant("b", 6_000, Texts::default()),
                variant("b", 0, said("")),
            ];
        },
        "prompts/1/variants/0/variant: `control` is the variant of all that no other has\n\
         prompts/1/variants/1: variant `b` says nothing otherwise\n\
         prompts/1/variants/2/variant: variant `b` is defined twice\n\
         prompts/1/variants/2/share: the share must be 0.01% to 100%\n\
         prompts/1/variants/2/title: the text is empty\n\
         prompts/1/variants: the shares of the variants are more than 100% together",
    );
}

#[test]
fn the_long_form_has_its_five_steps() {
    check(|s| s.prompts[0].texts.steps = vec!["x".into(); 5], "");
    check(
        |s| s.prompts[0].texts.steps = vec!["x".into(); 4],
        "prompts/0/steps: the long form has 5 steps (why they bought, the goal, what they did, what \
         it brought, what comes next), here are 4",
    );
}

#[test]
fn only_promotion_is_held_back() {
    let cap = Cap { per: Unit::Person, shown: 2, within_ms: 7 * DAY_MS };
    let hold_back = |prompt: &mut PromptSpec| {
        (prompt.caps, prompt.cool_down_ms, prompt.holdout_bp) = (vec![cap], DAY_MS, 1_000);
    };
    check(|s| hold_back(&mut s.prompts[0]), "");
    let never = |key: &str| {
        format!(
            "prompts/1/{key}: who meets a limit is always told: a prompt for `limit_hit` is never \
             held back, leave `{key}` out"
        )
    };
    let all = ["caps", "cool_down", "holdout"].map(never).join("\n");
    check(|s| hold_back(&mut s.prompts[1]), &all);
    check(
        |s| {
            s.prompts[0].caps = vec![Cap { shown: 0, within_ms: 91 * DAY_MS, ..cap }];
            s.prompts[0].holdout_bp = 5_001;
            s.prompting.quiet = Some((60, 60));
            s.prompting.conversion_ms = 0;
        },
        "prompting/converts_within: the span must be 1 ms to 90 days\n\
         prompting/quiet_hours: they end when they begin: leave them out\n\
         prompts/0/caps/0/shown: it must be 1 to 50\n\
         prompts/0/caps/0/within: the span must be 1 ms to 90 days\n\
         prompts/0/holdout: the holdout must be at most 50%",
    );
}

/// Whom a prompt is for, as a naive model sees it: every plan, segment and audience one by one.
#[test]
fn a_prompt_is_never_shown_when_every_reader_gets_another() {
    let segments = ["", "smb", "ent"];
    let audiences = [None, Some(Audience::Buyer), Some(Audience::Member)];
    let subsets: [&[usize]; 3] = [&[], &[1], &[1, 2]];
    let mut cases = Vec::new();
    for of_segments in subsets {
        for of_audiences in subsets {
            let mut prompt = super::prompt("p", Scenario::NearLimit);
            prompt.segments = of_segments.iter().map(|ix| segments[*ix].to_owned()).collect();
            prompt.audiences = of_audiences.iter().filter_map(|ix| audiences[*ix]).collect();
            cases.push(prompt);
        }
    }
    let fits = |prompt: &PromptSpec, segment: &str, audience: Option<Audience>| {
        (prompt.segments.is_empty() || prompt.segments.iter().any(|known| known == segment))
            && (prompt.audiences.is_empty()
                || audience.is_some_and(|audience| prompt.audiences.contains(&audience)))
    };
    for (a, b, c) in triples(cases.len()) {
        let mut spec = good();
        spec.prompts = [a, b, c]
            .into_iter()
            .enumerate()
            .map(|(ix, case)| PromptSpec { prompt: format!("p{ix}"), ..cases[case].clone() })
            .collect();
        let found = problems(&spec);
        for (ix, prompt) in spec.prompts.iter().enumerate() {
            let wins = |segment: &str, audience| {
                let rank = |prompt: &PromptSpec| crate::prompt::specificity(prompt);
                let best = spec
                    .prompts
                    .iter()
                    .enumerate()
                    .filter(|(_, p)| fits(p, segment, audience))
                    .max_by_key(|(place, p)| (rank(p), std::cmp::Reverse(*place)));
                best.is_some_and(|(place, _)| place == ix)
            };
            let is_seen =
                segments.iter().any(|segment| audiences.iter().any(|who| wins(segment, *who)));
            let path = ["prompts", &ix.to_string(), "prompt"].map(str::to_owned);
            let is_refused = found.iter().any(|problem| problem.path == path);
            assert_eq!(is_refused, !is_seen, "{prompt:?} among {:?}", spec.prompts);
        }
    }
}

fn triples(count: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..count.pow(3)).map(move |n| (n % count, n / count % count, n / count.pow(2)))
}
