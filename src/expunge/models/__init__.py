"""Models: loading, reading, references, parameter choices, relabelling and generation."""
