"""Model directories for the engines that run in production."""
