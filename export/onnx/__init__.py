"""Modules to ONNX files, and files compared with the modules they came from."""
