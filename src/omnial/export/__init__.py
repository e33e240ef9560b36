"""From a trained model to a folder that inspects without PyTorch."""
