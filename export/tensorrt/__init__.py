"""ONNX files to TensorRT engines."""
