//! Which endpoint of the chosen stamp.
