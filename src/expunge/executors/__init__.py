"""Where jobs run. A job goes from process to process, never over the disk: it may name a user's files."""
