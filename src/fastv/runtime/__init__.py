"""Fast generation from exported graphs, with numpy and onnxruntime alone, for event loops and other programs.

Example::

    from fastv.runtime import Runtime

    runtime = Runtime("par04-siw.onnx", seed=1)
    showers = runtime.generate([17, 18], energy=[50_000.0, 80_000.0])
"""

from fastv.runtime.runtime import Generated, Runtime

__all__ = ["Generated", "Runtime"]
