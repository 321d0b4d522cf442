"""What every Hydra command shares: environment, compose, check, clear errors, exit code.

```python
@command("train")
def main(cfg: DictConfig) -> None:
    from lfvar.training import train  # torch is imported here, so that --help answers at once

    train(cfg)


if __name__ == "__main__":
    sys.exit(main())
```

The decorated function takes no arguments, reads `sys.argv`, and returns the exit code: 0, 1 after an error, 130 after
Ctrl-C, 143 after SIGTERM, 138 and 140 after SIGUSR1 and SIGUSR2. Errors of ours are two lines on stderr; set
LFVAR_DEBUG=1 for the traceback.
"""

import functools
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from lfvar.config.arguments import flags_first, with_saved_overrides
from lfvar.config.build import validate
from lfvar.config.explain import explain
from lfvar.config.help import HELP, render_help, wants_help
from lfvar.config.locate import conf_folder
from lfvar.config.relaunch import job_processes
from lfvar.config.run import register_resolvers
from lfvar.config.schema import register_schemas
from lfvar.config.speaking import lost_connection, rank_name, speaks
from lfvar.config.stamp import STAMP_VARIABLE, is_lightnings_child, is_rank_zero, run_stamp
from lfvar.config.sweep import finish_sweep, note_job
from lfvar.errors import ConfigError, DiskFullError, LfvarError, Stopped

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130

# Albumentations asks the internet for a newer version at import; wandb uploads unless told not to.
_DEFAULT_ENVIRONMENT = {"NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_MODE": "offline"}

Task = Callable[[DictConfig], Any]


@dataclass
class _Failures:
    """Jobs of this process that failed and were reported already."""

    jobs: list[str] = field(default_factory=list)


def command(config_name: str, *, config_folder: Path | None = None) -> Callable[[Task], Callable[[], int]]:
    """Make a Hydra command of a function over the checked config.

    Args:
        config_name: The root config, `<config_name>.yaml` in conf/.
        config_folder: conf/ (default: ours, found when the command runs).
    """

    def decorate(task: Task) -> Callable[[], int]:
        @functools.wraps(task)
        def main() -> int:
            return _run(task, config_name, config_folder)

        return main

    return decorate


def _run(task: Task, config_name: str, config_folder: Path | None) -> int:
    failures = _Failures()
    arguments = list(sys.argv)
    try:
        register_schemas()
        register_resolvers()
        folder = conf_folder() if config_folder is None else config_folder.absolute()
        if config_name in HELP and wants_help(sys.argv[1:]):
            print(render_help(config_name, folder, sys.argv[1:]))
            return 0
        sys.argv[1:] = with_saved_overrides(flags_first(sys.argv[1:]))
        with _prepared_environment():
            hydra.main(version_base="1.3", config_path=str(folder), config_name=config_name)(_checked(task, failures))()
    except KeyboardInterrupt:
        if not is_rank_zero(os.environ):
            return 0  # else launchers would take it for a crash, and kill rank zero before it is done
        goes_on = "; `resume=<run folder>` goes on from the last checkpoint" if config_name == "train" else ""
        _say(f"stopped by Ctrl-C{goes_on}")
        return EXIT_INTERRUPTED
    except Stopped as stop:
        if not is_rank_zero(os.environ):
            return 0  # as above
        _say(f"stopped by {signal.Signals(stop.signal).name}, {stop.message}")
        return stop.exit_code
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except Exception as error:
        report(error)
        return EXIT_ERROR
    finally:
        sys.argv[:] = arguments
        of_sweep = finish_sweep()
    if of_sweep:
        _say(f"{len(of_sweep)} of the sweep's jobs failed: " + "; ".join(job.name for job in of_sweep))
    return EXIT_ERROR if failures.jobs or of_sweep else 0


def report(error: Exception) -> None:
    """Print `error` on stderr: two lines if a user can mend it, the traceback if it is our bug.

    An error that all processes of a run share is printed by the first; others say their rank.
    """
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        error = _with_origin(explain(error), error)
    elif isinstance(error, ValueError) and str(error).startswith("Config group override must be"):
        # Hydra raises a plain ValueError for `logger=null`
        cure = "write ~GROUP to leave a group out, e.g. ~logger"
        error = _with_origin(ConfigError(str(error).splitlines()[0], cure=cure), error)
    elif isinstance(error, ValueError) and str(error).startswith("No trials are completed"):
        # Optuna, asked by its sweeper for the best of none
        error = _with_origin(ConfigError("no job of the search gave a value", cure="mend what the jobs say"), error)
    elif isinstance(error, OSError) and error.errno in DiskFullError.ERRNOS:
        place = f" for {error.filename}" if error.filename else ""
        error = _with_origin(
            DiskFullError(f"no space left on the disk{place}", cure="make space, and try again"), error
        )
    is_first, lost = is_rank_zero(os.environ), lost_connection(error)
    if not _wants_traceback():
        if lost is not None and not is_first:
            return  # the first process speaks for all that lost the one that knows why
        ours = isinstance(error, LfvarError)
        if lost is None and not speaks(f"{type(error).__name__}: {error}", os.environ, shared=ours):
            return
    who = "" if is_first else f"{rank_name(os.environ)}: "
    if not _wants_traceback() and (lost is not None or isinstance(error, LfvarError)):
        _say(f"{who}error: {lost or error}")
        return
    _say_traceback(error, who)


def _checked(task: Task, failures: _Failures) -> Task:
    """Wrap a task: validate first, keep child processes in this job, report errors in our words."""

    @functools.wraps(task)
    def checked(cfg: DictConfig) -> Any:
        start, status, said = time.monotonic(), "interrupted", ""

        def note(status: str, said: str) -> None:
            if HydraConfig.get().mode == RunMode.MULTIRUN and is_rank_zero(os.environ):
                folder, overrides = Path(HydraConfig.get().runtime.output_dir), HydraConfig.get().overrides.task
                note_job(folder, overrides=overrides, status=status, seconds=time.monotonic() - start, error=said)

        def last_words(reason: str) -> None:
            _say(f"error: {reason}: this process is ended")
            note("failed", reason)
            finish_sweep()

        try:
            with job_processes(last_words):
                try:
                    validate(cfg)
                    result = task(cfg)
                except Exception as error:
                    # Hydra would print its own line and traceback: report here, while the job's processes can still
                    # be asked who says it, and let Hydra believe that all went well.
                    if _job_name() and is_rank_zero(os.environ):
                        _say(f"job {_job_name()}:")
                    report(error)
                    said = str(lost_connection(error) or error) or type(error).__name__
                    raise
            status = "finished"
            return result
        except Exception as error:
            status, said = "failed", said or str(error) or type(error).__name__
            if _is_search():
                raise  # it must know that this point gave no value
            failures.jobs.append(_job_name())
            return None
        finally:
            if cfg.get("check"):
                shutil.rmtree(HydraConfig.get().runtime.output_dir, ignore_errors=True)
            else:
                note(status, said)

    return checked


def _is_search() -> bool:
    """Whether a sweeper asks for the results of this job."""
    hydra_config = HydraConfig.get()
    return hydra_config.mode == RunMode.MULTIRUN and not str(hydra_config.sweeper._target_).endswith("BasicSweeper")


def _job_name() -> str:
    hydra_config = HydraConfig.get()
    if hydra_config.mode != RunMode.MULTIRUN:
        return ""
    return f"{hydra_config.job.num} ({' '.join(hydra_config.overrides.task)})"


@contextmanager
def _prepared_environment() -> Iterator[None]:
    """Set what Hydra and libraries read from the environment, and take it back at the end.

    HYDRA_FULL_ERROR makes Hydra raise instead of printing and leaving, so that our words are the only ones.
    """
    user_full_error = os.environ.get("HYDRA_FULL_ERROR")
    wanted = {name: value for name, value in _DEFAULT_ENVIRONMENT.items() if name not in os.environ}
    wanted[STAMP_VARIABLE] = run_stamp(os.environ)
    wanted["HYDRA_FULL_ERROR"] = "1"
    if user_full_error == "1" and not is_lightnings_child(os.environ):  # those have ours
        wanted["LFVAR_DEBUG"] = "1"
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _wants_traceback() -> bool:
    return os.environ.get("LFVAR_DEBUG", "") not in ("", "0")


def _with_origin(explained: LfvarError, error: Exception) -> LfvarError:
    if explained is not error and explained.__cause__ is None:
        explained.__cause__ = error
    return explained


def _say_traceback(error: Exception, who: str) -> None:
    _say(who + "".join(traceback.format_exception(error)).rstrip())


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
