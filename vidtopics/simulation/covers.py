"""Covers: background by primary class, palette and shapes by secondary, lines by topic; clutter.

A cover is a pure function of seed, video and settings. The classes are those of the video's *cover
topic*, which noise swaps for another one.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vidtopics.simulation.classes import Classes
from vidtopics.simulation.philox import Stream, uniforms
from vidtopics.simulation.world import World

CLUTTER = 4
HUE_JITTER = 0.03
_LOOK = 8
_DRAWS = 80

Colour = tuple[int, int, int]
Look = NDArray[np.float64]
"""What a class looks like: eight numbers in (0, 1) that the drawing interprets."""
Draws = Iterator[float]


def covers(world: World, rows: NDArray[np.int64]) -> Iterator[Image.Image]:
    """Covers of videos `rows` [n], RGB, `cover_pixels` high and wide.

    >>> from vidtopics.settings import SimulationSettings
    >>> world = World.build(SimulationSettings(users=1, videos=20, cover_pixels=32), seed=7)
    >>> [image.size for image in covers(world, np.array([3, 5]))]
    [(32, 32), (32, 32)]
    """
    topics = world.items.cover_topic[rows]
    draws = uniforms(world.seed, Stream.COVER, rows, _DRAWS)
    primary, classes = world.classes.primary[topics], world.settings.primary_classes
    for of, secondary, topic, own in zip(
        primary, *_looks(world.classes, topics, world.seed), draws, strict=True
    ):
        yield cover(
            world.settings.cover_pixels, int(of), classes, secondary, topic, iter(own.tolist())
        )


def cover(
    pixels: int, primary: int, classes: int, secondary: Look, topic: Look, u: Draws
) -> Image.Image:
    """One cover from its classes and their looks and its own numbers `u` in (0, 1).

    `primary` is one of `classes`.
    """
    hue, saturation = primary / classes + HUE_JITTER * (2 * next(u) - 1), 0.45 + 0.25 * next(u)
    value = 0.65 + 0.25 * next(u)
    image = Image.new("RGB", (pixels, pixels), _colour(hue, saturation, value))
    canvas = ImageDraw.Draw(image)
    _pattern(canvas, pixels, primary, _colour(hue, saturation, 0.45 * value), u)
    _clutter(canvas, pixels, u)
    _shapes(canvas, pixels, secondary, u)
    _lines(canvas, pixels, topic, u)
    return image


def _looks(classes: Classes, topics: NDArray[np.int64], seed: int) -> tuple[Look, Look]:
    secondary = uniforms(seed, Stream.CLASS_LOOK, classes.secondary[topics], _LOOK, day=1)
    return secondary, uniforms(seed, Stream.CLASS_LOOK, topics, _LOOK, day=2)


def _pattern(
    canvas: ImageDraw.ImageDraw, pixels: int, primary: int, shade: Colour, u: Draws
) -> None:
    """Seven patterns in a darker shade, coarser every seven classes, moved and scaled."""
    kind, gap = primary % 7, pixels / (9 - primary // 7 % 6) * (0.9 + 0.2 * next(u))
    left, top = next(u) * gap, next(u) * gap
    for row in range(-1, int(pixels / gap) + 1):
        for column in range(-1, int(pixels / gap) + 1):
            x, y = left + column * gap, top + row * gap
            if kind in (2, 3) or (kind == 1 and (row + column) % 2):
                wide, high = {1: (1.0, 1.0), 2: (1.0, 0.4), 3: (0.4, 1.0)}[kind]
                canvas.rectangle((x, y, x + wide * gap, y + high * gap), fill=shade)
            elif kind != 1:
                _shape(canvas, {0: 0, 4: 4, 5: 1, 6: 3}[kind], x, y, 0.35 * gap, shade)


def _clutter(canvas: ImageDraw.ImageDraw, pixels: int, u: Draws) -> None:
    """Small ellipses and rectangles of any colour anywhere."""
    for i in range(CLUTTER):
        x, y, r = next(u) * pixels, next(u) * pixels, (0.02 + 0.06 * next(u)) * pixels
        put = canvas.ellipse if i % 2 else canvas.rectangle
        put((x - r, y - r, x + r, y + r), fill=_colour(next(u), 0.8 * next(u), 0.9))


def _shapes(canvas: ImageDraw.ImageDraw, pixels: int, look: Look, u: Draws) -> None:
    """Two to four shapes of the class's form and size, in its two colours."""
    colours = [_colour(look[0], 0.85, 0.95), _colour(look[1], 0.7, 0.45)]
    size = (0.10 + 0.05 * look[3]) * pixels
    for i in range(2 + int(look[4] * 3)):
        x, y = next(u) * pixels, next(u) * pixels
        _shape(canvas, int(look[2] * 6), x, y, size * (0.8 + 0.4 * next(u)), colours[i % 2])


def _shape(
    canvas: ImageDraw.ImageDraw, kind: int, x: float, y: float, r: float, colour: Colour
) -> None:
    if kind == 0:
        canvas.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif kind == 1:
        canvas.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=max(1, int(r / 3)))
    elif kind == 2:
        canvas.rectangle((x - 1.5 * r, y - r / 2, x + 1.5 * r, y + r / 2), fill=colour)
    elif kind == 3:
        canvas.polygon(
            [_on_circle(x, y, r * (1 if k % 2 else 0.4), k / 10) for k in range(10)], fill=colour
        )
    else:
        canvas.regular_polygon((x, y, r), 3 if kind == 4 else 6, fill=colour)


def _lines(canvas: ImageDraw.ImageDraw, pixels: int, look: Look, u: Draws) -> None:
    """Parallel, zigzag or concentric lines.

    Direction, number, spacing and thickness are the topic's.
    """
    shade = (25, 25, 35) if look[4] < 0.5 else (245, 245, 240)
    width = 1 + int(look[2] * 0.02 * pixels)
    gap = (0.05 + 0.13 * look[3]) * pixels
    turn = math.pi * look[0] + 0.1 * (next(u) - 0.5)
    shift = (look[5] - 0.5 + 0.1 * (next(u) - 0.5)) * pixels
    for k in range(1 + int(look[1] * 4)):
        if look[6] < 1 / 3:
            r, at = (k + 1) * gap, pixels / 2 + shift / 2
            canvas.ellipse((at - r, at - r, at + r, at + r), outline=shade, width=width)
        else:
            waves = 0.0 if look[6] < 2 / 3 else gap / 2
            canvas.line(_stroke(pixels, turn, shift + k * gap, waves), fill=shade, width=width)


def _stroke(pixels: int, turn: float, away: float, waves: float) -> list[tuple[float, float]]:
    """Nine points in direction `turn`, `away` from the middle, every second one off by `waves`."""
    points = []
    for k in range(9):
        along, across = (k / 8 - 0.5) * 1.5 * pixels, away + waves * (1 if k % 2 else -1)
        x = pixels / 2 + along * math.cos(turn) - across * math.sin(turn)
        points.append((x, pixels / 2 + along * math.sin(turn) + across * math.cos(turn)))
    return points


def _on_circle(x: float, y: float, r: float, turns: float) -> tuple[float, float]:
    return x + r * math.sin(2 * math.pi * turns), y - r * math.cos(2 * math.pi * turns)


def _colour(hue: float, saturation: float, value: float) -> Colour:
    r, g, b = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return int(255 * r), int(255 * g), int(255 * b)
