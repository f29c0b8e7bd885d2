"""From what models did frame by frame to figures, a page that people read and a gate that holds."""
