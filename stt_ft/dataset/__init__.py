"""A dataset on disk: its manifests, and the sidecars with the words of its clips, loose or packed."""
