"""One word for what an audit found, by rules fixed before the run, and plain sentences for why."""
