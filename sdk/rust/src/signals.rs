//! What only the product and its neighbours know: activity, signals and facts, told as events.

use crate::client::Client;
use crate::error::Error;
use headroom_proto::v1;
use headroom_proto::v1::signal_service_client::SignalServiceClient;

impl Client {
    /// Tells events, all of them or none. Says of each whether it was known already. Each has an id of
    /// its own, so a retry after an error is safe.
    pub async fn publish(&self, events: Vec<v1::Event>) -> Result<Vec<bool>, Error> {
        let mut client = SignalServiceClient::new(self.channel());
        let request = v1::PublishRequest { events };
        Ok(self.within_deadline(client.publish(request)).await?.duplicates)
    }

    /// Says how far an opportunity is that came of a signal. The same again changes nothing.
    pub async fn update_opportunity(
        &self,
        request: v1::UpdateOpportunityRequest,
    ) -> Result<v1::UpdateOpportunityResponse, Error> {
        let mut client = SignalServiceClient::new(self.channel());
        self.within_deadline(client.update_opportunity(request)).await
    }
}
