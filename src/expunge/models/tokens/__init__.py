"""Token choices: which tokens of a forget record count."""
