"""Records: reading, checking, tokenising, batching."""
