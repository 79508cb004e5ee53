//! Secrets of sinks: where they come from, and those that deliveries are signed with.
//!
//! A message never repeats what was written: it may be a secret.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use crate::config::problems::Problem;
use crate::config::reader::{Entry, Fields, Reader};

/// Secrets of one sink. Two are enough to change one without losing a delivery; each is a signature
/// in the header of every delivery, so more are refused.
const SECRETS_MAX: usize = 4;

/// Bytes of a shared secret, as Standard Webhooks has it.
const SHARED_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Bytes of the seed of a key pair, and of the public key.
const SEED_BYTES: usize = 32;

/// A text that is a secret. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(pub String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// A key that deliveries are signed with. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum WebhookSecret {
    /// Both sides know it: 24 to 64 bytes.
    Shared(Vec<u8>),
    /// The seed of a key pair (Ed25519), of which receivers know the public key only.
    Seed([u8; SEED_BYTES]),
}

impl WebhookSecret {
    /// The secret of a `whsec_…` or `whsk_…` text. The error never repeats the text.
    pub fn parse(text: &str) -> Result<WebhookSecret, String> {
        if let Some(encoded) = text.strip_prefix("whsk_") {
            let bytes = decode("whsk_", encoded)?;
            return match (bytes.first_chunk(), bytes.get(SEED_BYTES..)) {
                (Some(seed), Some([])) => Ok(WebhookSecret::Seed(*seed)),
                // As some tools write it: the public key follows.
                (Some(seed), Some(public)) if public.len() == SEED_BYTES => {
                    Ed25519KeyPair::from_seed_and_public_key(seed, public)
                        .map_err(|_| "the two halves of the `whsk_` key do not belong together")?;
                    Ok(WebhookSecret::Seed(*seed))
                }
                _ => Err(format!(
                    "the `whsk_` key has {} bytes, it must have 32, or 64 with the public key",
                    bytes.len()
                )),
            };
        }
        let (min, max) = (SHARED_BYTES.start(), SHARED_BYTES.end());
        if text.starts_with("whpk_") {
            return Err("this is a public key; signing needs the private one, `whsk_…`".to_owned());
        }
        let Some(encoded) = text.strip_prefix("whsec_") else {
            return Err(format!(
                "a secret is `whsec_` and {min} to {max} bytes in base64, or `whsk_` and an Ed25519 \
                 key (make one with `headroom sinks new-secret`), or `${{NAME}}` of an environment \
                 variable that holds it"
            ));
        };
        let key = decode("whsec_", encoded)?;
        if !SHARED_BYTES.contains(&key.len()) {
            let bytes = key.len();
            return Err(format!("the secret has {bytes} bytes, it must have {min} to {max}"));
        }
        Ok(WebhookSecret::Shared(key))
    }

    /// A new one: a shared secret, or the seed of a pair.
    pub fn random(is_pair: bool) -> WebhookSecret {
        let mut bytes = [0; SEED_BYTES];
        // Nothing that could be done without randomness would be worth it.
        SystemRandom::new().fill(&mut bytes).expect("the operating system has randomness");
        if is_pair { WebhookSecret::Seed(bytes) } else { WebhookSecret::Shared(bytes.to_vec()) }
    }

    /// The secret itself, as [`Self::parse`] reads it. Only for whoever asked for a new one.
    pub fn text(&self) -> String {
        match self {
            WebhookSecret::Shared(key) => format!("whsec_{}", STANDARD.encode(key)),
            WebhookSecret::Seed(seed) => format!("whsk_{}", STANDARD.encode(seed)),
        }
    }

    /// The text that receivers are told to verify with. `None`: they have the secret itself.
    pub fn public_key(&self) -> Option<String> {
        match self {
            WebhookSecret::Shared(_) => None,
            WebhookSecret::Seed(seed) => {
                let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes will do");
                Some(format!("whpk_{}", STANDARD.encode(pair.public_key())))
            }
        }
    }
}

fn decode(prefix: &str, encoded: &str) -> Result<Vec<u8>, String> {
    let what = |_| format!("what follows `{prefix}` in the secret is not base64");
    STANDARD.decode(encoded).map_err(what)
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

/// Where secrets come from, when they are not in the catalog itself.
pub trait Secrets {
    /// The value of an environment variable.
    fn env(&self, name: &str) -> Result<String, String>;

    /// The text of a file; a relative path is relative to the catalog.
    fn file(&self, path: &Path) -> Result<String, String>;

    /// False when every secret is only a stand-in, whose form says nothing.
    fn are_real(&self) -> bool {
        true
    }
}

/// The environment of this process and the files next to the catalog.
#[derive(Debug, Clone)]
pub struct RealSecrets {
    /// The directory of the catalog.
    pub base: PathBuf,
}

impl Secrets for RealSecrets {
    fn env(&self, name: &str) -> Result<String, String> {
        std::env::var(name).map_err(|error| match error {
            std::env::VarError::NotPresent => {
                format!("the environment variable `{name}` is not set")
            }
            std::env::VarError::NotUnicode(_) => {
                format!("the environment variable `{name}` is not UTF-8")
            }
        })
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        let path = self.base.join(path);
        std::fs::read_to_string(&path)
            .map_err(|error| format!("the secret file {} cannot be read: {error}", path.display()))
    }
}

/// For checks where secrets are not at hand, as in CI: every reference stands for a good one.
#[derive(Debug, Clone, Copy)]
pub struct NoSecrets;

/// A secret of 24 zero bytes.
const STAND_IN: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

impl Secrets for NoSecrets {
    fn env(&self, _: &str) -> Result<String, String> {
        Ok(STAND_IN.to_owned())
    }

    fn file(&self, _: &Path) -> Result<String, String> {
        Ok(STAND_IN.to_owned())
    }

    fn are_real(&self) -> bool {
        false
    }
}

/// A text that may be a secret: as written, or `${NAME}` of an environment variable.
pub(super) fn text(reader: &Reader, entry: Entry<'_>, secrets: &dyn Secrets) -> Option<String> {
    let Some(text) = entry.scalar() else {
        reader.note_at(entry, format!("`{}` must be a text", entry.name));
        return None;
    };
    let found = match text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
        Some(name) => secrets.env(name).map(|text| text.trim().to_owned()),
        None => Ok(text.to_owned()),
    };
    match found {
        Ok(text) if text.is_empty() => {
            reader.note_at(entry, format!("`{}` is empty", entry.name));
            None
        }
        found => found.map_err(|problem| reader.note_at(entry, problem)).ok(),
    }
}

/// What a sink signs with: one of `secret`, `secrets` and `secret_file`. Empty if it need not sign
/// and does not.
pub(super) fn read(
    reader: &Reader,
    fields: &mut Fields<'_, '_>,
    item: Entry<'_>,
    secrets: &dyn Secrets,
    must_sign: bool,
) -> Option<Vec<WebhookSecret>> {
    let one = fields.optional("secret");
    let many = fields.optional("secrets");
    let file = fields.optional("secret_file");
    let given = [one, many, file].into_iter().flatten().count();
    if given == 0 && !must_sign {
        return Some(vec![]);
    }
    if given != 1 {
        let how =
            if given == 0 { "no secret to sign with" } else { "more than one way to a secret" };
        reader.note(Problem::at(
            item.place(),
            format!("{how}: give one of `secret`, `secrets` and `secret_file`"),
        ));
        return None;
    }
    if let Some(entry) = one {
        return Some(vec![read_secret(reader, entry, secrets)?]);
    }
    if let Some(entry) = file {
        let Some(path) = entry.scalar() else {
            reader.note_at(entry, "`secret_file` must be the path of a file");
            return None;
        };
        let text = secrets.file(Path::new(path));
        let secret = text.and_then(|text| WebhookSecret::parse(text.trim()));
        return secret.map_err(|problem| reader.note_at(entry, problem)).ok().map(|s| vec![s]);
    }
    let entry = many?;
    let items = reader.list(entry, "a list of secrets")?;
    if !(1..=SECRETS_MAX).contains(&items.len()) {
        let count = items.len();
        reader.note_at(entry, format!("{count} secrets, it must be 1 to {SECRETS_MAX}"));
        return None;
    }
    let read: Vec<_> = items.map(|item| read_secret(reader, item, secrets)).collect();
    read.into_iter().collect()
}

/// Messages never repeat what was written: it may be a secret.
fn read_secret(reader: &Reader, entry: Entry<'_>, secrets: &dyn Secrets) -> Option<WebhookSecret> {
    let Some(text) = entry.scalar() else {
        reader.note_at(entry, format!("`{}` must be a text", entry.name));
        return None;
    };
    let variable = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let secret = match variable {
        Some(name) => secrets.env(name).and_then(|text| {
            let secret = WebhookSecret::parse(text.trim());
            secret.map_err(|problem| format!("in the environment variable `{name}`: {problem}"))
        }),
        None => WebhookSecret::parse(text),
    };
    secret.map_err(|problem| reader.note_at(entry, problem)).ok()
}
