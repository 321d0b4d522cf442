"""Find conf/, the folder of YAML groups: inside the installed package, or beside src/ in a checkout."""

from pathlib import Path

from lfvar.errors import ConfigError

PACKAGE_FOLDER = Path(__file__).resolve().parents[1]


def conf_folder(package_folder: Path = PACKAGE_FOLDER) -> Path:
    """Return the absolute path of conf/.

    A wheel carries it as `lfvar/conf`; a checkout (also an editable install) has it at `<repo>/conf`.

    Args:
        package_folder: The folder of the `lfvar` package.

    Raises:
        ConfigError: Neither place holds it.
    """
    candidates = [package_folder / "conf"]
    if package_folder.parent.name == "src":
        candidates.append(package_folder.parents[1] / "conf")
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    looked = " and ".join(str(candidate) for candidate in candidates)
    raise ConfigError(
        f"conf/, the folder of Hydra groups, is missing: looked at {looked}",
        cure="reinstall lfvar (`pip install --force-reinstall lfvar`), or run from a complete checkout",
    )


def checkout_folder(package_folder: Path = PACKAGE_FOLDER) -> Path | None:
    """Return the root of the git checkout this package runs from; None for an installed wheel."""
    root = package_folder.parents[1]
    is_ours = package_folder.parent.name == "src" and (root / "pyproject.toml").is_file()
    return root if is_ours and (root / ".git").exists() else None
