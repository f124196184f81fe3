//! Is a peer too slow? Only the time that we spent waiting for it counts.

use std::time::Duration;

/// Grace before the least rate is asked for (Kestrel's default; no proxy measured enforces one).
pub const GRACE: Duration = Duration::from_secs(5);
/// However much a peer has moved, a pause may last so long: a client behind full buffers moves
/// in steps, and one that took a megabyte at once must not hold the rest for an hour.
pub const PAUSE_MAX: Duration = Duration::from_secs(25);

/// Who takes less than this where answers that stand still take most of the room stands still: 128 kbit a
/// second, the least that a mobile client should have.
const FAIR_BYTES_PER_SECOND: u64 = 16 * 1024;

/// A client that takes nothing for so long holds its answer up. Most losses of a packet take less.
pub const HELD_UP: Duration = Duration::from_secs(1);
const TAIL_BYTES_MAX: u64 = 64 * 1024;

/// Does an answer of which so much is left wait for a client that takes nothing? 64 KiB do not: they are read at
/// once, so that the stamp is free. Nor does one whose length is not known.
#[must_use]
pub fn waits_for_client(left: Option<u64>) -> bool {
    left.is_some_and(|left| left > TAIL_BYTES_MAX)
}

/// How much of an answer may be read from a stamp at a time, in bytes, for a client that has taken so many
/// since it held one up. Three times as much waits here for a client that turns out to be slow, while larger
/// pieces cost less: 1 MiB in pieces of 16 KiB takes 75 % more CPU than as it comes, of 32 KiB 28 % (measured).
///
/// Each is one byte short of what makes hyper ask for twice as much the next time.
#[must_use]
pub const fn piece_bytes_max(taken: u64) -> usize {
    match taken / 1024 {
        ..128 => 8 * 1024 - 1,
        128..256 => 16 * 1024 - 1,
        256..512 => 32 * 1024 - 1,
        512.. => usize::MAX,
    }
}

/// Who was faster than the rate that is asked for may pause for so much longer.
const AHEAD_MAX: Duration = Duration::from_secs(2);
/// What a sender is ahead when it begins: it may wait for a round trip (`Expect: 100-continue`), or have lost a packet.
const AHEAD_AT_FIRST: Duration = Duration::from_millis(500);

/// How much those who wait for room press the clients whose answers hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// Most of the room is held by others: whoever keeps the least rate now and then stays.
    Low,
    /// Answers that stand still hold most of it: whoever takes little goes soon.
    High,
}

impl Pressure {
    /// Where so many of those that hold the room stand still.
    #[must_use]
    pub const fn of(still: usize, holders: usize) -> Self {
        if still > holders / 2 { Self::High } else { Self::Low }
    }

    /// How long an answer may stand still that is in the way of others. At low pressure that is longer
    /// than most losses of a packet take.
    #[must_use]
    pub const fn patience(self) -> Duration {
        match self {
            Self::Low => Duration::from_secs(2),
            Self::High => Duration::from_millis(250),
        }
    }
}

/// For how long an answer has stood still, as low and as high pressure take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Still {
    low: Duration,
    high: Duration,
}

/// A stream of HTTP/2 whose client has made no room for the next bytes. How many of those before are still
/// on their way to it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHeldUp {
    /// For so long.
    pub waited: Duration,
    /// So many bytes may be on their way.
    pub under_way_max: u64,
    /// So many bytes went out on its connection meanwhile, of all streams.
    pub connection_took: u64,
}

impl Still {
    /// A connection that takes no more.
    #[must_use]
    pub const fn connection(held_up: Duration) -> Self {
        Self { low: held_up, high: held_up }
    }

    /// A stream. A client that takes what its connection can is not slow: its streams wait for each other.
    #[must_use]
    pub fn stream(held_up: StreamHeldUp, bytes_per_second_min: u64) -> Self {
        let StreamHeldUp { waited, under_way_max, connection_took } = held_up;
        let beyond = |rate| waited.saturating_sub(time_for(under_way_max, rate));
        let takes_its_share = time_for(connection_took, FAIR_BYTES_PER_SECOND) >= waited;
        Self {
            low: beyond(bytes_per_second_min),
            high: if takes_its_share { Duration::ZERO } else { beyond(FAIR_BYTES_PER_SECOND) },
        }
    }

    /// Is it still long enough to count as that?
    #[must_use]
    pub fn is_still(self) -> bool {
        self.high >= Pressure::High.patience()
    }

    /// For how long, at this pressure.
    #[must_use]
    pub const fn at(self, pressure: Pressure) -> Duration {
        match pressure {
            Pressure::Low => self.low,
            Pressure::High => self.high,
        }
    }
}

/// How long so many bytes take. `bytes_per_second` = 0: for ever.
fn time_for(bytes: u64, bytes_per_second: u64) -> Duration {
    let nanos = bytes.saturating_mul(1_000_000_000).checked_div(bytes_per_second);
    nanos.map_or(Duration::MAX, Duration::from_nanos)
}

/// What a peer that is waited for has left: each byte earns it the time that the least rate gives a
/// byte, and each wait spends some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowPeer {
    left: Duration,
}

impl Default for SlowPeer {
    fn default() -> Self {
        Self { left: GRACE }
    }
}

impl SlowPeer {
    /// One that may pause before it has moved anything.
    #[must_use]
    pub const fn with_pause() -> Self {
        Self { left: PAUSE_MAX }
    }

    /// Counts a wait that is over.
    pub fn waited(&mut self, wait: Duration) {
        self.left = self.left.saturating_sub(wait);
    }

    /// Counts bytes that the peer moved. `bytes_per_second_min` = 0: no rate is asked for.
    pub fn moved(&mut self, bytes: u64, bytes_per_second_min: u64) {
        let earned = time_for(bytes, bytes_per_second_min);
        self.left = self.left.saturating_add(earned).min(PAUSE_MAX);
    }

    /// How much longer the peer may keep us waiting. `bytes_per_second_min` = 0 means for ever.
    #[must_use]
    pub const fn patience(&self, bytes_per_second_min: u64) -> Duration {
        if bytes_per_second_min == 0 { Duration::MAX } else { self.left }
    }
}

/// How far a peer is behind the least rate and behind the one that is fair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    least: Pace,
    fair: Pace,
}

/// How far a peer is behind one rate: each wait sets it back, each byte takes it forward. What it is ahead it may
/// pause, up to [`AHEAD_MAX`], for many move in steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pace {
    ahead: Duration,
    behind: Duration,
}

impl Lag {
    /// Of one that begins to send.
    #[must_use]
    pub const fn of_sender() -> Self {
        let pace = Pace { ahead: AHEAD_AT_FIRST, behind: Duration::ZERO };
        Self { least: pace, fair: pace }
    }

    /// Counts a wait that is over.
    pub fn waited(&mut self, wait: Duration) {
        self.least.waited(wait);
        self.fair.waited(wait);
    }

    /// Counts bytes that the peer moved.
    pub fn moved(&mut self, bytes: u64, bytes_per_second_min: u64) {
        self.least.moved(time_for(bytes, bytes_per_second_min));
        self.fair.moved(time_for(bytes, bytes_per_second_min.max(FAIR_BYTES_PER_SECOND)));
    }

    /// For how long the peer stands still if it has been waited for so long.
    #[must_use]
    pub fn still(mut self, wait: Duration) -> Still {
        self.waited(wait);
        Still { low: self.least.behind, high: self.fair.behind }
    }
}

impl Pace {
    fn waited(&mut self, wait: Duration) {
        self.behind += wait.saturating_sub(self.ahead);
        self.ahead = self.ahead.saturating_sub(wait);
    }

    fn moved(&mut self, earned: Duration) {
        self.ahead = self.ahead.saturating_add(earned.saturating_sub(self.behind)).min(AHEAD_MAX);
        self.behind = self.behind.saturating_sub(earned);
    }
}

/// Whether a client takes what it is given, looked at from time to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    /// As long as it holds us up,
    slow: SlowPeer,
    /// and as long as the kernel holds something for it.
    behind: SlowPeer,
    /// As it holds us up.
    lag: Lag,
    taken: u64,
}

/// What was seen of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Bytes that the client has acknowledged since the connection began.
    pub taken: u64,
    /// Where the rest is.
    pub rest: Rest,
}

/// Where what a client has not taken is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// There is none.
    Nowhere,
    /// All of it in the kernel.
    Kernel,
    /// Here as well: the kernel has taken no more for so long.
    Here(Duration),
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            slow: SlowPeer::default(),
            behind: SlowPeer::with_pause(),
            lag: Lag::default(),
            taken: 0,
        }
    }
}

impl Reader {
    /// Counts what was seen after one more wait. What waits in the kernel alone holds up nobody, and may
    /// pause from the start.
    pub fn saw(&mut self, now: Outgoing, waited: Duration, bytes_per_second_min: u64) {
        let moved = now.taken.saturating_sub(std::mem::replace(&mut self.taken, now.taken));
        if now.rest == Rest::Nowhere {
            *self = Self { taken: now.taken, ..Self::default() };
            return;
        }
        for peer in [&mut self.slow, &mut self.behind] {
            peer.moved(moved, bytes_per_second_min);
        }
        self.behind.waited(waited);
        let Rest::Here(blocked) = now.rest else {
            self.lag = Lag::default();
            return;
        };
        let held_up = waited.min(blocked);
        self.slow.waited(held_up);
        self.lag.waited(held_up);
        self.lag.moved(moved, bytes_per_second_min);
    }

    /// Is its patience spent?
    #[must_use]
    pub const fn is_too_slow(&self, bytes_per_second_min: u64) -> bool {
        self.slow.patience(bytes_per_second_min).is_zero()
            || self.behind.patience(bytes_per_second_min).is_zero()
    }

    /// Is it cut where others wait for the room that its answer holds?
    #[must_use]
    pub fn gives_way(&self, pressure: Pressure, bytes_per_second_min: u64) -> bool {
        let still = self.lag.still(Duration::ZERO).at(pressure);
        bytes_per_second_min > 0 && still >= pressure.patience()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn little_is_read_ahead_for_a_new_client_and_no_less_than_comes_for_one_that_took_much() {
        assert!(3 * piece_bytes_max(0) < 24 * 1024);
        assert_eq!(piece_bytes_max(512 * 1024), usize::MAX);
    }

    proptest! {
        #[test]
        fn who_took_more_is_read_for_in_larger_pieces(taken: u32, more: u32) {
            let (taken, more) = (u64::from(taken), u64::from(more));
            prop_assert!(piece_bytes_max(taken) <= piece_bytes_max(taken + more));
        }
    }

    #[test]
    fn a_silent_peer_has_the_grace_only() {
        assert_eq!(SlowPeer::default().patience(240), GRACE);
    }

    #[test]
    fn one_that_may_pause_has_no_more_than_that() {
        assert_eq!(SlowPeer::with_pause().patience(240), PAUSE_MAX);
    }

    #[test]
    fn a_peer_below_the_rate_runs_out_of_patience() {
        let mut peer = SlowPeer::default();
        let seconds = (1..).find(|_| {
            peer.waited(SECOND);
            let is_over = peer.patience(240).is_zero();
            peer.moved(120, 240);
            is_over
        });
        assert_eq!(seconds, Some(9));
    }

    #[test]
    fn no_least_rate_means_no_end_of_patience() {
        let mut peer = SlowPeer::default();
        peer.waited(SECOND * 60);
        peer.moved(1, 0);
        assert_eq!(peer.patience(0), Duration::MAX);
    }

    fn too_slow_after(rest: Rest, taken: impl Fn(u64) -> u64) -> Option<u64> {
        let mut reader = Reader::default();
        (1..=100).find(|second| {
            let now = Outgoing { taken: taken(*second), rest };
            reader.saw(now, SECOND, 240);
            reader.is_too_slow(240)
        })
    }

    #[test]
    fn who_holds_us_up_has_the_grace_and_who_holds_the_kernel_up_a_pause() {
        assert_eq!(too_slow_after(Rest::Here(SECOND), |_| 0), Some(5));
        assert_eq!(too_slow_after(Rest::Kernel, |_| 0), Some(25));
        // A megabyte at first buys a pause and no more.
        assert_eq!(too_slow_after(Rest::Here(SECOND), |_| 1_000_000), Some(25));
        assert_eq!(too_slow_after(Rest::Here(SECOND), |second| second * 240), None);
    }

    #[test]
    fn who_has_taken_all_begins_anew() {
        let mut reader = Reader::default();
        let blocked = Outgoing { taken: 10, rest: Rest::Here(SECOND * 9) };
        reader.saw(blocked, SECOND * 4, 240);
        reader.saw(Outgoing { rest: Rest::Nowhere, ..blocked }, SECOND, 240);
        reader.saw(blocked, SECOND * 4, 240);
        assert!(!reader.is_too_slow(240));
        reader.saw(blocked, SECOND, 240);
        assert!(reader.is_too_slow(240));
    }

    fn gives_way_after(pressure: Pressure, step: Duration, bytes: u64) -> Option<u32> {
        let mut reader = Reader::default();
        (1..100).find(|steps| {
            let now = Outgoing { taken: bytes * u64::from(*steps), rest: Rest::Here(SECOND) };
            reader.saw(now, step, 240);
            reader.gives_way(pressure, 240)
        })
    }

    #[test]
    fn what_holds_others_up_gives_way_the_sooner_the_more_of_it_there_is() {
        let step = Duration::from_millis(125);
        assert_eq!(gives_way_after(Pressure::Low, step, 0), Some(16));
        assert_eq!(gives_way_after(Pressure::Low, step, 15), Some(32), "half of the least rate");
        assert_eq!(gives_way_after(Pressure::Low, step, 30), None);
        assert_eq!(gives_way_after(Pressure::High, step, 0), Some(2));
        assert_eq!(gives_way_after(Pressure::High, step, 1024), Some(4), "half of what is fair");
        assert_eq!(gives_way_after(Pressure::High, step, 2048), None);
    }

    /// After how many waits of this length, each ended by so many bytes, a sender gives way.
    fn sender_gives_way_after(wait: Duration, bytes: u64) -> [Option<u32>; 2] {
        [Pressure::Low, Pressure::High].map(|pressure| {
            let mut lag = Lag::of_sender();
            (1..1000).find(|_| {
                let gives_way = lag.still(wait).at(pressure) >= pressure.patience();
                lag.waited(wait);
                // It comes in two pieces, the first of them small.
                lag.moved(1, 240);
                lag.moved(bytes - 1, 240);
                gives_way
            })
        })
    }

    #[test]
    fn a_sender_stands_still_though_a_byte_comes_now_and_then() {
        let step = Duration::from_millis(125);
        assert_eq!(sender_gives_way_after(step, 1), [Some(21), Some(7)]);
        assert_eq!(sender_gives_way_after(step, 15), [Some(39), Some(7)], "half of the least rate");
        assert_eq!(sender_gives_way_after(step, 30), [None, Some(7)]);
        assert_eq!(sender_gives_way_after(step, 1024), [None, Some(11)], "half of what is fair");
        assert_eq!(sender_gives_way_after(step, 2048), [None, None]);
    }

    #[test]
    fn a_sender_that_moves_in_steps_may_pause_between_them() {
        assert_eq!(
            sender_gives_way_after(SECOND, 16 * 1024),
            [None, Some(1)],
            "nothing came before"
        );
        let stands_after = |bytes, wait| {
            let mut lag = Lag::default();
            lag.moved(bytes, 240);
            [Pressure::Low, Pressure::High].map(|pressure| lag.still(wait).at(pressure))
        };
        assert_eq!(stands_after(16 * 1024, SECOND), [Duration::ZERO; 2]);
        assert_eq!(stands_after(1 << 30, SECOND * 3), [SECOND; 2]);
    }

    #[test]
    fn only_the_time_that_it_holds_us_up_counts() {
        let stands = |rest| {
            let mut reader = Reader::default();
            reader.saw(Outgoing { taken: 0, rest: Rest::Here(SECOND) }, SECOND, 240);
            reader.saw(Outgoing { taken: 0, rest }, SECOND, 240);
            reader
        };
        assert!(stands(Rest::Here(SECOND)).gives_way(Pressure::Low, 240));
        assert!(!stands(Rest::Here(SECOND / 2)).gives_way(Pressure::Low, 240));
        assert!(!stands(Rest::Here(SECOND)).gives_way(Pressure::Low, 0), "no rate is asked for");
        assert!(!stands(Rest::Kernel).gives_way(Pressure::High, 240));
        assert!(!stands(Rest::Nowhere).gives_way(Pressure::High, 240));
    }

    #[test]
    fn pressure_is_high_where_most_of_the_room_is_held_by_what_stands_still() {
        assert_eq!(Pressure::of(0, 0), Pressure::Low);
        assert_eq!(Pressure::of(1, 1), Pressure::High);
        assert_eq!(Pressure::of(2, 4), Pressure::Low);
        assert_eq!(Pressure::of(3, 4), Pressure::High);
    }

    #[test]
    fn a_stream_stands_still_when_it_should_have_taken_what_it_was_given() {
        let still = |under_way_max, connection_took| {
            let held_up = StreamHeldUp { waited: SECOND * 3, under_way_max, connection_took };
            let still = Still::stream(held_up, 1024);
            [Pressure::Low, Pressure::High].map(|pressure| still.at(pressure).as_secs())
        };
        assert_eq!(still(0, 0), [3, 3]);
        assert_eq!(still(1024, 0), [2, 2]);
        assert_eq!(still(FAIR_BYTES_PER_SECOND, 0), [0, 2]);
        assert_eq!(still(0, FAIR_BYTES_PER_SECOND * 3), [3, 0], "others of its connection move");
        assert_eq!(still(0, FAIR_BYTES_PER_SECOND), [3, 3]);
        assert_eq!(still(u64::MAX, 0), [0, 0]);
        let no_rate = StreamHeldUp { waited: SECOND * 3, under_way_max: 0, connection_took: 0 };
        assert_eq!(Still::stream(no_rate, 0).at(Pressure::Low), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn a_peer_that_keeps_the_rate_is_never_cut(
            rate in 1_u64..1_000_000,
            seconds in prop::collection::vec(1_u64..5, 1..100),
        ) {
            let mut peer = SlowPeer::default();
            for wait in seconds {
                peer.waited(SECOND * u32::try_from(wait).unwrap());
                prop_assert!(!peer.patience(rate).is_zero());
                peer.moved(wait * rate, rate);
                prop_assert!(peer.patience(rate) >= GRACE);
            }
        }

        #[test]
        fn nothing_moved_earlier_buys_a_longer_pause(rate in 1_u64.., bytes in any::<u64>()) {
            let mut peer = SlowPeer::default();
            peer.moved(bytes, rate);
            peer.waited(PAUSE_MAX);
            prop_assert!(peer.patience(rate).is_zero());
        }
    }
}
