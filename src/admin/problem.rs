//! What went wrong, as `application/problem+json` (RFC 9457) with a stable code.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use stamp_core::operator::OperatorRefusal;

use super::access::Actor;
use super::view::ProblemView;
use crate::diagnostics::Report;
use crate::state::OrderError;

/// Seconds after which a 503 may be tried again.
const RETRY_AFTER_S: u32 = 1;

/// A refusal.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    tenants: Option<u32>,
    diagnostics: Option<Report>,
    actor: Option<Actor>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { status, code, detail, tenants: None, diagnostics: None, actor: None }
    }

    /// What was sent makes no sense.
    pub(super) fn unprocessable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// What was sent is no question.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_body", detail)
    }

    /// The same where the contract knows only 400 for what makes no sense.
    pub(super) fn into_bad_request(self) -> Self {
        let status = match self.status {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            other => other,
        };
        Self { status, ..self }
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "token_required", "A valid bearer token is required.")
    }

    pub(super) fn unknown_stamp() -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown_stamp", "No stamp has this id.")
    }

    pub(super) fn unknown_tenant() -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown_tenant", "No tenant has this id.")
    }

    pub(super) fn not_ready(detail: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", detail)
    }

    /// What was decided now would be lost.
    pub(super) fn handing_over() -> Self {
        Self::not_ready("The gateway is being upgraded: ask again in a moment.")
    }

    /// The files were refused.
    pub(super) fn of_report(report: Report) -> Self {
        let detail = "The files were refused; what was in force stays in force.";
        let problem = Self::unprocessable("config_refused", detail);
        Self { diagnostics: Some(report), ..problem }
    }

    /// This one asked, although it was refused.
    pub(super) fn by(self, actor: Actor) -> Self {
        Self { actor: Some(actor), ..self }
    }

    /// Who was refused, if that is known.
    pub(super) fn actor(&self) -> Option<&Actor> {
        self.actor.as_ref()
    }

    #[cfg(test)]
    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable code.
    pub(super) const fn code(&self) -> &'static str {
        self.code
    }
}

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Refused(refusal) => refusal.into(),
            OrderError::Journal(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "journal_failed",
                "The journal could not be written, so nothing was changed.",
            ),
            OrderError::HandingOver => Self::handing_over(),
            OrderError::Stopping => Self::not_ready("The gateway is stopping."),
        }
    }
}

impl From<OperatorRefusal> for Problem {
    fn from(refusal: OperatorRefusal) -> Self {
        match refusal {
            OperatorRefusal::UnknownStamp => Self::unknown_stamp(),
            OperatorRefusal::WouldStrand { tenants } => {
                let detail = format!(
                    "{tenants} tenants would have nowhere to go; \"force\": true drains all the same."
                );
                let problem = Self::new(StatusCode::CONFLICT, "would_strand", detail);
                Self { tenants: Some(tenants), ..problem }
            }
            OperatorRefusal::NotDrained => {
                let detail = "The stamp is not drained; \"force\": true takes it out all the same.";
                Self::new(StatusCode::CONFLICT, "not_drained", detail)
            }
            OperatorRefusal::NotEligible => {
                let detail = "The stamp is not up, or does not serve its own tenants.";
                Self::new(StatusCode::CONFLICT, "not_eligible", detail)
            }
            OperatorRefusal::NoSuchStep { from } => {
                let detail = format!("A stamp that is {from} cannot be put into that state.");
                Self::new(StatusCode::CONFLICT, "no_such_step", detail)
            }
            OperatorRefusal::NotDraining => {
                let detail = "There is no drain of this stamp to end.";
                Self::new(StatusCode::CONFLICT, "not_draining", detail)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let view = ProblemView {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            tenants: self.tenants,
            diagnostics: self.diagnostics.as_ref(),
        };
        let body = serde_json::to_vec(&view).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, RETRY_AFTER_S.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"stampgate\"");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(problem: impl Into<Problem>) -> (u16, &'static str) {
        let problem = problem.into();
        (problem.status.as_u16(), problem.code)
    }

    #[test]
    fn refused_orders_have_the_contracts_codes() {
        assert_eq!(status(OperatorRefusal::UnknownStamp), (404, "unknown_stamp"));
        assert_eq!(status(OperatorRefusal::WouldStrand { tenants: 3 }), (409, "would_strand"));
        assert_eq!(status(OperatorRefusal::NotDraining), (409, "not_draining"));
        assert_eq!(status(OrderError::Stopping), (503, "not_ready"));
    }

    #[test]
    fn a_drain_that_would_strand_says_how_many_tenants() {
        let problem = Problem::from(OperatorRefusal::WouldStrand { tenants: 3 });
        assert_eq!(problem.tenants, Some(3));
        assert!(problem.detail.starts_with("3 tenants"));
    }

    #[test]
    fn a_missing_token_is_challenged_and_a_503_says_when_to_come_back() {
        let response = Problem::unauthorized().into_response();
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert!(response.headers()[WWW_AUTHENTICATE].to_str().unwrap().starts_with("Bearer"));
        let response = Problem::not_ready("").into_response();
        assert_eq!(response.headers()[RETRY_AFTER], "1");
    }
}
