"""The unlearning loop: effective batches, one gradient function, guard, checkpoints and exact resume."""
