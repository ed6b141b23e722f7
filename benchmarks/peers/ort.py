"""ONNX Runtime on the CPU, as it comes but for the number of threads. Inference only."""

from __future__ import annotations

from functools import partial

import onnxruntime

from benchmarks.cases import Problem
from benchmarks.peers import Contestant
from benchmarks.peers.onnx_model import feeds, onnx_model


def prepare(problem: Problem, threads: int) -> dict[str, Contestant]:
    if problem.case.mode == "train":
        return {}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(onnx_model(problem), options, providers=["CPUExecutionProvider"])
    return {"onnxruntime": Contestant(partial(session.run, ["y"], feeds(problem)), lambda result: {"y": result[0]})}
