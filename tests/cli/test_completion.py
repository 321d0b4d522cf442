"""Tab completion, as a shell does it, for the commands that an installation puts on the path."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def scripts():
    lines = (ROOT / "pyproject.toml").read_text().partition("[project.scripts]")[2].partition("\n[")[0]
    return dict(line.replace('"', "").split(" = ") for line in lines.splitlines() if " = " in line)


def test_every_command_is_a_program_too():
    commands = {path.stem for path in (ROOT / "conf").glob("*.yaml")} | {"doctor"}
    packages = {name for name in commands if (ROOT / "src" / "lfvar" / name).is_dir()}
    modules = {name: f"{name}.__main__" if name in packages else name for name in commands}
    assert scripts() == {f"lfvar-{name}": f"lfvar.{module}:main" for name, module in modules.items()}


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_shell_completes_settings(tmp_path):
    module, function = scripts()["lfvar-train"].split(":")
    program = tmp_path / "lfvar-train"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    program.chmod(0o755)
    line = "lfvar-train experiment=vqvae_f"
    script = f"""
        eval "$(lfvar-train -sc install=bash)"
        COMP_LINE='{line}'; COMP_POINT={len(line)}; COMP_CWORD=1; COMP_WORDS=({line})
        complete -p lfvar-train
        hydra_bash_completion
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "hydra_bash_completion lfvar-train" in done.stdout, done.stderr
    assert {"experiment=vqvae_finetune", "experiment=vqvae_finetune_512"} <= set(done.stdout.split())
    assert not list(tmp_path.glob("runs"))
