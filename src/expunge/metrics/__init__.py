"""Numbers that say what a model still knows and what it still does well; needs in, numbers out."""
