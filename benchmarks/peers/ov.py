"""OpenVINO on the CPU in float32, for latency, reading the same ONNX model. Inference only."""

from __future__ import annotations

import io
from functools import partial

import numpy as np
import openvino

from benchmarks.cases import Problem
from benchmarks.peers import Contestant
from benchmarks.peers.onnx_model import feeds, onnx_model


def prepare(problem: Problem, threads: int) -> dict[str, Contestant]:
    if problem.case.mode == "train":
        return {}
    core = openvino.Core()
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(io.BytesIO(onnx_model(problem))), "CPU", settings)
    request = compiled.create_infer_request()
    run = partial(request.infer, feeds(problem), share_inputs=True, share_outputs=True)
    return {"openvino": Contestant(run, lambda result: {"y": np.array(result["y"])})}
