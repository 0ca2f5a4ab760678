"""The sections of a report, one file each: a record's numbers in, charts and sentences out."""
