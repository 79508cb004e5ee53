//! Signatures by Standard Webhooks over `{id}.{timestamp}.{body}`: `v1` with a secret that both
//! sides know (HMAC-SHA256), `v1a` with a key pair (Ed25519), of which the receiver knows the
//! public key.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::request::Builder;
use ring::signature::Ed25519KeyPair;
use sha2::Sha256;

use crate::config::sinks::WebhookSecret;

/// Signs with every secret of an endpoint, so that one can be changed without losing a delivery.
/// Never printed.
pub(super) struct Signer {
    keys: Vec<Key>,
}

enum Key {
    Shared(Box<Hmac<Sha256>>),
    Pair(Box<Ed25519KeyPair>),
}

impl Signer {
    /// A signer with these secrets.
    pub(super) fn new(secrets: &[WebhookSecret]) -> Signer {
        let key = |secret: &WebhookSecret| match secret {
            WebhookSecret::Shared(key) => {
                Key::Shared(Box::new(Hmac::new_from_slice(key).expect("any length of key will do")))
            }
            WebhookSecret::Seed(seed) => {
                let pair = Ed25519KeyPair::from_seed_unchecked(seed);
                Key::Pair(Box::new(pair.expect("any 32 bytes will do")))
            }
        };
        Signer { keys: secrets.iter().map(key).collect() }
    }

    /// The request with the headers of a delivery; as it is when there is no secret.
    pub(super) fn signed(&self, to: Builder, id: &str, now: SystemTime, body: &[u8]) -> Builder {
        if self.keys.is_empty() {
            return to;
        }
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH);
        let timestamp = since_epoch.map_or(0, |since| since.as_secs().cast_signed());
        to.header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", self.sign(id, timestamp, body))
    }

    /// The value of the header `webhook-signature`.
    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut signed = format!("{id}.{timestamp}.").into_bytes();
        signed.extend_from_slice(body);
        let mut signatures = String::new();
        for key in &self.keys {
            if !signatures.is_empty() {
                signatures.push(' ');
            }
            match key {
                Key::Shared(key) => {
                    let mut mac = Hmac::clone(key);
                    mac.update(&signed);
                    signatures.push_str("v1,");
                    STANDARD.encode_string(mac.finalize().into_bytes(), &mut signatures);
                }
                Key::Pair(pair) => {
                    signatures.push_str("v1a,");
                    STANDARD.encode_string(pair.sign(&signed), &mut signatures);
                }
            }
        }
        signatures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;

    #[test]
    fn the_vector_of_the_specification() {
        let secret = WebhookSecret::parse(&format!("whsec_{SECRET}")).unwrap();
        let signature = Signer::new(&[secret]).sign(ID, 1_649_367_553, BODY);
        assert_eq!(signature, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }

    #[test]
    fn each_secret_adds_a_signature_that_the_reference_verifies() {
        let old = STANDARD.decode(SECRET).unwrap();
        let new = vec![7; 32];
        let secrets = [&old, &new].map(|key| WebhookSecret::Shared(key.clone()));
        // The reference refuses what is older than five minutes.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let timestamp = now.as_secs().cast_signed();
        let signature = Signer::new(&secrets).sign(ID, timestamp, BODY);
        let mut headers = http::HeaderMap::new();
        headers.insert("webhook-id", ID.parse().unwrap());
        headers.insert("webhook-timestamp", timestamp.into());
        headers.insert("webhook-signature", signature.parse().unwrap());
        for key in [old, new] {
            let verifier = standardwebhooks::Webhook::from_bytes(key).unwrap();
            verifier.verify(BODY, &headers).unwrap();
            verifier.verify(b"{}", &headers).unwrap_err();
        }
        let stranger = standardwebhooks::Webhook::from_bytes(vec![8; 32]).unwrap();
        stranger.verify(BODY, &headers).unwrap_err();
    }

    /// The first vector of RFC 8032, section 7.1, is of an empty message; ours never is. So the
    /// pair is checked by it, and the signature by the public key.
    #[test]
    fn a_key_pair_signs_what_its_public_key_verifies() {
        let bytes = |hex: &str| -> Vec<u8> {
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            (0..hex.len()).step_by(2).map(byte).collect()
        };
        let seed = bytes("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let public = bytes("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let text = format!("whsk_{}", STANDARD.encode(&seed));
        let pair = WebhookSecret::parse(&text).unwrap();
        assert_eq!(pair.public_key(), Some(format!("whpk_{}", STANDARD.encode(&public))));
        let both = format!("whsk_{}", STANDARD.encode([&*seed, &public].concat()));
        assert_eq!(WebhookSecret::parse(&both).unwrap(), pair);
        let wrong = format!("whsk_{}", STANDARD.encode([&*seed, &seed].concat()));
        assert!(WebhookSecret::parse(&wrong).unwrap_err().contains("do not belong together"));

        let shared = WebhookSecret::Shared(vec![7; 32]);
        let signatures = Signer::new(&[pair, shared]).sign(ID, 1_649_367_553, BODY);
        let (ours, other) = signatures.split_once(' ').unwrap();
        assert!(other.starts_with("v1,"));
        let signature = STANDARD.decode(ours.strip_prefix("v1a,").unwrap()).unwrap();
        let signed = [format!("{ID}.1649367553.").as_bytes(), BODY].concat();
        let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, public);
        key.verify(&signed, &signature).unwrap();
        key.verify(BODY, &signature).unwrap_err();
    }
}
