"""What a determined reader tries on a copy of the model or on its prompts, to bring back what was forgotten."""
