"""Everything that is written to disk: whole or not at all, readable by its owner only, and without record text in messages."""
