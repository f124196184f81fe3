//! Authorities: what a host name says.
