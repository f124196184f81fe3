//! Why a request was not served. What the client is told stands in `respond`.

use stamp_core::admission::TenantRefusal;
use stamp_core::failover::Refusal;
use stamp_core::framing::FramingError;
use stamp_core::identify::IdentifyError;
use stamp_core::resolve::ResolveError;

use crate::auth::AuthError;

/// Everything that can end a request at the gateway.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProxyError {
    /// The bytes were no request, or one that two readers could take in two ways.
    #[error("malformed request: {0}")]
    Malformed(FramingError),
    /// The listener speaks TLS, and the client does not.
    #[error("HTTP in the clear at a listener that speaks TLS")]
    PlainHttp,
    /// The time that an RPC says it may take is none.
    #[error("a malformed grpc-timeout")]
    BadTimeout,
    /// An expectation other than `100-continue`.
    #[error("an expectation that is not known")]
    ExpectationFailed,
    /// A clue was malformed, or the host is none of ours.
    #[error(transparent)]
    Identify(#[from] IdentifyError),
    /// The credentials were malformed, or the bearer token did not verify.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The clues name nobody, or somebody unknown, or contradict each other.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Nobody may serve.
    #[error("no stamp may serve: {0:?}")]
    Refused(Refusal),
    /// The gateway has its fill of requests.
    #[error("too many requests in flight")]
    Overloaded,
    /// The gateway has hardly any memory left.
    #[error("memory is short")]
    ShortOfMemory,
    /// The tenant has its fill, or asks too often.
    #[error(transparent)]
    TenantLimited(#[from] TenantRefusal),
    /// The stamp has its fill of requests or of connections, or what room it has is left to higher
    /// priorities.
    #[error("the stamp is saturated")]
    StampSaturated,
    /// No endpoint of the stamp can be tried (any more).
    #[error("no endpoint of the stamp is available")]
    NoEndpoint,
    /// No connection to the stamp was had.
    #[error("no connection to the stamp")]
    ConnectFailed,
    /// The stamp broke off, or what it said was no HTTP.
    #[error("the stamp broke off or broke the protocol")]
    UpstreamProtocol,
    /// The stamp is spoken to in HTTP/2, and that does not switch protocols.
    #[error("the stamp is spoken to in HTTP/2, which does not switch protocols")]
    NoSwitch,
    /// The request came by here before.
    #[error("the request went through this gateway before")]
    Loop,
    /// The stamp did not answer in time.
    #[error("the stamp did not answer in time")]
    UpstreamTimeout,
    /// The stamp did not answer before its drain was over.
    #[error("the stamp did not answer before its drain was over")]
    DrainOver,
    /// The client did not send in time.
    #[error("the request did not come in time")]
    RequestTimeout,
    /// The client sent next to nothing, and others waited for the room that its request held.
    #[error("the request came too slowly while others waited")]
    InTheWay,
    /// The body is larger than the limit.
    #[error("the request body is too large")]
    BodyTooLarge,
    /// The client's body broke off or was malformed.
    #[error("the request body broke off or was malformed")]
    BodyBroken,
    /// A bug: the request alone suffers.
    #[error("the gateway failed")]
    Internal,
}
