"""Many clips at once: corpora of other programs, the faults of a dataset, its splits, and the prompts from which one is recorded."""
