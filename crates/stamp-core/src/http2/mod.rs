//! What a client says over HTTP/2, looked at before and after the library that speaks it: `frames`
//! follows the bytes on their way there, `head` judges the request that comes out.
//!
//! The library (h2) keeps the protocol; here is what it lets through: floods of frames that cost
//! their sender next to nothing, pseudo-fields in trailers, a target that is cut at its `#`.

pub mod allowance;
pub mod frames;
pub mod head;
mod hpack;
mod huffman;
#[cfg(test)]
mod tests;
