"""GPU machine: what NVIDIA's own programs tell and do for the GPU benchmark: power, and processes that share a card."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator

from benchmarks.tables import say

QUERY = ("--query-gpu=power.draw.instant", "--format=csv,noheader,nounits", "--loop-ms=100")


def has_gpu() -> bool:
    """Whether torch finds a CUDA device."""
    import torch

    return torch.cuda.is_available()


class Power:
    """Watts of the first card, read by nvidia-smi meanwhile; nothing where there is no card or no such program.

    Of the moment: what nvidia-smi calls power.draw is the mean of a second, longer than a window.
    """

    def __init__(self, device: str) -> None:
        """Begin to read."""
        self._seen: deque[tuple[float, float]] = deque(maxlen=10_000)
        self._process: subprocess.Popen[str] | None = None
        if device != "cpu" and (program := shutil.which("nvidia-smi")):
            what = ["--id=0", *QUERY]
            self._process = subprocess.Popen([program, *what], stdout=subprocess.PIPE, text=True)
            threading.Thread(target=self._read, args=(self._process,), daemon=True).start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with contextlib.suppress(ValueError):  # [N/A], where the card does not tell
                self._seen.append((time.monotonic(), float(line)))

    def mean(self, seconds: float) -> float | None:
        """Of the last `seconds`; None where it is not known."""
        since = time.monotonic() - seconds
        seen = [watts for at, watts in list(self._seen) if at >= since]
        return sum(seen) / len(seen) if seen else None

    def close(self) -> None:
        """Read no more."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


@contextlib.contextmanager
def multi_process_service(control: str) -> Iterator[dict[str, str]]:
    """A multi-process service of our own, ended at the end; yields the variables by which clients find it.

    Args:
        control: Path of nvidia-cuda-mps-control.
    """
    with tempfile.TemporaryDirectory() as folder:
        variables = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        env = {**os.environ, **variables}
        subprocess.run([control, "-d"], env=env, check=True)
        try:
            yield variables
        finally:
            subprocess.run([control], input="quit\n", text=True, env=env, check=False)


@contextlib.contextmanager
def service(device: str, *, quick: bool) -> Iterator[dict[str, str]]:
    """The multi-process service, as variables for its clients; {} where there is none, or it does not start."""
    control, variables = shutil.which("nvidia-cuda-mps-control"), dict[str, str]()
    with contextlib.ExitStack() as stack:
        if device != "cpu" and not quick and control is not None:
            try:
                variables = stack.enter_context(multi_process_service(control))
            except (OSError, subprocess.CalledProcessError) as error:
                say(f"without the multi-process service: {error}")
        yield variables
