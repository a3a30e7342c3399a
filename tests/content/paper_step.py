"""`conf/paper.yaml` for some iterations on drawn covers, with random weights: `VIDEOS ITERATIONS`.

Shapes are the paper's (III, IV-A): Inception-ResNet-v2 at 299 pixels, BERT base, 12 experts, 50,
367 and 12,000 classes. Prints what came out as JSON.
"""

import json
import resource
import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from scipy.sparse import csr_array
from tiny_encoders import noise_cover

from producers.content.dataset import Targets
from producers.content.fine_tuning import fine_tune
from producers.content.weights import encoder_identity, load_image_encoder, load_title_encoder
from vidtopics.settings import Settings, parse

CONF = Path(__file__).parents[2] / "conf" / "paper.yaml"
CLASSES = (50, 367, 12_000)
PIECE = 4


def paper(**changes: object) -> Settings:
    """The preset with random weights, and a batch that a test has time for."""
    tree = yaml.safe_load(CONF.read_text(encoding="utf-8"))
    content = tree["content"]
    content["image_encoder"] |= {"weights": "random:7", "batch_size": PIECE}
    content["title_encoder"] |= {"weights": "random:7"}
    content |= changes
    return parse(tree, where=str(CONF))


def targets(videos: int, random: np.random.Generator) -> Targets:
    """A primary and a secondary class and 5 tags each."""
    labels = []
    for count, each in zip(CLASSES, (1, 1, 5), strict=True):
        columns = np.stack([random.choice(count, each, replace=False) for _ in range(videos)])
        rows = np.repeat(np.arange(videos), each)
        ones = np.ones(videos * each, np.float32)
        labels.append(csr_array((ones, (rows, columns.ravel())), shape=(videos, count)))
    names = tuple(tuple(f"c{i}" for i in range(count)) for count in CLASSES)
    return Targets(names, tuple(labels))


def main(videos: int, iterations: int) -> None:
    content = paper(batch_size=videos, iterations=iterations).content
    random = np.random.default_rng(7)
    image_encoder = load_image_encoder(content.image_encoder)
    title_encoder = load_title_encoder(content.title_encoder)
    start = {name: p.detach().clone() for name, p in image_encoder.named_parameters()}
    log = []
    tuned = fine_tune(
        image_encoder,
        title_encoder,
        [noise_cover(i, side=128) for i in range(videos)],
        [" ".join(random.choice(["night", "piano", "rain"], 4)) for _ in range(videos)],
        targets(videos, random),
        content,
        seed=7,
        max_pixels=10**6,
        log=log.append,
    )
    moved = [n for n, p in image_encoder.named_parameters() if not torch.equal(p, start[n])]
    report = {
        "encoder": encoder_identity(content),
        "widths": tuned.joint.shape.block_widths,
        "experts": tuned.joint.shape.experts,
        "classes": [len(names) for names in tuned.joint.shape.classes],
        "losses": tuned.losses.tolist(),
        "log": [str(facts) for facts in log],
        "moved_share": len(moved) / len(start),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
