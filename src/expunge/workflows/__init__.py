"""One verb a file: what a user does, from inputs to a finished run folder."""
