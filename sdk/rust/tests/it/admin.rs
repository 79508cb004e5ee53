//! The admin client.

use headroom_sdk::{AdminClient, Error};

#[tokio::test]
async fn an_endpoint_must_be_one() {
    let error = AdminClient::connect("localhost:7402").await.unwrap_err();
    assert!(matches!(error, Error::BadEndpoint { .. }), "{error:?}");
    assert!(!error.is_transient());
}
