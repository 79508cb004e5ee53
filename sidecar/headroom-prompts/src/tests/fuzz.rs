//! Whatever customers call themselves, it stays a word in a text: over random Unicode in every
//! fact.

use super::*;

/// Seeds of one run. Another one is asked for by `HEADROOM_SEED`.
const SEED: u64 = 0x0005_eed0_f0a7;

/// A generator of numbers that are the same for a seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    fn char(&mut self) -> char {
        const AWKWARD: [char; 24] = [
            '<',
            '>',
            '&',
            '"',
            '\'',
            '{',
            '}',
            '%',
            '#',
            '\0',
            '\u{7}',
            '\u{1b}',
            '\n',
            '\r',
            '\t',
            '\u{85}',
            '\u{a0}',
            '\u{200b}',
            '\u{202e}',
            '\u{2028}',
            '\u{2066}',
            '\u{feff}',
            '\u{e000}',
            '\u{10ffff}',
        ];
        match self.below(4) {
            0 => self.pick(&AWKWARD),
            1 => char::from(u8::try_from(self.below(128)).unwrap()),
            _ => {
                let number = u32::try_from(self.below(0x11_0000)).unwrap();
                char::from_u32(number).unwrap_or('\u{d7ff}')
            }
        }
    }

    fn text(&mut self) -> String {
        const PIECES: [&str; 8] = [
            "{{ 7 * 6 }}",
            "{% raw %}",
            "{# x #}",
            "<script>alert(1)</script>",
            "javascript:alert(1)",
            "](https://evil.test)",
            "&lt;b&gt;",
            "\u{1b}[31m",
        ];
        let mut text = String::new();
        for _ in 0..self.below(12) {
            match self.below(6) {
                0 => text.push_str(self.pick(&PIECES)),
                _ => text.push(self.char()),
            }
        }
        text
    }
}

/// A template that says every fact of the account and of the request.
const ALL: &str = "{{ account }}|{{ feature }}|{{ feature_name }}|{{ unit }}|{{ plan }}|{{ plan_name }}|\
    {{ limit }}|{{ facts.text }}|{{ facts.list[0] }}|{{ facts.map.key }}|{{ facts.text|date }}|\
    {{ facts.text|money('USD') }}|{{ facts.text|grouped }}";

#[test]
fn what_customers_write_never_becomes_markup_or_a_template() {
    let seed = std::env::var("HEADROOM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(SEED);
    println!("HEADROOM_SEED={seed}");
    let mut dice = Dice(seed);
    let mut spec = spec(Scenario::NearLimit, ALL);
    let url = "https://x.test/{{ account }}?p={{ plan_name }}&f={{ facts.text }}#{{ unit }}";
    spec.prompts[0].texts.url = Some(url.into());
    spec.prompts[0].texts.title = Some(ALL.into());
    spec.prompts[0].texts.call_to_action = Some(ALL.into());
    spec.prompting.languages = vec!["de".into(), "ar".into(), "ja".into()];
    let texts = Texts { url: None, ..spec.prompts[0].texts.clone() };
    spec.prompts[0].languages =
        spec.prompting.languages.iter().map(|tag| (tag.clone(), texts.clone())).collect();
    let renderer = Renderer::compile(&spec).unwrap();
    for _ in 0..3_000 {
        let words: Vec<String> = (0..8).map(|_| dice.text()).collect();
        let own = [
            ("list".to_owned(), serde_json::to_string(&[&words[6]]).unwrap()),
            ("map".to_owned(), serde_json::json!({ "key": &words[7] }).to_string()),
            ("text".to_owned(), serde_json::to_string(&words[0]).unwrap()),
        ];
        let facts = Facts {
            account: &words[1],
            feature: &words[2],
            feature_name: &words[3],
            unit: &words[4],
            plan: &words[5],
            plan_name: &words[6],
            limit: Some(LimitFacts { limit: &words[7], ..facts().limit.unwrap() }),
            account_facts: &own,
            ..facts()
        };
        let languages = [None, Some("de"), Some("ar"), Some("ja")];
        let wording = Wording { variant: None, language: dice.pick(&languages) };
        let rendered = renderer.render(0, wording, &facts).unwrap();
        check_rendered(&rendered, &words);
    }
}

fn check_rendered(rendered: &Rendered, words: &[String]) {
    let said = [&rendered.title, &rendered.message, &rendered.call_to_action];
    let shown = rendered.facts.iter().map(|(_, value)| value);
    for text in said.into_iter().chain(shown) {
        assert!(!text.contains(['<', '>']), "markup in {text:?} of {words:?}");
        assert!(text.chars().all(|c| !c.is_control()), "control in {text:?} of {words:?}");
        let is_hidden = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
        assert!(!text.contains(is_hidden), "hidden in {text:?} of {words:?}");
    }
    // A template in a fact is a text: nothing in it was carried out.
    if words.iter().all(|word| !word.contains("42")) {
        assert!(!rendered.message.contains("42"), "{:?} of {words:?}", rendered.message);
    }
    assert!(rendered.title.chars().count() <= TITLE_CHARS_MAX);
    assert!(rendered.message.chars().count() <= MESSAGE_CHARS_MAX);
    // The address is still the same one, with other values.
    let url = rendered.url.strip_prefix("https://x.test/").expect(&rendered.url);
    assert_eq!(url.matches(['/', '?', '&', '#', '=']).collect::<String>(), "?=&=#", "{url:?}");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.~%?=&#".contains(c);
    assert!(url.chars().all(is_plain), "{url:?}");
}
