//! The records of all tenants, one behind the other in one arena: whoever knows where a record
//! begins waits for memory once, and has the name and all else of it.
//!
//! A record is its ordinal (4 bytes), home and state (30 and 2 bits), fence (2 bytes), tier, length
//! of the name, and the name; then up to 3 bytes, so that the next one begins at a multiple of 4.

use super::{FenceIndex, InsertError, Tenant};
use crate::id::StampIndex;
use crate::table::{TenantState, TierIndex};

const HEAD_BYTES: usize = 12;
/// Records begin at multiples of this: so a place needs fewer bits than an offset.
const UNIT_BYTES: usize = 4;
/// Room that is made for a tenant whose name nobody knows yet.
const ASSUMED_BYTES: usize = 32;
/// The bits above it hold the state: no table has so many stamps.
const HOME_BITS: u32 = 30;

/// All records.
#[derive(Default)]
pub(super) struct Records {
    bytes: Vec<u8>,
    count: u32,
}

/// One record.
pub(super) struct Record<'r> {
    head: &'r [u8; HEAD_BYTES],
    name: &'r [u8],
}

impl Records {
    /// How many there are.
    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// The place behind the last one.
    pub(super) fn end(&self) -> u32 {
        place(self.bytes.len())
    }

    /// The record at this place; `None` = all come before it.
    pub(super) fn at(&self, place: u32) -> Option<Record<'_>> {
        let rest = self.bytes.get(place as usize * UNIT_BYTES..)?;
        let (head, rest) = rest.split_first_chunk::<HEAD_BYTES>()?;
        let [.., length] = head;
        Some(Record { head, name: rest.get(..usize::from(*length))? })
    }

    /// Does the record at this place have this name?
    pub(super) fn is(&self, place: u32, name: &str) -> bool {
        self.at(place).is_some_and(|record| record.name == name.as_bytes())
    }

    /// All records, each with its place.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, Record<'_>)> {
        let mut next = 0;
        std::iter::from_fn(move || {
            let place = next;
            let record = self.at(place)?;
            next += record.units();
            Some((place, record))
        })
    }

    /// Adds one; returns its place.
    pub(super) fn push(&mut self, name: &str, tenant: Tenant) -> Result<u32, InsertError> {
        let length = u8::try_from(name.len()).map_err(|_full| InsertError::Full)?;
        let start = self.bytes.len();
        let end = start + HEAD_BYTES + name.len();
        if u32::try_from(end + UNIT_BYTES).is_err() || tenant.home.0 >> HOME_BITS > 0 {
            return Err(InsertError::Full);
        }
        let home = tenant.home.0 | bits(tenant.state) << HOME_BITS;
        self.bytes.extend_from_slice(&self.count.to_le_bytes());
        self.bytes.extend_from_slice(&home.to_le_bytes());
        self.bytes.extend_from_slice(&tenant.fence.0.to_le_bytes());
        self.bytes.extend_from_slice(&[tenant.tier.0, length]);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.resize(end.next_multiple_of(UNIT_BYTES), 0);
        self.count += 1;
        Ok(place(start))
    }

    /// Makes room for so many more; returns where they would end.
    pub(super) fn reserve(&mut self, tenants: usize) -> u32 {
        let bytes = tenants.saturating_mul(ASSUMED_BYTES);
        self.bytes.reserve(bytes);
        place(self.bytes.len() + bytes)
    }

    /// Gives back what was reserved and is not used.
    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Bytes on the heap.
    pub(super) const fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

impl<'r> Record<'r> {
    /// How many records come before it.
    pub(super) const fn ordinal(&self) -> u32 {
        let [a, b, c, d, ..] = *self.head;
        u32::from_le_bytes([a, b, c, d])
    }

    /// What it says of its tenant.
    pub(super) fn tenant(&self) -> Tenant {
        let [_, _, _, _, a, b, c, d, fence_low, fence_high, tier, _] = *self.head;
        let home = u32::from_le_bytes([a, b, c, d]);
        Tenant {
            home: StampIndex(home & ((1 << HOME_BITS) - 1)),
            fence: FenceIndex(u16::from_le_bytes([fence_low, fence_high])),
            state: state(home >> HOME_BITS),
            tier: TierIndex(tier),
        }
    }

    /// The tenant's name.
    pub(super) fn name(&self) -> &'r str {
        // Only what was a `str` came in.
        str::from_utf8(self.name).unwrap_or_default()
    }

    /// From its place to the next one.
    pub(super) fn units(&self) -> u32 {
        place((HEAD_BYTES + self.name.len()).next_multiple_of(UNIT_BYTES))
    }
}

/// The place of an offset.
fn place(offset: usize) -> u32 {
    u32::try_from(offset / UNIT_BYTES).unwrap_or(u32::MAX)
}

const fn bits(state: TenantState) -> u32 {
    match state {
        TenantState::Active => 0,
        TenantState::Suspended => 1,
        TenantState::Offboarded => 2,
    }
}

const fn state(bits: u32) -> TenantState {
    match bits {
        0 => TenantState::Active,
        1 => TenantState::Suspended,
        _ => TenantState::Offboarded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_all_of_its_tenant_at_the_ends_of_every_range() {
        let states = [TenantState::Active, TenantState::Suspended, TenantState::Offboarded];
        let mut records = Records::default();
        let mut expected = Vec::new();
        for home in [0, 1, (1 << HOME_BITS) - 1] {
            for (fence, tier) in [(0, 0), (1, 2), (u16::MAX, u8::MAX)] {
                for state in states {
                    let (home, fence, tier) =
                        (StampIndex(home), FenceIndex(fence), TierIndex(tier));
                    let tenant = Tenant { home, fence, state, tier };
                    let name = "n".repeat(expected.len() + 1);
                    expected.push((records.push(&name, tenant).unwrap(), name, tenant));
                }
            }
        }
        let longest = "l".repeat(crate::id::TENANT_ID_BYTES_MAX);
        let (_, _, tenant) = *expected.first().unwrap();
        expected.push((records.push(&longest, tenant).unwrap(), longest, tenant));
        let found = records.iter().map(|(at, it)| (at, it.name().to_owned(), it.tenant()));
        assert_eq!(found.collect::<Vec<_>>(), expected);
        assert!(records.iter().map(|(_, it)| it.ordinal()).eq(0..records.count()));
        assert!(records.at(records.end()).is_none());
    }

    #[test]
    fn a_stamp_beyond_the_bits_of_a_home_is_refused() {
        let (fence, state, tier) = (FenceIndex(0), TenantState::Active, TierIndex::STANDARD);
        let tenant = Tenant { home: StampIndex(1 << HOME_BITS), fence, state, tier };
        let mut records = Records::default();
        assert_eq!(records.push("n", tenant), Err(InsertError::Full));
        assert_eq!((records.count(), records.end()), (0, 0));
    }
}
