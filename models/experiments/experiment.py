"""What an experiment is: a task, a recipe, a rule of success, and what the paper says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from minigrad.errors import ArgumentError, lesson

Array = np.ndarray[Any, Any]
Watch = Callable[[int, int, str], None]
"""Told after each update: how much is done, of how much at most, and how it stands."""


@dataclass(frozen=True)
class Trial:
    """What one seed came to.

    Attributes
    ----------
    passed : bool
        By the experiment's rule.
    figures : dict
        A number under each key of the experiment's figures; None where there is none, for
        instance the sequences that a task took which was never solved.
    curve : sequence of (float, float)
        How the training went, to be drawn.
    """

    passed: bool
    figures: Mapping[str, float | None]
    curve: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Figure:
    """A number that a trial ends with, and the published one to hold it against.

    Attributes
    ----------
    caption, form : str
        Its name, and how it is written (``"{:.1f} %"``).
    paper : str
        The published figure; empty if there is none.
    """

    caption: str
    form: str
    paper: str = ""

    def __call__(self, value: float | None) -> str:
        return "never" if value is None else self.form.format(value)


@dataclass(frozen=True)
class Control:
    """A change of the recipe with which the experiment must fail, and why it must.

    A success that nothing can spoil would say nothing about the model.
    """

    why: str
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class Axes:
    """The plot: what is drawn against what, and values to compare with.

    Attributes
    ----------
    x, y : str
    lines : dict
        Horizontal lines by their names.
    published : float, optional
        Where on x the paper's result lies.
    log : bool
    """

    x: str
    y: str
    lines: Mapping[str, float] = field(default_factory=dict)
    published: float | None = None
    log: bool = False


@dataclass(frozen=True)
class Experiment:
    """A published task that a seed either masters or not.

    Attributes
    ----------
    name, title, source : str
        ``python -m models experiment NAME``; a heading; the publication.
    about : str
        The task, as its module's docstring tells it.
    rule : str
        When a seed passes.
    figures : dict of str to Figure
    recipe : dataclass
        Every number that decides what a trial comes to.
    trial : callable
        ``trial(recipe, seed, watch)`` returns a `Trial`.
    axes : Axes
    share : float
        Of the seeds, how many must pass.
    seeds : int
        How many are run unless told otherwise.
    rivals : callable, optional
        ``rivals(recipe)``: what others reach on the same data, by name, in the unit of y.
    remark : str
        What must be said openly.
    controls : dict of str to Control
    quick : dict
        Changes of the recipe that let it run through in seconds; its figures say nothing.
    """

    name: str
    title: str
    source: str
    about: str
    rule: str
    figures: Mapping[str, Figure]
    recipe: Any
    trial: Callable[[Any, int, Watch], Trial]
    axes: Axes
    share: float = 0.8
    seeds: int = 5
    rivals: Callable[[Any], dict[str, float]] | None = None
    remark: str = ""
    controls: Mapping[str, Control] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)

    def prepared(self, control: str | None, quick: bool, changes: Mapping[str, str]) -> Any:
        """The recipe that was asked for.

        Parameters
        ----------
        control : str, optional
        quick : bool
        changes : dict of str to str
            Fields of the recipe and their values as they were written.

        Raises
        ------
        ArgumentError
            There is no such control or field, or a value does not fit its field.
        """
        recipe = replace(self.recipe, **self.quick) if quick else self.recipe
        if control is not None:
            if control not in self.controls:
                known = ", ".join(self.controls) or "none"
                raise ArgumentError(lesson(f"--control {control}", f"{self.name} has the controls: {known}"))
            recipe = replace(recipe, **{k: v for k, v in self.controls[control].changes.items()
                                        if not (quick and k in self.quick)})  # fmt: skip
        kinds = {each.name: type(getattr(recipe, each.name)) for each in fields(recipe)}
        for name, text in changes.items():
            if name not in kinds:
                raise ArgumentError(lesson(f"--set {name}={text}", f"the recipe of {self.name} has no {name}",
                                           f"one of {', '.join(kinds)}"))  # fmt: skip
            try:
                recipe = replace(recipe, **{name: kinds[name](text)})
            except ValueError:
                raise ArgumentError(lesson(f"--set {name}={text}", "", f"{name} is of type {kinds[name].__name__}")) from None
        return recipe
