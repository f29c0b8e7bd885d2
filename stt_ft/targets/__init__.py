"""What the model is asked to say, frame by frame. Pure: NumPy alone, no files, no torch."""
