//! Signatures by Standard Webhooks: HMAC-SHA256 over `{id}.{timestamp}.{body}`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Signs with every secret of an endpoint, so that one can be changed without losing a delivery.
/// Never printed.
pub(super) struct Signer {
    keyed: Vec<Hmac<Sha256>>,
}

impl Signer {
    /// A signer with these keys.
    pub(super) fn new<'a>(keys: impl IntoIterator<Item = &'a [u8]>) -> Signer {
        let keyed = |key| Hmac::new_from_slice(key).expect("any length of key will do");
        Signer { keyed: keys.into_iter().map(keyed).collect() }
    }

    /// The value of the header `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let head = format!("{id}.{timestamp}.");
        let mut signatures = String::new();
        for keyed in &self.keyed {
            let mut mac = keyed.clone();
            mac.update(head.as_bytes());
            mac.update(body);
            if !signatures.is_empty() {
                signatures.push(' ');
            }
            signatures.push_str("v1,");
            STANDARD.encode_string(mac.finalize().into_bytes(), &mut signatures);
        }
        signatures
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const SECRET: &str = "C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;

    #[test]
    fn the_vector_of_the_specification() {
        let key = STANDARD.decode(SECRET).unwrap();
        let signature = Signer::new([&*key]).sign(ID, 1_649_367_553, BODY);
        assert_eq!(signature, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }

    #[test]
    fn each_secret_adds_a_signature_that_the_reference_verifies() {
        let old = STANDARD.decode(SECRET).unwrap();
        let new = [7; 32];
        // The reference refuses what is older than five minutes.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let timestamp = now.as_secs().cast_signed();
        let signature = Signer::new([&*old, &new]).sign(ID, timestamp, BODY);
        let mut headers = http::HeaderMap::new();
        headers.insert("webhook-id", ID.parse().unwrap());
        headers.insert("webhook-timestamp", timestamp.into());
        headers.insert("webhook-signature", signature.parse().unwrap());
        for key in [&*old, &new] {
            let verifier = standardwebhooks::Webhook::from_bytes(key.to_vec()).unwrap();
            verifier.verify(BODY, &headers).unwrap();
            verifier.verify(b"{}", &headers).unwrap_err();
        }
        let stranger = standardwebhooks::Webhook::from_bytes(vec![8; 32]).unwrap();
        stranger.verify(BODY, &headers).unwrap_err();
    }
}
