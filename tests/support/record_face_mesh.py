"""Records what LiteRT computes of MediaPipe's networks of faces: tests/export/models/face_mesh.npz.

LiteRT is no dependency. Where `pip install ai-edge-litert==2.3.0` has been run,
`python -m tests.support.record_face_mesh` writes the file again.
"""

import numpy as np
from PIL import Image

from export.models.face_mesh import FOLDER, PACKAGE, SOURCES
from export.models.packages import packaged
from server.pictures.patch import Patch
from server.triton.contract import PORTRAIT_NETWORKS
from tests.support.paths import ROOT

FILE = ROOT / "tests" / "export" / "models" / "face_mesh.npz"
SEEN = {
    "face_finder": Patch(256, 256, 512),
    "face_mesh": Patch(262, 250, 380, 0.1),
    "eye_mesh": Patch(207, 205, 115, -0.1),
}
"""What each network is shown of the demo's portrait."""


def main() -> None:
    """Runs each network on a part of the demo's portrait."""
    from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]

    portrait = Image.open(ROOT / "docs" / "media" / "portrait.png").convert("RGB")
    recorded: dict[str, np.ndarray] = {}
    for name, source in SOURCES.items():
        network = PORTRAIT_NETWORKS[name]
        (side, _, _) = network.inputs[0].dims
        seen = SEEN[name].seen(portrait, int(side))[None]
        recorded[f"{name}.image"] = seen
        program = Interpreter(str(packaged(PACKAGE, f"{FOLDER}/{source.file}")))
        program.allocate_tensors()
        (given,) = program.get_input_details()
        wide = seen * np.float32(source.scale) + np.float32(source.offset)
        program.set_tensor(given["index"], wide)
        program.invoke()
        results = {each["name"]: each["index"] for each in program.get_output_details()}
        for tensor, theirs in zip(network.outputs, source.outputs, strict=True):
            array = program.get_tensor(results[theirs])
            recorded[f"{name}.{tensor.name}"] = array.reshape(1, *tensor.dims)
    np.savez_compressed(FILE, allow_pickle=False, **recorded)


if __name__ == "__main__":
    main()
