"""Turns EchoMimic V3 checkpoints into ONNX files and a Triton model repository."""
