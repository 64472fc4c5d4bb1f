"""Still pictures to pretrain small networks on: what ImageNet is to the papers' networks, for those of profile tiny.

A picture shows a round sign with one of forty glyphs, or an oblong board with two, before a backdrop as in `sprites`.
The glyphs are none of the symbols of `sprites`: a network learns here to read signs, and not which of them tells a
class, nor that boards tell none.
"""
# Legend: N pictures, H height, W width, C channels (RGB).

import itertools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from datamodules import sprites_drawing as drawing
from datamodules.sprites_drawing import Strokes

NUM_GLYPHS = 40
NUM_CLASSES = NUM_GLYPHS + 1  # the last one is a board
STROKES_A_GLYPH = (3, 4)
LARGEST_OVERLAP = 0.7  # of the ink of two glyphs, or of a glyph and a symbol of `sprites`: intersection over union
SIZES = (8.0, 28.0)  # px, a sign's diameter
PARTS = (0.18, 0.65)  # of it that the glyph takes
DARK_RATE = 0.1
SEED = 20261126


def glyphs() -> list[Strokes]:
    """Strokes that hang together, between neighbours on a grid of three by three points."""
    rng = np.random.default_rng(SEED)
    points = list(itertools.product((-0.8, 0.0, 0.8), repeat=2))
    neighbours = [(a, b) for a, b in itertools.combinations(points, 2) if max(abs(np.subtract(a, b))) < 1]
    found: list[Strokes] = []
    inks = [_ink(symbol) for symbol in (*drawing.CLASS_NAMES, *drawing.BOARD_SYMBOLS)]
    while len(found) < NUM_GLYPHS:
        glyph = [neighbours[rng.integers(len(neighbours))]]
        num_strokes = rng.integers(*STROKES_A_GLYPH, endpoint=True)
        while len(glyph) < num_strokes:
            touched = {point for stroke in glyph for point in stroke}
            nexts = [stroke for stroke in neighbours if touched & {*stroke} and stroke not in glyph]
            glyph.append(nexts[rng.integers(len(nexts))])
        strokes = [(x0, y0, x1, y1) for (x0, y0), (x1, y1) in glyph]
        ink = _ink(strokes)
        if all((ink & other).sum() <= LARGEST_OVERLAP * (ink | other).sum() for other in inks):
            found.append(strokes)
            inks.append(ink)
    return found


def _ink(symbol: str | Strokes) -> np.ndarray:
    """Where a symbol is inked, (41, 41) bool."""
    x = np.linspace(-1.2, 1.2, 41)
    return drawing.symbol_distance(symbol, x[None], x[:, None]) < 0


GLYPHS = glyphs()


def draw(index: int) -> tuple[np.ndarray, int]:
    """A picture (72, 72, 3) uint8 RGB and its class; classes go round, so that pictures are balanced."""
    rng = np.random.default_rng([SEED, index])
    label = index % NUM_CLASSES
    picture_1HWC = drawing.backdrop(rng, 1)
    size, part = rng.uniform(*SIZES), rng.uniform(*PARTS)
    symbols = [GLYPHS[label]] if label < NUM_GLYPHS else [GLYPHS[i] for i in rng.integers(NUM_GLYPHS, size=2)]
    drawing.paint(rng, picture_1HWC, size, part, symbols)
    if rng.random() < DARK_RATE:
        picture_1HWC *= drawing.DARK_GAIN
    return drawing.as_recorded(rng, picture_1HWC)[0], label


def draw_all(first: int, num: int) -> tuple[np.ndarray, np.ndarray]:
    """`num` pictures from index `first` on, by all cores: (N, 72, 72, 3) uint8, and their classes (N,)."""
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        drawn = list(pool.map(draw, range(first, first + num), chunksize=256))
    pictures, labels = zip(*drawn, strict=True)
    return np.stack(pictures), np.array(labels)
