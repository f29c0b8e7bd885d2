"""From what models did, frame by frame, to scores, figures, a report and a gate that holds it."""
