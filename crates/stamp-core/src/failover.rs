//! Which stamp serves: home or which edge, and why.
