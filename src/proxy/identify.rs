//! A request -> whom it is for: every configured source is read, core judges.

use std::rc::Rc;

use http::Request;
use stamp_core::claims::{Claims, TokenError, Verified};
use stamp_core::identify::{self, Head, Peer};
use stamp_core::resolve::{Target, resolve};

use super::error::ProxyError;
use super::worker::{Worker, WorkerView};
use crate::auth::{self, AuthError};
use crate::tls::downstream::Session;

/// Reads the clues of a request and resolves them.
pub(super) fn target<B>(
    worker: &Worker,
    view: &WorkerView,
    request: &Request<B>,
    peer: Peer,
) -> Result<Target, ProxyError> {
    let head = head_of(request);
    let verified = token(worker, view, &head).inspect_err(|error| {
        if let ProxyError::Auth(error) = error {
            count(worker, "jwt", error.code());
        }
    })?;
    let clues = identify::clues(&head, &view.table, peer, verified.as_deref())
        .inspect_err(|error| count(worker, error.from().as_str(), error.code()))?;
    let target = resolve(&view.table, &clues).inspect_err(|error| {
        let source = clues.iter().next().map_or("none", |clue| clue.source.as_str());
        count(worker, source, error.code());
    })?;
    count(worker, target.source.as_str(), "ok");
    if let Some(conflict) = &target.conflict {
        count(worker, conflict.weaker.as_str(), "conflict_overruled");
        tracing::warn!(%conflict, "clues disagree; the stronger one was followed");
    }
    Ok(target)
}

/// Over TLS, a host is asked for over its own certificate alone.
pub(super) fn check_certificate<B>(
    worker: &Worker,
    session: Option<&Session>,
    request: &Request<B>,
) -> Result<(), ProxyError> {
    let Some(session) = session else { return Ok(()) };
    let (certificates, in_use) = session.certificates();
    identify::check_covered(&head_of(request), certificates, in_use)
        .inspect_err(|error| count(worker, error.from().as_str(), error.code()))?;
    Ok(())
}

fn head_of<B>(request: &Request<B>) -> Head<'_> {
    Head {
        version: request.version(),
        authority: request.uri().authority().map(http::uri::Authority::as_str),
        headers: request.headers(),
    }
}

fn count(worker: &Worker, source: &'static str, result: &'static str) {
    worker.counts().resolved(source, result);
}

/// The verified claims of the request's token, if there is a token that is ours to judge.
fn token(
    worker: &Worker,
    view: &WorkerView,
    head: &Head<'_>,
) -> Result<Option<Rc<Verified<Claims>>>, ProxyError> {
    let now = || worker.clock().unix();
    let read = (&view.table.identity.token, head);
    let checked = auth::verified(&view.keys, &mut worker.tokens.borrow_mut(), read, now);
    let (issuer, result) = match &checked {
        Ok(None) => return Ok(None),
        Ok(Some(claims)) => (claims.issuer.clone(), "ok"),
        Err(AuthError::InvalidToken(token)) => {
            let issuer = token.issuer.clone().unwrap_or_default();
            if token.reason == TokenError::Key {
                worker.state().ask_keys(&issuer);
            }
            (issuer, token.reason.as_str())
        }
        Err(AuthError::SeveralAuthorizations | AuthError::Place(_)) => (Box::default(), "several"),
    };
    *worker.counts().tokens.entry((issuer, result)).or_default() += 1;
    Ok(checked?)
}
