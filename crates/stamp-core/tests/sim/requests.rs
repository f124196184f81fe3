//! Requests of clients: what they ask, and what they say about whom they are for.

use http::header::{COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::plan::{NAMES, Plan, StampKey, TenantKey, name};
use crate::world::{Dice, MS, Micros};

/// A body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    None,
    /// Small enough to be kept whole.
    Small,
    /// It streams.
    Large,
}

/// A host that a request may be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Neutral,
    Tenant(TenantKey),
    Stamp(StampKey),
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) number: u64,
    pub(crate) method: Method,
    pub(crate) has_key: bool,
    pub(crate) body: Body,
    pub(crate) host: Host,
    pub(crate) header_stamp: Option<StampKey>,
    pub(crate) header_tenant: Option<TenantKey>,
    pub(crate) cookie_stamp: Option<StampKey>,
    /// The longest that it may take in all.
    pub(crate) time: Option<Micros>,
}

impl Request {
    /// A request for somebody of this table, mostly.
    pub(crate) fn drawn(number: u64, plan: &Plan, dice: &mut Dice) -> Self {
        let some_stamp = |dice: &mut Dice| {
            let any = StampKey::try_from(dice.below(u64::try_from(NAMES.len()).unwrap())).unwrap();
            if dice.percent(95) { dice.pick(&plan.stamps).key } else { any }
        };
        let some_tenant = |dice: &mut Dice| {
            let count = u64::try_from(plan.tenants.len()).unwrap();
            let stranger = u64::from(dice.percent(3));
            TenantKey::try_from(dice.below(count + stranger)).unwrap()
        };
        let tenant = some_tenant(dice);
        let home = plan.tenants.get(&tenant).map(|tenant| tenant.home);
        let mut request = Self::of(number, Host::Neutral, dice);
        match dice.below(20) {
            0..9 => request.host = Host::Tenant(tenant),
            9..12 => request.header_tenant = Some(tenant),
            13 => (request.host, request.header_stamp) = (Host::Tenant(tenant), home),
            12 | 14 => request.host = Host::Stamp(some_stamp(dice)),
            15 => request.header_stamp = Some(some_stamp(dice)),
            16 => (request.header_tenant, request.cookie_stamp) = (Some(tenant), home),
            // Clues that contradict each other, mostly.
            17 => {
                request.host = Host::Tenant(tenant);
                request.header_stamp = Some(some_stamp(dice));
            }
            18 => {
                request.host = Host::Stamp(some_stamp(dice));
                request.header_tenant = Some(some_tenant(dice));
                request.cookie_stamp = dice.percent(50).then(|| some_stamp(dice));
            }
            _ => {
                request.header_tenant = dice.percent(90).then(|| some_tenant(dice));
                request.cookie_stamp = dice.percent(50).then(|| some_stamp(dice));
            }
        }
        request
    }

    /// A request for this host.
    pub(crate) fn of(number: u64, host: Host, dice: &mut Dice) -> Self {
        let method = match dice.below(10) {
            0..5 => Method::GET,
            5 => Method::PUT,
            6 => Method::DELETE,
            _ => Method::POST,
        };
        let body = match dice.below(4) {
            _ if [Method::GET, Method::DELETE].contains(&method) => Body::None,
            0 => Body::None,
            1 | 2 => Body::Small,
            _ => Body::Large,
        };
        Self {
            number,
            has_key: method == Method::POST && dice.percent(20),
            method,
            body,
            host,
            header_stamp: None,
            header_tenant: None,
            cookie_stamp: None,
            time: dice.percent(40).then(|| dice.between(20 * MS, 4000 * MS)),
        }
    }

    /// Its fields.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let host = match self.host {
            Host::Neutral => "api.test".to_owned(),
            Host::Tenant(tenant) => format!("t{tenant}.app.test"),
            Host::Stamp(stamp) => format!("{}.stamps.test", name(stamp)),
        };
        let mut add = |field: HeaderName, value: String| {
            headers.insert(field, HeaderValue::try_from(value).unwrap());
        };
        add(HOST, host);
        if let Some(stamp) = self.header_stamp {
            add(HeaderName::from_static("x-stamp-id"), name(stamp).to_ascii_uppercase());
        }
        if let Some(tenant) = self.header_tenant {
            add(HeaderName::from_static("x-tenant-id"), format!("T{tenant}"));
        }
        if let Some(stamp) = self.cookie_stamp {
            add(COOKIE, format!("a=b; stamp={}", name(stamp)));
        }
        headers
    }

    /// RFC 9110, section 9.2.1.
    pub(crate) fn is_safe(&self) -> bool {
        self.method == Method::GET
    }

    /// May it be processed twice?
    pub(crate) fn is_idempotent(&self) -> bool {
        self.method != Method::POST || self.has_key
    }
}
