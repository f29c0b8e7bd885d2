"""Files that come with the package: the tiny model and the demo's recipe."""
