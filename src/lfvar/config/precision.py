"""Which precision trains fastest on this machine without losing range: `${lfvar.precision:<accelerator>}`."""


def fastest_precision(accelerator: str) -> str:
    """Return Lightning's name for the precision: "bf16-mixed" where bfloat16 is computed in hardware, else "32-true".

    float16 is never chosen: it needs loss scaling, and a GPU without bfloat16 is better served by float32.

    Args:
        accelerator: As in `trainer.accelerator`.
    """
    import torch

    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if accelerator == "mps" or (accelerator == "auto" and torch.backends.mps.is_available()):
        return "32-true"
    return "bf16-mixed" if cpu_bf16_units() else "32-true"


def cpu_bf16_units() -> list[str]:
    """Return the names of the CPU's bfloat16 units; empty where bfloat16 is emulated and slow."""
    import torch

    checks = {
        "AMX": getattr(torch.cpu, "_is_amx_tile_supported", None),
        "AVX512-BF16": getattr(torch.cpu, "_is_avx512_bf16_supported", None),
    }
    return [name for name, check in checks.items() if check is not None and check()]
