//! One endpoint as its probes see it.
