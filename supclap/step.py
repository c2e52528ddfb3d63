"""One step of training: a global batch in, new weights and the step's figures out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from supclap.batches import Batch
from supclap.config import RunConfig
from supclap.divergence import TrainingError, explain_divergence, part_diverged
from supclap.drift import diagnose
from supclap.inputs import Fed, SplitInputs
from supclap.losses import LossOutput, MultilingualLoss, MultilingualOutput, SupCLAPLoss
from supclap.losses.accumulation import backward_in_chunks
from supclap.losses.distributed import GlobalBatchLoss
from supclap.losses.multilingual import View
from supclap.losses.own import Shares
from supclap.losses.pairs import full_precision, widened
from supclap.losses.passes import Layout
from supclap.memory import asked_for, emptied
from supclap.model.clap import CLAP, Tower
from supclap.model.results import suspects
from supclap.optimization import optimizer_part
from supclap.out_of_memory import no_room_for_state, out_of_memory, smaller_chunk
from supclap.parts.calling import guarded, is_own, named
from supclap.parts.losses import BaseLoss, LossTerm
from supclap.precision import Boost, autocast, check_precision
from supclap.workers import Workers


class _OutOfRange(Exception):
    """A gradient has left float16's range on its way through the encoders."""


class Step:
    """Takes steps with ``optimizer`` on ``model`` and ``loss``; every worker calls it alike."""

    def __init__(
        self,
        config: RunConfig,
        model: CLAP,
        loss: SupCLAPLoss,
        optimizer: torch.optim.Optimizer,
        inputs: SplitInputs,
        workers: Workers,
        steps: int,
    ) -> None:
        """``steps``: of the whole run."""
        self.config, self.model, self.loss, self.optimizer = config, model, loss, optimizer
        self.optimizer_part = optimizer_part(config.optimizer)
        self.inputs, self.workers, self.steps = inputs, workers, steps
        self.seed, self.chunk, self.clip_norm = (
            config.seed,
            config.chunk,
            config.optimizer.clip_norm,
        )
        check_precision(config.precision, workers.device)
        self.boost = Boost(config.precision)
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.global_loss: GlobalBatchLoss | MultilingualLoss = GlobalBatchLoss(loss)
        if config.loss.multilingual is not None:
            self.global_loss = MultilingualLoss(self.global_loss, config.loss.multilingual)

    def __call__(self, batch: Batch, fed: Fed, checkpoint: str = "") -> dict[str, float]:
        """Updates the weights by the global batch's gradient.

        Where that does not fit into memory and ``on_oom: chunk`` is set, the step is taken with
        half the clips per forward pass, again and again down to one; `chunk` then says how many.

        Args:
            batch: the global batch.
            fed: what `SplitInputs.feed` gives of this worker's part.
            checkpoint: name of the last good one, to be named where the run cannot go on.

        Returns:
            ``train.loss``, its parts (``train.base``, ``train.svr``, ``train.constraint``, and each
            term's ``train.LABEL``), what base and terms of one's own want logged, the numbers of
            the loss that have a schedule, ``train.gradient`` (norm before clipping) and the
            diagnostics of `supclap.drift`, all of the global batch, at the weights before the
            update. With a multilingual loss the
            diagnostics are means over the languages, each of its own term of the loss.

        Raises:
            TrainingError: loss or gradient is not finite, or there is no memory for it; the weights
                are as they were.
            PartError: a part of one's own fails, or gives what it should not.
        """
        while True:
            try:
                figures = self._gradients(batch, fed, checkpoint)
                break
            except _OutOfRange:
                self.boost.lower()
                continue
            except (RuntimeError, MemoryError) as error:
                smaller = self.smaller(error, batch.step)
            self.go_on_with(smaller)
        self.boost.passed()
        try:
            with guarded(self.optimizer_part, "step"):
                self.optimizer.step()
        except (RuntimeError, MemoryError) as error:
            asked = asked_for(error)
            if asked is None:
                raise
            raise no_room_for_state(batch.step + 1, asked) from None
        return figures

    def smaller(self, error: Exception, step: int) -> int:
        """Half the clips of a forward pass, where an error says that there is no memory for a step
        or for the batch that it takes.

        Args:
            step: counted from 0.

        Raises:
            TrainingError: there is no half, or it is not asked for.
            RuntimeError, MemoryError: ``error`` itself, which says something else.
        """
        asked = asked_for(error)
        if asked is None:
            raise error
        part = self.workers.part(self.config.batch_size)  # every batch is full
        rows = part.stop - part.start
        smaller = smaller_chunk(rows, self.chunk)
        if self.config.on_oom == "end" or smaller is None:
            device = self.workers.device
            raise out_of_memory(step + 1, asked, self.config, rows, self.chunk, device) from None
        return smaller

    def go_on_with(self, chunk: int) -> None:
        """Takes steps with so many clips per forward pass from now on. To be called when the error
        is forgotten: it holds the frames, and these what did not fit."""
        self.chunk = chunk
        self.optimizer.zero_grad()
        emptied(self.workers.device)

    def _gradients(self, batch: Batch, fed: Fed, checkpoint: str) -> dict[str, float]:
        """Leaves the global batch's gradient, clipped, at the parameters; gives the figures."""
        self.loss.begin_step(batch.step, self.steps, self.seed)
        part = self.workers.part(len(batch))
        rows, (audio, text) = batch.rows[part], fed
        # Only where a clip stands twice in the global batch do its ids matter, and cost.
        repeated = len(np.unique(batch.rows)) < len(batch)
        clip_ids = torch.from_numpy(rows).to(self.workers.device) if repeated else None
        each = batch.captions[0].size  # captions of a clip
        embeddings: list[Tensor] = []
        views: list[View] = []

        def encode(some: slice) -> tuple[Tensor, Tensor]:
            spoken = text[some.start * each : some.stop * each]
            precision = autocast(self.config.precision, self.workers.device)
            with self._seeded(batch.step, part.start + some.start), precision:
                audios, texts = self.model(audio[some], spoken, self.inputs.level)
            audios, texts = self.boost.into(audios), self.boost.into(texts)
            by_clip = (len(audios), each, texts.shape[1])
            return audios, texts if batch.captions.ndim == 1 else texts.view(by_clip)

        def loss_of(audio: Tensor, text: Tensor) -> LossOutput:
            embeddings.extend((audio, text))
            if not (audio.isfinite().all() and text.isfinite().all()):
                raise diverged()
            output: LossOutput = self.global_loss(audio, text, clip_ids)
            if isinstance(output, MultilingualOutput):
                views.extend(output.views)
            else:
                views.append(View(audio, text, output.radii))
            for view in views:  # the diagnostics' gradients, without a second backward pass
                view.audio.retain_grad()
                view.text.retain_grad()
            return output

        def diverged() -> TrainingError:
            ids = [self.inputs.clips.clip_ids[row] for row in rows]
            rate = self.optimizer.param_groups[0]["lr"]
            scale = self.loss.base.scale().item()
            spoken = text.unflatten(0, (len(ids), each)) if isinstance(text, Tensor) else text
            sides = zip((self.model.audio, self.model.text), embeddings, strict=False)
            blamed = [name for side, found in sides for name in suspects(side, found)]
            heard = self.model.audio.encoder
            source = named(heard) if is_own(heard) and self.inputs.level == "features" else ""
            given = ids, audio, spoken, embeddings
            number = batch.step + 1
            return explain_divergence(number, checkpoint, *given, scale, rate, blamed, source)

        self.optimizer.zero_grad()
        if self.chunk is None:
            output = loss_of(*encode(slice(0, len(rows))))
            output.total.backward()
        else:
            starts = range(0, len(rows), self.chunk)
            chunks = [slice(start, min(start + self.chunk, len(rows))) for start in starts]
            output = backward_in_chunks(encode, chunks, loss_of)
        self.workers.average_gradients(self.parameters)
        if self.model.adapted:
            self._check_adapters()
        self.boost.undo(self.model.parameters())
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        tensors = {"train.loss": output.total, "train.gradient": norm}
        tensors |= {f"train.{name}": value for name, value in output.parts.items()}
        tensors |= {f"train.{name}": value for name, value in output.numbers.items()}
        # Numbers of half precision, or of float64, would not stack.
        values = torch.stack([value.detach().to(norm.dtype) for value in tensors.values()]).tolist()
        figures = dict(zip(tensors, values, strict=True))
        if not np.isfinite(values).all():
            others = [value for name, value in figures.items() if name != "train.gradient"]
            if self.boost.scale > 1 and np.isfinite(others).all():
                raise _OutOfRange
            at_fault = self._part_at_fault(batch, figures, views, repeated)
            if at_fault is not None:
                raise part_diverged(batch.step + 1, checkpoint, *at_fault)
            raise diverged()
        figures |= {f"train.{name}": value for name, value in self.loss.scheduled().items()}
        seen = [self._diagnose(view, len(batch)) for view in views]
        figures |= {name: sum(one[name] for one in seen) / len(seen) for name in seen[0]}
        if self.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip_norm, norm)
        return figures

    def _check_adapters(self) -> None:
        from supclap.model.lora import check_called

        towers: tuple[Tower, ...] = (self.model.audio, self.model.text)
        for tower in towers:
            check_called(tower.encoder, f"model.{tower.side}.lora")

    def _part_at_fault(
        self, batch: Batch, figures: dict[str, float], views: list[View], repeated: bool
    ) -> tuple[BaseLoss | LossTerm, str] | None:
        """The part of one's own whose value, or whose gradient at the embeddings, is not finite,
        and which of them; None where it is none of theirs. Every worker calls it alike."""
        for label, part in self.loss.own_parts.items():
            logged = [name for name in figures if name.startswith(f"train.{label}.")]
            for name in (f"train.{label}", *logged):
                if not math.isfinite(figures[name]):
                    return part, f"{name} is {figures[name]}"
        clips = torch.from_numpy(batch.rows).to(self.workers.device) if repeated else None
        for view in views:
            whole = [self.workers.gather(side, len(batch)) for side in (view.audio, view.text)]
            audio, text = (widened(side).detach().requires_grad_() for side in whole)
            layout = Layout(len(batch))
            shares = Shares(
                self.loss.base, self.loss.moment, layout, audio, text, audio, text, clips
            )
            for label, part in self.loss.own_parts.items():
                with full_precision(audio):
                    value, _ = shares.of(part, label)
                leaves = [audio, text, *(p for p in part.parameters() if p.requires_grad)]
                value = value + 0 * (audio.sum() + text.sum())
                found = torch.autograd.grad(value, leaves, allow_unused=True)
                if not all(g is None or g.isfinite().all() for g in found):
                    return part, f"the gradient of train.{label} is not finite"
        return None

    def _diagnose(self, view: View, pairs: int) -> dict[str, float]:
        """Drift and radii of the global batch, from what the backward pass has left."""
        audio, text, radii = view.audio, view.text, view.radii
        assert audio.grad is not None
        assert text.grad is not None
        # A worker's gradient at its own embeddings is the true one times the number of workers.
        scale = 1 / self.workers.size
        columns = [audio, text, audio.grad * scale, text.grad * scale]
        columns += [radius[:, None] for radius in radii.values()]
        widths = [column.shape[1] for column in columns]
        table = torch.cat([column.detach().float() for column in columns], dim=1)
        audio, text, audio_gradient, text_gradient, *every = self.workers.gather(
            table, pairs
        ).split(widths, dim=1)
        return diagnose(
            self.loss,
            audio,
            text,
            radii={side: r.squeeze(1) for side, r in zip(radii, every, strict=True)},
            gradients={"audio": audio_gradient, "text": text_gradient},
        )

    @contextmanager
    def _seeded(self, step: int, row: int) -> Iterator[None]:
        """Dropout's random numbers depend on the step and the first row of the forward pass alone.

        So no generator's state has to be kept in a checkpoint, of any worker; and where chunks and
        workers divide the global batch at the same rows, one worker draws what several draw.
        """
        device = self.workers.device
        seed = int(np.random.SeedSequence([self.seed, step, row]).generate_state(1, np.uint64)[0])
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.default_generator.manual_seed(seed)
            if device.type == "cuda":
                torch.cuda.manual_seed(seed)
            yield
