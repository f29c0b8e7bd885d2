"""When each word of a text is spoken in a sound."""
