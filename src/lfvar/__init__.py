"""lfvar: controllable synthesis of skin lesions, and multi-scale VQ tokenizers that people can train.

Importing this package costs nothing: heavy imports happen in the modules that use them.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("lfvar")
except PackageNotFoundError:  # a source tree on PYTHONPATH, never installed
    __version__ = "0+uninstalled"
