"""The stage of `init`: trained once, and who starts from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from supclap.document import Document, Key
from supclap.errors import nearest
from supclap_platform.experiment.rows import DeclaredRow
from supclap_platform.experiment.schema import InitSection, ProfileSection
from supclap_platform.experiment.settings import Settings
from supclap_platform.experiment.variants import Stage, Variant


def read_stage(
    document: Document,
    section: InitSection | None,
    profile: tuple[str, ProfileSection],
    settings: Settings,
    variants: Sequence[Variant],
    groups: Sequence[str],
    per_seed: bool,
) -> Stage | None:
    """The stage that a file declares, or None.

    Args:
        profile: its name and what it says; its overrides of the stage are the last.
        per_seed: whether each seed has a stage of its own.

    Raises InputError where the stage is no variant of the file, or where groups have several.
    """
    name, changes = profile
    place = ("profiles", name, "init")
    if section is None:
        if changes.init:
            raise document.error(place, "the file has no init stage to change")
        return None
    method = settings.method
    if method.start_key is None:
        raise document.error(
            ("init",), f"init: the method {method.name} has no model to start from; leave init out"
        )
    if section.variant is None:
        places: tuple[Key, ...] = (("init", "base"), place)
        layers = (section.base or {}, changes.init)
        config, resources = settings.build("init", layers, places)
        return Stage(config, resources, per_seed, None, places)
    if groups:
        raise document.error(
            ("init", "variant"),
            "init: all groups start from one stage, and a variant has one in each; give "
            "'base' (overrides of the stage) in the place of 'variant'",
        )
    if changes.init:
        raise document.error(
            place, f"the init stage is the variant '{section.variant}'; change it there"
        )
    names = [variant.name for variant in variants]
    if section.variant not in names:
        raise document.error(
            ("init", "variant"),
            f"variant: no variant '{section.variant}'{nearest(section.variant, names)} "
            f"(variants: {', '.join(names)})",
        )
    found = variants[names.index(section.variant)]
    return Stage(found.config, found.resources, per_seed, found.name, found.places)


def starting_from(
    stage: Stage, variants: Sequence[Variant], rows: Sequence[DeclaredRow], settings: Settings
) -> list[Variant]:
    """Which variants start from the stage: all but itself and those that name a start.

    Raises InputError for one whose model has another shape than the stage's.
    """
    start = settings.method.start_key
    result = []
    for variant, row in zip(variants, rows, strict=True):
        if variant.name == stage.variant or start in variant.changes:
            result.append(variant)
            continue
        different = settings.method.other_model(variant.config, stage.config)
        if different:
            raise settings.error(
                row.places,
                different,
                f"{variant.name}: its {different} differs from the init stage's, so it cannot "
                f"start from there; '{start}: null' lets it start anew",
            )
        result.append(replace(variant, from_stage=True))
    return result
