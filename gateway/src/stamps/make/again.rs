//! A stamp that was made before is told of again.

use signing::{SigningError, StampReceipt, StampSubject};
use store::RecordedStamp;
use tracing::Instrument;

use super::{Answer, Made};
use crate::problem::Problem;
use crate::stamps::document::DocumentPlace;
use crate::stamps::signatures::Ready;
use crate::state::Gateway;

/// Tells again of a stamp that was made of what a license's key signed: the same order gives the same document.
pub(super) async fn made_again<T: Send + 'static>(
    gateway: &Gateway,
    subject: StampSubject,
    ready: &Ready,
    made: &RecordedStamp,
    answer: Answer,
    tell: impl FnOnce(Answer, &StampReceipt) -> Result<T, SigningError> + Send + 'static,
    place: DocumentPlace,
) -> Result<Made<T>, Problem> {
    let RecordedStamp { stamp, log, audit_index } = made.clone();
    if !subject.is_entered_as(&stamp) || answer.template != stamp.template {
        return Err(Problem::stamp_differs());
    }
    // Another gateway may have made it, which has a log of its own.
    let logs = gateway.store.audit_logs().await.map_err(|error| Problem::database(&error))?;
    let log = logs.into_iter().find(|known| known.id == log);
    let audit_log = log.ok_or_else(|| Problem::stamp_register_broken(&stamp.id))?.origin;
    let answer = Answer { audit_log, ..answer };
    let (signer, family) = ready.co_signer().ok_or_else(Problem::panicked)?;
    // As of a new one: the document keeps its place for as long as somebody works on it.
    let (desk, signer, place_to_work) = (gateway.desk.clone(), signer.clone(), place.clone());
    let work = async move {
        let _place = place_to_work;
        let receipt = desk.stamp_again(subject, &signer, family, &stamp).await?;
        let telling = tokio::task::spawn_blocking(move || tell(answer, &receipt).map(|told| (told, receipt)));
        Ok::<_, Problem>(telling.await.map_err(|_| Problem::panicked())??)
    };
    let working = tokio::spawn(work.in_current_span());
    let (told, receipt) = working.await.map_err(|_| Problem::panicked())??;
    Ok(Made { told, receipt, audit_index, place, is_new: false })
}
