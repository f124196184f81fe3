//! Cells by identity: a stamp keeps its cell as long as its id stays, an endpoint as long as its
//! stamp and address do. So counters, pools and breakers survive a reload.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use stamp_core::id::StampId;
use stamp_core::table::{RoutingTable, Stamp};
use stamp_core::time::Moment;

use super::cells::{CellLimits, EndpointCell, StampCell};

/// Stamp and address.
type EndpointLabels = (Box<str>, Box<str>);

/// The labels of cells by number. Numbers are never used again, so a label never changes.
#[derive(Debug, Default)]
pub struct Names {
    stamps: Mutex<HashMap<u32, Box<str>>>,
    endpoints: Mutex<HashMap<u32, EndpointLabels>>,
}

impl Names {
    /// The stamp of this number.
    #[must_use]
    pub fn stamp(&self, number: u32) -> Option<Box<str>> {
        self.stamps.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    /// Stamp and address of the endpoint of this number.
    #[must_use]
    pub fn endpoint(&self, number: u32) -> Option<EndpointLabels> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    fn name_stamp(&self, number: u32, id: &StampId<'_>) {
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        stamps.insert(number, id.as_str().into());
    }

    fn name_endpoint(&self, number: u32, stamp: &StampId<'_>, authority: &str) {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        endpoints.insert(number, (stamp.as_str().into(), authority.into()));
    }
}

type EndpointKey = (StampId<'static>, String);

/// All cells of the table in force.
#[derive(Debug)]
pub(super) struct Registry {
    workers: usize,
    next: u32,
    names: Arc<Names>,
    stamps: HashMap<StampId<'static>, Arc<StampCell>>,
    endpoints: HashMap<EndpointKey, (Arc<EndpointCell>, u32)>,
}

/// The cells of one table, in its order.
pub(super) struct Cells {
    pub(super) stamps: Arc<[Arc<StampCell>]>,
    pub(super) endpoints: Arc<[Arc<EndpointCell>]>,
}

impl Registry {
    pub(super) fn new(workers: usize, names: Arc<Names>) -> Self {
        let (stamps, endpoints) = (HashMap::new(), HashMap::new());
        Self { workers, next: 0, names, stamps, endpoints }
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// The cells of a table: those that were there before, and new ones; others are forgotten.
    pub(super) fn cells_of(&mut self, table: &RoutingTable, now: Moment) -> Cells {
        let mut stamps = HashMap::new();
        let mut endpoints = HashMap::new();
        let mut order = Vec::with_capacity(table.endpoint_count());
        for stamp in table.stamps() {
            let cell = self.stamp_cell(stamp, now);
            stamps.insert(stamp.id.clone(), cell);
            for endpoint in &stamp.endpoints {
                let key = (stamp.id.clone(), endpoint.authority());
                let entry = self.endpoint_cell(stamp, endpoint, &key);
                order.push((endpoint.index, Arc::clone(&entry.0)));
                endpoints.insert(key, entry);
            }
        }
        order.sort_by_key(|(index, _)| *index);
        let in_order = table.stamps().iter().filter_map(|stamp| stamps.get(&stamp.id).cloned());
        let cells = Cells {
            stamps: in_order.collect(),
            endpoints: order.into_iter().map(|(_, cell)| cell).collect(),
        };
        self.stamps = stamps;
        self.endpoints = endpoints;
        cells
    }

    fn stamp_cell(&mut self, stamp: &Stamp, now: Moment) -> Arc<StampCell> {
        if let Some(cell) = self.stamps.get(&stamp.id) {
            return Arc::clone(cell);
        }
        let number = self.number();
        self.names.name_stamp(number, &stamp.id);
        StampCell::new(number, stamp.id.clone(), now)
    }

    fn endpoint_cell(
        &mut self,
        stamp: &Stamp,
        endpoint: &stamp_core::table::Endpoint,
        key: &EndpointKey,
    ) -> (Arc<EndpointCell>, u32) {
        let connections_max = stamp.pool.connections_max;
        if let Some((cell, before)) = self.endpoints.get(key) {
            cell.resize(*before, connections_max);
            return (Arc::clone(cell), connections_max);
        }
        let number = self.number();
        self.names.name_endpoint(number, &stamp.id, &key.1);
        let address = endpoint.host.parse().ok();
        let addresses = address.map(|ip| std::net::SocketAddr::new(ip, endpoint.port));
        let limits = CellLimits { connections_max, workers: self.workers };
        let cell = EndpointCell::new(
            number,
            stamp.id.clone(),
            key.1.as_str().into(),
            addresses.into_iter().collect(),
            limits,
        );
        (cell, connections_max)
    }
}
