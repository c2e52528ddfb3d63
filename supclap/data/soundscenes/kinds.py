"""The kinds of events and which attributes may be said of each."""

from __future__ import annotations

from dataclasses import dataclass

# Each attribute is one of two words; an attribute that is not said lies in the middle.
ATTRIBUTES = {
    "pitch": ("high", "low"),
    "pace": ("fast", "slow"),
    "level": ("loud", "quiet"),
    "distance": ("near", "far"),
}
ATTRIBUTE_OF = {word: name for name, words in ATTRIBUTES.items() for word in words}
_LETTERS = {"p": "pitch", "s": "pace", "l": "level", "d": "distance"}


@dataclass(frozen=True)
class Kind:
    """A kind of event. ``attributes``: names out of `ATTRIBUTES` that make sense for it."""

    name: str
    group: str
    attributes: tuple[str, ...]


def _kinds(table: str) -> dict[str, Kind]:
    kinds = {}
    for line in table.strip().splitlines():
        name, group, letters = line.split()
        kinds[name] = Kind(name, group, tuple(_LETTERS[letter] for letter in letters))
    return kinds


SYNTHETIC = _kinds("""
beep            tonal     psl
whistle         tonal     pld
church_bells    tonal     psld
siren           tonal     psld
car_horn        tonal     pld
flute           tonal     psl
guitar          tonal     psl
rain            noise     ld
wind            noise     pl
sea_waves       noise     ld
steam           noise     pld
thunderstorm    noise     ld
door_wood_knock impulsive sld
clapping        impulsive sld
footsteps       impulsive sld
hammer          impulsive psld
drum            impulsive psl
clock_tick      impulsive psl
water_drops     impulsive psl
crackling_fire  impulsive ld
dog             animal    psld
cat             animal    pld
chirping_birds  animal    psld
crickets        animal    psl
frog            animal    psld
crow            animal    psld
insects         animal    pld
cow             animal    pld
engine          machine   pl
helicopter      machine   sld
chainsaw        machine   pld
jackhammer      machine   sld
vacuum_cleaner  machine   pl
drilling        machine   pld
""")

# Of a recording the pitch is changed by resampling, which changes its pace too: so pace is never
# said of one, and pitch only where a tone or a voice makes it audible.
RECORDED = _kinds("""
dog                animal    pld
rooster            animal    pld
pig                animal    pld
cow                animal    pld
frog               animal    pld
cat                animal    pld
hen                animal    pld
insects            animal    pld
sheep              animal    pld
crow               animal    pld
rain               noise     ld
sea_waves          noise     ld
crackling_fire     noise     ld
crickets           animal    pld
chirping_birds     animal    pld
water_drops        impulsive pld
wind               noise     ld
pouring_water      noise     ld
toilet_flush       noise     ld
thunderstorm       noise     ld
crying_baby        human     pld
sneezing           human     pld
clapping           human     ld
breathing          human     ld
coughing           human     pld
footsteps          impulsive ld
laughing           human     pld
brushing_teeth     human     ld
snoring            human     pld
drinking_sipping   human     ld
door_wood_knock    impulsive pld
mouse_click        impulsive ld
keyboard_typing    impulsive ld
door_wood_creaks   impulsive pld
can_opening        impulsive ld
washing_machine    machine   pld
vacuum_cleaner     machine   pld
clock_alarm        tonal     pld
clock_tick         impulsive ld
glass_breaking     impulsive ld
helicopter         machine   ld
chainsaw           machine   pld
siren              tonal     pld
car_horn           tonal     pld
engine             machine   pld
train              machine   ld
church_bells       tonal     pld
airplane           machine   ld
fireworks          impulsive ld
hand_saw           impulsive ld
air_conditioner    machine   ld
children_playing   human     pld
drilling           machine   pld
gun_shot           impulsive ld
jackhammer         machine   ld
street_music       tonal     pld
""")

# Class names of the two collections that mean the same event.
SAME_KIND = {"dog_bark": "dog", "engine_idling": "engine"}
