"""What we ask of SLURM: to start a job again."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping


def requeue_job(environment: Mapping[str, str]) -> str | None:
    """Ask SLURM to start the job of this process again, in the same environment and with the same number.

    Args:
        environment: Usually `os.environ`.

    Returns:
        What became of it, in words; None outside a job.
    """
    array_job, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    job = f"{array_job}_{task}" if array_job and task else environment.get("SLURM_JOB_ID")
    if not job:
        return None
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"SLURM could not be asked to requeue job {job} ({error}); `scontrol requeue {job}` does it by hand"
    if done.returncode:
        said = done.stderr.strip() or f"code {done.returncode}"
        return f"SLURM did not requeue job {job}: {said}"
    return f"SLURM will start job {job} again"
