"""What projects an encoder's output into the space that sounds and texts share."""

from __future__ import annotations

from torch import Tensor, nn

from supclap.parts.part import Part


class Head(Part, nn.Module):
    """A head of one's own: ``model: {audio: {head: {name: bottleneck, ...}}}``, or ``text``.

    Both sides may have the same one, or each its own::

        @register("bottleneck")
        class Bottleneck(Head):
            rank: int = 16

            def setup(self, width, dim):
                self.layers = nn.Sequential(nn.Linear(width, self.rank), nn.Linear(self.rank, dim))

            def forward(self, outputs):
                return self.layers(outputs)

    Guaranteed: `setup` is called once, under a generator seeded by the run's seed; parameters and
    buffers are trained, averaged over the workers, checkpointed and saved with the model. What
    `forward` gives is brought to length 1 afterwards, in float32. Row by row: a head that looks at
    its batch gives a clip another embedding in other company.
    """

    kind = "head"

    def setup(self, width: int, dim: int) -> None:
        """Makes the layers.

        Args:
            width: numbers per clip or text that the encoder puts out.
            dim: numbers of an embedding (``model.dim``).
        """

    def forward(self, outputs: Tensor) -> Tensor:
        """Encoder outputs (N, width) -> (N, dim); their length is of no account."""
        raise NotImplementedError
