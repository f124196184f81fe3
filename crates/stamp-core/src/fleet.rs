//! The standing of all stamps and endpoints as one state machine.
