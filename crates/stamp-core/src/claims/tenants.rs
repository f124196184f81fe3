//! The tenants that a token is good for: one, or some of which the request itself picks one.

use crate::id::TenantId;

/// Never none, and none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenants(Box<[TenantId<'static>]>);

impl Tenants {
    /// This one tenant.
    #[must_use]
    pub fn one(tenant: TenantId<'static>) -> Self {
        Self(Box::new([tenant]))
    }

    /// These tenants; `None` if there are none.
    #[must_use]
    pub fn of(mut tenants: Vec<TenantId<'static>>) -> Option<Self> {
        tenants.sort_unstable();
        tenants.dedup();
        (!tenants.is_empty()).then(|| Self(tenants.into()))
    }

    /// The tenant, if it is only one.
    #[must_use]
    pub fn only(&self) -> Option<&TenantId<'static>> {
        match &*self.0 {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Is the token good for this tenant?
    #[must_use]
    pub fn has(&self, tenant: &TenantId<'_>) -> bool {
        self.0.binary_search_by(|own| own.as_str().cmp(tenant.as_str())).is_ok()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &TenantId<'static>> {
        self.0.iter()
    }
}
