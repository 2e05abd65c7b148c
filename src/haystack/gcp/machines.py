"""GPU machines on Google Cloud, each by one word (`gpu` in the settings)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GpuMachine:
    """A machine with one GPU."""

    machine_type: str
    accelerator: str
    """Batch's word for the GPU. A word, never a number: a number makes the executor plugin ask for a T4"""
    cpus: int
    memory_gb: int
    quota: str
    """Compute Engine's name of its quota; that of spot machines has PREEMPTIBLE_ before it"""

    @property
    def cpu_milli(self) -> int:
        """What a job asks for, a core less than there is: Batch's own agent runs beside it."""
        return 1000 * (self.cpus - 1)

    @property
    def memory_mib(self) -> int:
        """What a job asks for: nine tenths of the machine."""
        return int(0.9 * 1000 * self.memory_gb)


MACHINES = {
    "l4": GpuMachine("g2-standard-8", "nvidia-l4", 8, 32, "NVIDIA_L4_GPUS"),
    "a100": GpuMachine("a2-highgpu-1g", "nvidia-tesla-a100", 12, 85, "NVIDIA_A100_GPUS"),
    "a100-80": GpuMachine("a2-ultragpu-1g", "nvidia-a100-80gb", 12, 170, "NVIDIA_A100_80GB_GPUS"),
    "h100": GpuMachine("a3-highgpu-1g", "nvidia-h100-80gb", 26, 234, "NVIDIA_H100_GPUS"),
}
"""STACK-Large fits the 24 GB of an L4; A100 (40 and 80 GB) and H100 (80 GB) are for larger windows and larger models"""
