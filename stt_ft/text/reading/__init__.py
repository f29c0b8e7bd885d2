"""Written numbers read aloud: what kind of thing a token is, and the ways of saying it."""
