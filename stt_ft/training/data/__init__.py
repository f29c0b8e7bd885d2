"""What training reads: the clips of a split, new takes made of them, and batches."""
