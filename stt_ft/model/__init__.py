"""The speech-to-text model: its files on disk, its forward pass, its adapters, and its streaming frame by frame."""
