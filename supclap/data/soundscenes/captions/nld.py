"""Dutch captions."""

from __future__ import annotations

from typing import ClassVar

from supclap.data.soundscenes.captions.germanic import Germanic, class_names
from supclap.data.soundscenes.captions.grammar import Language, Synonyms, spaced, table

# kind | definite article and noun | subject | verb | rest
WORDS = table(
    """
beep | het gepiep | een apparaat | piept |
whistle | het gefluit | iemand | fluit |
church_bells | het klokgelui | een klok | luidt |
siren | het sirenegeloei | een sirene | loeit |
car_horn | het getoeter | een auto | toetert |
flute | de fluitmelodie | een dwarsfluit | speelt |
guitar | de gitaarmelodie | een gitaar | speelt |
rain | het regengeluid | de regen | valt |
wind | het windgeruis | de wind | waait |
sea_waves | het golfgeruis | de golven | ruisen |
steam | het gesis | de stoom | sist |
thunderstorm | het dondergerommel | de donder | rommelt |
door_wood_knock | het geklop | iemand | klopt | op een deur
clapping | het handgeklap | iemand | klapt | in de handen
footsteps | het voetstapgeluid | iemand | loopt | rond
hammer | het gehamer | een hamer | slaat | op metaal
drum | de trommelslag | een trommel | klinkt |
clock_tick | het klokgetik | een uurwerk | tikt |
water_drops | het gedruppel | het water | druppelt |
crackling_fire | het vuurgeknetter | een vuur | knettert |
dog | het hondengeblaf | een hond | blaft |
cat | het kattengemiauw | een kat | miauwt |
chirping_birds | het vogelgetjilp | een vogel | tjilpt |
crickets | het krekelgetsjirp | een krekel | tsjirpt |
frog | het kikkergekwaak | een kikker | kwaakt |
crow | het kraaiengekras | een kraai | krast |
insects | het bijengezoem | een bij | zoemt |
cow | het koeiengeloei | een koe | loeit |
engine | het motorgeluid | een motor | draait |
helicopter | het helikoptergeluid | een helikopter | vliegt |
chainsaw | het kettingzaaggeluid | een kettingzaag | zaagt |
jackhammer | het drilboorgeluid | een drilboor | hamert |
vacuum_cleaner | het stofzuigergeluid | een stofzuiger | zuigt |
drilling | het boorgeluid | een boormachine | boort |
rooster | het hanengekraai | een haan | kraait |
pig | het varkensgeknor | een varken | knort |
hen | het kippengekakel | een kip | kakelt |
sheep | het schapengeblaat | een schaap | blaat |
pouring_water | het geluid van stromend water | iemand | giet | water in een glas
toilet_flush | het geluid van een doorgespoeld toilet | een stortbak | spoelt |
crying_baby | het babygehuil | een baby | huilt |
sneezing | het genies | iemand | niest |
breathing | het ademgeluid | iemand | ademt |
coughing | het gehoest | iemand | hoest |
laughing | het gelach | iemand | lacht |
brushing_teeth | het geluid van tandenpoetsen | iemand | poetst | zijn tanden
snoring | het gesnurk | iemand | snurkt |
drinking_sipping | het geslurp | iemand | slurpt | van een drankje
mouse_click | de muisklik | iemand | klikt | met een muis
keyboard_typing | het toetsenbordgetik | iemand | typt | op een toetsenbord
door_wood_creaks | het deurgekraak | een deur | kraakt |
can_opening | het geluid van een geopend blikje | iemand | opent | een blikje
washing_machine | het wasmachinegeluid | een wasmachine | draait |
clock_alarm | het wekkergerinkel | een wekker | rinkelt |
glass_breaking | het geluid van brekend glas | een glas | breekt |
train | het treingeluid | een trein | rijdt | voorbij
airplane | het vliegtuiggeluid | een vliegtuig | vliegt |
fireworks | de vuurwerkknal | een vuurpijl | knalt |
hand_saw | het gezaag | iemand | zaagt | hout
air_conditioner | het gezoem van een airconditioner | een airconditioner | zoemt |
children_playing | het geluid van spelende kinderen | de kinderen | spelen |
gun_shot | het geweerschot | iemand | schiet | met een geweer
street_music | het geluid van straatmuziek | een straatmuzikant | musiceert |
""",
    columns=4,
)

# With "een": as it is before a "het" word, with an ending before a "de" word.
ADJECTIVES = {
    "het": {
        "high": ("hoog", "schel"),
        "low": ("laag", "diep"),
        "fast": ("snel", "vlug"),
        "slow": ("langzaam", "traag"),
        "loud": ("luid", "hard"),
        "quiet": ("zacht", "stil"),
    },
    "de": {
        "high": ("hoge", "schelle"),
        "low": ("lage", "diepe"),
        "fast": ("snelle", "vlugge"),
        "slow": ("langzame", "trage"),
        "loud": ("luide", "harde"),
        "quiet": ("zachte", "stille"),
    },
}

FRAMES = {
    "single": (
        "{a.noun}.",
        "{a.noun} is te horen.",
        "{a.clause}.",
        "In deze opname {a.inverted}.",
        "Alleen {a.noun}, verder niets.",
        "Hier {a.inverted}.",
    ),
    "then": (
        "{a.clause}, dan {b.inverted}.",
        "Eerst {a.noun}, dan {b.noun}.",
        "{a.noun} en daarna {b.noun}.",
        "Voordat {b.subordinate}, {a.inverted}.",
        "Aan het begin {a.noun}, aan het einde {b.noun}.",
        "In het begin {a.inverted}; even later {b.inverted}.",
        "{b.noun} en vlak daarvoor {a.noun}.",
    ),
    "together": (
        "{a.clause} terwijl {b.subordinate}.",
        "{a.noun} en {b.noun} op hetzelfde moment.",
        "Tegelijk {a.inverted} en {b.inverted}.",
        "{a.noun}, samen met {b.noun}.",
        "Twee geluiden overlappen elkaar: {a.noun} en {b.noun}.",
        "Terwijl {b.subordinate}, {a.inverted}.",
    ),
}


class Dutch(Germanic):
    WORDS = WORDS
    AND = "en"
    ADVERBS: ClassVar[Synonyms] = {
        "high": ("op hoge toon", "met een hoge klank"),
        "low": ("op lage toon", "met een lage klank"),
        "fast": ("snel", "in een vlug tempo"),
        "slow": ("langzaam", "in een traag tempo"),
        "loud": ("luid", "hard"),
        "quiet": ("zachtjes", "stilletjes"),
        "near": ("dichtbij", "vlakbij"),
        "far": ("in de verte", "ver weg"),
    }

    @property
    def noun(self) -> str:
        definite, noun = WORDS[self.kind][0].split(" ", 1)
        adjectives = ", ".join(self.said(ADJECTIVES[definite], "level", "pace", "pitch"))
        return spaced("een", adjectives, noun, *self.said(self.ADVERBS, "distance"))


LANGUAGE = Language(
    code="nld",
    words=WORDS,
    frames=FRAMES,
    spoken=Dutch,
    class_names=class_names(WORDS),
    prompt="Dit is een geluid: {}.",
)
