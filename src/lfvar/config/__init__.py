"""Configuration that cannot drift: compose, check against signatures and between fields, build, record.

Imports neither torch nor lightning: `--help` of a command answers at once.
"""

from lfvar.config.build import build, build_each, validate
from lfvar.config.card import (
    finish_card,
    finished_metrics,
    is_finished,
    make_card,
    print_card,
    read_card,
    render_card,
    start_card,
)
from lfvar.config.command import command
from lfvar.config.compose import compose
from lfvar.config.crossfield import cross_check
from lfvar.config.locate import conf_folder
from lfvar.config.relaunch import pin_argv_for_children
from lfvar.config.run import register_resolvers, resume_checkpoint, resume_folder, run_folder
from lfvar.config.schema import CommandRoot, EvaluateRoot, PrepareRoot, TrainRoot, register_schema
from lfvar.config.stamp import is_rank_zero

__all__ = [
    "CommandRoot",
    "EvaluateRoot",
    "PrepareRoot",
    "TrainRoot",
    "build",
    "build_each",
    "command",
    "compose",
    "conf_folder",
    "cross_check",
    "finish_card",
    "finished_metrics",
    "is_finished",
    "is_rank_zero",
    "make_card",
    "pin_argv_for_children",
    "print_card",
    "read_card",
    "register_schema",
    "render_card",
    "resume_checkpoint",
    "resume_folder",
    "run_folder",
    "start_card",
    "validate",
]

# Jobs that a launcher starts elsewhere unpickle our task, and with it import this, before they compose.
register_resolvers()
