"""Everything written to disk: whole or not at all, for its owner's eyes only, without record text in messages."""
