"""The studio: a dataset recorded, looked through and tried out in a browser. docs/studio.md says how it works and what guards it."""
