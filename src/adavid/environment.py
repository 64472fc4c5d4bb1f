"""What a result was made with: source revision, libraries, device."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

import torch

LIBRARIES = ("torch", "torchvision", "pytorch-lightning", "timm", "av", "fvcore", "scikit-learn", "numpy")


def git_revision() -> str:
    """The commit of the source tree, "-dirty" when it has changes but for results, "unknown" outside a repository."""

    def git(*words: str, check: bool) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=check)

    try:
        revision = git("rev-parse", "HEAD", check=True).stdout.strip()
        is_dirty = git("diff", "--quiet", "HEAD", "--", ":/", ":(top,exclude)results", check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{revision}-dirty" if is_dirty else revision


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that a result depends on."""
    libraries = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), **libraries}


def device_name(device: torch.device | str = "cpu") -> str:
    """The model of the GPU or CPU behind a torch device."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    return model if device.type == "cpu" else f"{device.type} on {model}"
