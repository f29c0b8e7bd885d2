"""What people open in a browser: the report of an evaluation, and a dataset with what `check` found in it."""
