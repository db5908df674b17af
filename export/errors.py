"""What whoever exports can mend.

ExportError
├── CheckpointError               a file of the checkpoint is missing, damaged or another one
│   └── CheckpointMismatchError   its tensors are not those of the network
├── NotEnoughMemoryError          a network cannot be exported in the memory that there is
├── CalibrationError              a portrait or speech is of no use
├── GraphError                    an ONNX file is missing or damaged
├── ExportDiffersError            an ONNX file does not compute what its module computes
├── EngineError                   TensorRT is missing or gives up
└── FaceDetectorMissingError      an optional package is not installed
"""


class ExportError(Exception):
    """The text is one line for the operator: what is wrong, and where there is one, the remedy."""
