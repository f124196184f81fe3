//! Two stamps that answer at once with their name.

use crate::run::Done;
use crate::scene::{answer, serve};

/// Names and ports.
pub(super) const STAMPS: [(&str, u16); 2] = [("a", 22_201), ("b", 22_202)];

/// Both serve until the process ends.
pub(super) fn start() -> Done {
    for (name, port) in STAMPS {
        serve(port, move |socket, _request| answer(socket, name))?;
    }
    Ok(())
}
