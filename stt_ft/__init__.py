"""Fine-tune Kyutai's streaming speech-to-text models so that dictated numbers come out as words, promptly."""

__version__ = "0.1.0"
