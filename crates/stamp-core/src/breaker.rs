//! One breaker: closed, open, half-open.
