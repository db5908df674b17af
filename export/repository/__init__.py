"""The Triton model repository that an export writes."""
