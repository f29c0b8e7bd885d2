"""Fine-tuning: clips become streams, streams become batches, and a loop makes an adapter of them, which can be taken up again."""
