//! Erasing names: of subjects, and of who sits on a seat.

use headroom_core::subject::SubjectPath;
use headroom_engine::ports::Seq;
use headroom_proto::v1;

use super::Administration;
use crate::grpc::parse;
use crate::grpc::status::WireError;

impl Administration {
    pub(super) async fn erase(
        &self,
        rq: &v1::EraseSubjectRequest,
    ) -> Result<v1::EraseSubjectResponse, WireError> {
        let account = parse::id("account", &rq.account)?;
        // Everything is read before anything is forgotten.
        let member = match rq.seat_member.as_str() {
            "" => None,
            member => Some(parse::id("seat_member", member)?),
        };
        let is_seat_alone = rq.subject.is_empty() && member.is_some();
        let subject = if is_seat_alone { None } else { Some(parse::subject(&rq.subject)?) };
        let int = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let mut erased = v1::EraseSubjectResponse::default();
        if let Some(subject) = subject {
            erased.erased_names = int(self.erase_names(account, subject).await?);
        }
        if let Some(member) = member {
            let engine = &self.core.shared.engine;
            let (count, wait_for) = engine.erase_member(account, member, self.now())?;
            if let Some(seq) = wait_for {
                self.written(seq).await?;
            }
            erased.freed_seats = int(count);
        }
        Ok(erased)
    }

    async fn erase_names(
        &self,
        account: &str,
        subject: SubjectPath<'_>,
    ) -> Result<usize, WireError> {
        let erased = crate::grpc::late::caught_up(|| self.erase_once(account, subject));
        let (count, wait_for) = erased.await?;
        if let Some(seq) = wait_for {
            self.written(seq).await?;
        }
        Ok(count)
    }

    fn erase_once(
        &self,
        account: &str,
        subject: SubjectPath<'_>,
    ) -> Result<(usize, Option<Seq>), WireError> {
        let engine = &self.core.shared.engine;
        let seen = engine.look_erase(&*self.core.store, account, subject);
        let seen = seen.map_err(|error| WireError::archive(&error))?;
        Ok(engine.erase_subject(account, subject, &seen, self.now())?)
    }
}
