"""What a run leaves for people to read and check: record, report, signature."""
