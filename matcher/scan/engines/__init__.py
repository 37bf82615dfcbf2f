"""What carries batches out: this process, or a cluster."""
