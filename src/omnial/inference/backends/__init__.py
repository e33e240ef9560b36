"""The engines that run a network: PyTorch, ONNX Runtime, OpenVINO, all with the same results."""
