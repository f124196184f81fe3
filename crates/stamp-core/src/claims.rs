//! What a token's header and payload say, read strictly.
