"""The speech-to-text model: its files on disk, its forward pass, its adapters, and how it listens frame by frame."""
