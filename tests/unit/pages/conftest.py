from sample_frames import dataset, frames, mixed_frames, report

__all__ = ["dataset", "frames", "mixed_frames", "report"]
