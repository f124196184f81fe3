//! What one request sees: table, keys, certificates, settings, standings and cells, published whole.

use std::sync::Arc;

use stamp_core::fleet::Standings;
use stamp_core::id::{EndpointIndex, StampIndex};
use stamp_core::table::RoutingTable;

use super::cells::{EndpointCell, StampCell};
use super::tenants::TenantCells;
use crate::auth::KeyRing;
use crate::settings::Live;
use crate::tls::Upstreams;
use crate::tls::downstream::Downstreams;

/// One immutable snapshot of everything that decides about a request.
#[derive(Debug)]
pub struct View {
    /// Counts the tables accepted since the process began.
    pub generation: u64,
    /// The routing table in force.
    pub table: Arc<RoutingTable>,
    /// The keys of its issuers.
    pub keys: Arc<KeyRing>,
    /// What its endpoints are spoken to with.
    pub tls: Arc<Upstreams>,
    /// How listeners shake hands with clients.
    pub downstreams: Arc<Downstreams>,
    /// The live part of gateway.toml.
    pub live: Arc<Live>,
    /// Who may serve.
    pub standings: Standings,
    /// What the tenants of the table have in flight.
    pub tenants: Arc<TenantCells>,
    pub(super) stamps: Arc<[Arc<StampCell>]>,
    pub(super) endpoints: Arc<[Arc<EndpointCell>]>,
}

impl View {
    /// The counters of a stamp of this View's table.
    #[must_use]
    pub fn stamp(&self, index: StampIndex) -> &Arc<StampCell> {
        #[expect(clippy::indexing_slicing, reason = "one cell a stamp of the table")]
        &self.stamps[index.at()]
    }

    /// The counters of an endpoint of this View's table.
    #[must_use]
    pub fn endpoint(&self, index: EndpointIndex) -> &Arc<EndpointCell> {
        #[expect(clippy::indexing_slicing, reason = "one cell an endpoint of the table")]
        &self.endpoints[index.at()]
    }

    /// All stamps' counters, in the table's order.
    #[must_use]
    pub fn stamp_cells(&self) -> &[Arc<StampCell>] {
        &self.stamps
    }

    /// All endpoints' counters, in the table's order.
    #[must_use]
    pub fn endpoint_cells(&self) -> &[Arc<EndpointCell>] {
        &self.endpoints
    }
}
