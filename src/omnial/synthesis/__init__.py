"""Panel-guided, JND-based anomaly synthesis, batched on the training device."""
