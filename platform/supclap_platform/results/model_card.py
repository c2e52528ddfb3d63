"""A model card: README.md of a model folder, in the form that the Hugging Face Hub reads.

Its front matter is the Hub's (tags, languages, and ``model-index``, from which the Hub draws its
box of results); below it stand the question, the table, the verdicts and how to use the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import yaml

from supclap.scalars import Dumper
from supclap_platform.experiment.cells import Cell
from supclap_platform.ledger.records import Result
from supclap_platform.results.conclusion import Conclusion
from supclap_platform.results.formats import markdown_grid
from supclap_platform.results.text import escaped

CARD = "README.md"
# The Hub's word for what the model does out of the box.
PIPELINE = "zero-shot-audio-classification"


def model_card(
    cell: Cell, result: Result, why: str, conclusions: Sequence[Conclusion], code: str = ""
) -> str:
    """The card of a finished run's model.

    Args:
        cell, result: the run.
        why: by what it was chosen among others, in words.
        conclusions: of the experiment, one for each part of a file that includes others.
        code: the folder beside the card with the user's own code, which loading needs.
    """
    name = conclusions[0].experiment.name
    front = yaml.dump(
        _front(name, cell, result, conclusions), Dumper=Dumper, sort_keys=False, allow_unicode=True
    )
    own = [one for one in conclusions if cell.variant in _rows(one)] or list(conclusions)
    lines = [f"# {escaped(cell.label)}", ""]
    lines += [f"From the experiment *{escaped(name)}*; chosen by {escaped(why)}.", ""]
    for one in own:
        about = one.experiment.about
        lines += [f"## {escaped(about)}" if about else f"## {escaped(one.name)}", ""]
        lines += [*markdown_grid(one.table), "", *(f"- {escaped(n)}" for n in one.table.notes), ""]
        if one.verdicts:
            from supclap_platform.results.verdict_formats import short_markdown

            lines += [*short_markdown(one.verdicts), ""]
    lines += [*_use(code), "", *_origin(cell, result)]
    return f"---\n{front}---\n\n" + "\n".join(lines) + "\n"


def _front(
    name: str, cell: Cell, result: Result, conclusions: Sequence[Conclusion]
) -> dict[str, object]:
    columns = dict.fromkeys(
        column.measure.name
        for one in conclusions
        for column in one.experiment.columns
        if cell.variant in _rows(one)
    )
    values = {metric: result.value(metric) for metric in columns}
    data = getattr(cell.config, "data", None)
    languages = list(getattr(data, "languages", ()))
    shown = {"language": languages} if languages else {}
    return {
        "library_name": "supclap",
        "pipeline_tag": PIPELINE,
        "tags": ["audio", "text", "contrastive-learning", "audio-text-retrieval", "clap"],
        **shown,
        "model-index": [
            {
                "name": f"{name}: {cell.label}",
                "results": [
                    {
                        "task": {"type": "audio-text-retrieval"},
                        "dataset": {"name": getattr(data, "name", name), "type": result.data},
                        "metrics": [
                            {"type": metric, "name": metric, "value": value}
                            for metric, value in values.items()
                            if value is not None
                        ],
                    }
                ],
            }
        ],
    }


def _rows(one: Conclusion) -> set[str]:
    return {variant.name for variant in one.experiment.variants}


def _use(code: str) -> Iterator[str]:
    yield "## Use"
    yield ""
    yield "```python"
    yield "import supclap  # pip install supclap[train]"
    yield ""
    given = f', code="{code}"' if code else ""
    yield f'model = supclap.load("."{given})  # the folder of this file'
    yield 'text = model.encode_text(["a dog barks", "rain falls"])'
    yield 'audio = model.encode_audio(["one.wav", "two.wav"])'
    yield "print(text @ audio.T)"
    yield "```"
    if code:
        yield ""
        yield f"It has parts of somebody's own: `{code}/` holds their source, which loading runs."


def _origin(cell: Cell, result: Result) -> Iterator[str]:
    yield "## Origin"
    yield ""
    epoch = f"epoch {result.best_epoch} of {result.epochs}"
    yield f"- Run `{cell.signature}`, seed {cell.seed}, {epoch}"
    yield f"- Data `{result.data}`, code `{result.code}`"
    made = ", ".join(f"{name} {version}" for name, version in result.made_with.items())
    if made:
        yield f"- Made with {escaped(made)}"
    yield ""
    yield "```yaml"
    decides = cell.method.identity(cell.config)  # without this machine's folders
    yield yaml.dump(decides, Dumper=Dumper, sort_keys=False, allow_unicode=True).rstrip()
    yield "```"
