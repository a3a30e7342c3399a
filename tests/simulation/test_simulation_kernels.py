"""Numba's cache of a kernel notices its own file alone; anything else must be an argument."""

import ast
import importlib
import pkgutil
from pathlib import Path

import numba
import pytest

from vidtopics import simulation
from vidtopics.evaluate.ceiling import log

FIXED = {"DAY"}
"""Microseconds of a day."""
MODULES = [
    importlib.import_module(f"vidtopics.simulation.{module.name}")
    for module in pkgutil.iter_modules(simulation.__path__)
]


def foreign_names(module):
    """What kernels of `module` read from other files but Philox, which has known answers."""
    kernels = [
        value.py_func
        for value in vars(module).values()
        if isinstance(value, numba.core.dispatcher.Dispatcher)
        and value.py_func.__module__ == module.__name__
    ]
    foreign = set()
    for function in kernels:
        for name in set(function.__code__.co_names) & set(function.__globals__) - FIXED:
            value = function.__globals__[name]
            if isinstance(value, int | float) and name not in assigned(module):
                foreign.add(name)
            home = getattr(getattr(value, "py_func", None), "__module__", module.__name__)
            if home not in (module.__name__, "vidtopics.simulation.philox"):
                foreign.add(name)
    return foreign


def assigned(module):
    """Names that the file of `module` assigns at its top level."""
    tree = ast.parse(Path(module.__file__).read_text())
    targets = [t for node in tree.body if isinstance(node, ast.Assign) for t in node.targets]
    return {name.id for t in targets for name in ast.walk(t) if isinstance(name, ast.Name)}


@pytest.mark.parametrize("module", [*MODULES, log], ids=lambda m: m.__name__)
def test_kernels_read_constants_of_their_own_file_alone(module):
    assert foreign_names(module) == set()
