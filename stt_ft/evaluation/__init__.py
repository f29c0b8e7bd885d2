"""From the outputs of models, frame by frame, to scores, figures, a report and a gate on it."""
