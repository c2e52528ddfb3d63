"""open_clip's own model and loss (PyPI open_clip_torch) on scenes: the method of open_clip.yaml.

Log-mels are its images (three equal channels), its BPE reads the captions. Nothing here is the
platform's: it calls `fit`, and reads `reports`.
"""

import numpy as np
import torch
from pydantic import BaseModel, Field

from supclap.config import DataConfig
from supclap.data import open_data
from supclap.evaluation.retrieval import retrieval
from supclap.losses import DynamicRadius, InfoNCE, SupCLAPLoss, SupportVectorRegularization
from supclap.losses.open_clip import OpenClipLoss
from supclap.model.features import LogMel
from supclap.vision_library import mend_torchvision

BANDS, FRAMES, WORDS = 64, 96, 24  # of an image, and of a caption
FIGURES = ("t2a.R@1", "t2a.mAP10", "a2t.R@1", "a2t.mAP10")


class OpenClip:
    class Config(BaseModel):
        data: DataConfig = DataConfig()
        epochs: int = Field(10, ge=1)
        batch_size: int = Field(64, ge=2)
        lr: float = Field(5e-4, gt=0)
        width: int = Field(96, ge=24, multiple_of=24)
        layers: int = Field(3, ge=1)
        dim: int = Field(64, ge=2)
        svr: float = Field(0.0, ge=0)  # alpha of SVR; 0: open_clip's own loss as it is

    reports = {"train.loss": "low"} | {
        f"{split}.{name}": {"better": "high", "percent": True}
        for split in ("val", "test")
        for name in FIGURES
    }
    select = "val.t2a.R@1"

    def fit(self, config, run):
        mend_torchvision()
        import open_clip

        torch.manual_seed(run.seed)
        scenes = open_data(config.data)
        read = open_clip.SimpleTokenizer(context_length=WORDS)
        splits = {name: _read(scenes.split(name), read) for name in ("train", "val", "test")}
        heads = config.width // 24
        image = {"layers": config.layers, "width": config.width, "head_width": 24}
        image |= {"patch_size": 16, "image_size": (BANDS, FRAMES)}
        text = {"layers": config.layers, "width": config.width, "heads": heads}
        text |= {"context_length": WORDS, "vocab_size": read.vocab_size}
        model = open_clip.CLIP(config.dim, image, text, output_dict=True)
        loss = open_clip.ClipLoss()
        if config.svr:  # SupCLAP in the place of open_clip's loss: three lines
            radius = DynamicRadius(config.batch_size)
            svr = SupportVectorRegularization(radius, sides="both", alpha=config.svr)
            loss = OpenClipLoss(SupCLAPLoss(InfoNCE(learn_temperature=False), svr))
        optimizer = torch.optim.AdamW([*model.parameters(), *loss.parameters()], lr=config.lr)
        parts = {"model": model, "loss": loss, "optimizer": optimizer}
        for name, state in (run.restore() or {}).items():
            parts[name].load_state_dict(state)
        for epoch in range(run.epoch + 1, run.epochs + 1):
            mean = _epoch(config, run.seed, epoch, splits["train"], model, loss, optimizer)
            run.report(epoch, {"train.loss": mean, **_measure(model, "val", splits["val"])})
            run.save({name: part.state_dict() for name, part in parts.items()})
        model.load_state_dict(run.restore_best()["model"])
        return _measure(model, "test", splits["test"])


def _read(clips, read):
    """Images (M, 3, 64, 96), captions (Q, 24), and the clip that each caption is of (Q,)."""
    mel = LogMel()
    waves = (torch.from_numpy(clips.audio(row) / 32768.0) for row in range(len(clips)))
    mels = torch.stack([mel(wave) for wave in waves])
    images = torch.nn.functional.pad(mels, (0, max(0, FRAMES - mels.shape[-1])))[..., :FRAMES]
    rows = enumerate(clips.captions)
    said = [(row, c.text) for row, each in rows for c in each if c.language == "eng"]
    owner = np.array([row for row, _ in said])
    return images.unsqueeze(1).expand(-1, 3, -1, -1), read([text for _, text in said]), owner


def _epoch(config, seed, epoch, data, model, loss, optimizer):
    """One pass over the clips, each with one of its captions; the mean loss of a step."""
    images, texts, owner = data
    numbers = np.random.default_rng([seed, epoch])
    order = numbers.permutation(len(images))[: len(images) // config.batch_size * config.batch_size]
    total = 0.0
    model.train()
    for rows in order.reshape(-1, config.batch_size):
        chosen = [numbers.choice(np.flatnonzero(owner == row)) for row in rows]
        found = model(images[rows], texts[chosen])
        value = loss(**found)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, np.log(100))  # as open_clip's loop does
        total += value.item()
    return total / len(order) * config.batch_size


@torch.no_grad()
def _measure(model, split, data):
    images, texts, owner = data
    model.eval()
    audio = torch.cat([model.encode_image(rows, normalize=True) for rows in images.split(256)])
    words = torch.cat([model.encode_text(rows, normalize=True) for rows in texts.split(256)])
    metrics = retrieval(audio, words, owner).metrics
    return {f"{split}.{name}": metrics[name] for name in FIGURES}
