"""The function that a team brings to name topics, by its import path."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from vidtopics.errors import SettingsError, explain

if TYPE_CHECKING:
    from producers.topics.labels import Labeller


def load_labeller(path: str) -> Labeller:
    """The function at `package.module:name`, which `topics.labeller` sets.

    Raises:
        SettingsError: the path has another form, the module can't be imported, or the name is none
            of its functions.

    >>> load_labeller("json:dumps").__name__
    'dumps'
    """
    module_name, separator, name = path.partition(":")
    if not (module_name and separator and name.isidentifier()):
        raise _refusal(path, "package.module:function", "no such path")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a team's module raises when it is loaded
        raise _refusal(path, "a module that can be imported", f"{error}") from None
    labeller = getattr(module, name, None)
    if not callable(labeller):
        raise _refusal(path, f"a function {name} of {module_name}", "none")
    return cast("Labeller", labeller)


def _refusal(path: str, expected: str, found: str) -> SettingsError:
    return SettingsError(
        explain(
            f"topics.labeller, {path}",
            expected=expected,
            found=found,
            mend="correct it, or leave it empty for labels of terms alone",
        )
    )
