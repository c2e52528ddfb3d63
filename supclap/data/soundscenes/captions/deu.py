"""German captions. Noun phrases stand in the nominative in every frame."""

from __future__ import annotations

from typing import ClassVar

from supclap.data.soundscenes.captions.germanic import Germanic, class_names
from supclap.data.soundscenes.captions.grammar import Language, Synonyms, spaced, table

# kind | definite article and noun | subject | verb | rest
WORDS = table(
    """
beep | das Piepen | ein Gerät | piept |
whistle | das Pfeifen | jemand | pfeift |
church_bells | das Glockenläuten | eine Glocke | läutet |
siren | das Sirenengeheul | eine Sirene | heult |
car_horn | das Hupen | ein Auto | hupt |
flute | die Flötenmelodie | eine Flöte | spielt |
guitar | die Gitarrenmelodie | eine Gitarre | spielt |
rain | das Regenrauschen | der Regen | fällt |
wind | das Windgeräusch | der Wind | weht |
sea_waves | das Wellenrauschen | die Wellen | rauschen |
steam | das Zischen | der Dampf | zischt |
thunderstorm | das Donnergrollen | der Donner | grollt |
door_wood_knock | das Klopfen | jemand | klopft | an eine Tür
clapping | das Klatschen | jemand | klatscht | in die Hände
footsteps | das Schrittgeräusch | jemand | geht | umher
hammer | das Hämmern | ein Hammer | schlägt | auf Metall
drum | der Trommelschlag | eine Trommel | ertönt |
clock_tick | das Uhrenticken | eine Uhr | tickt |
water_drops | das Wassertropfen | das Wasser | tropft |
crackling_fire | das Feuerknistern | ein Feuer | knistert |
dog | das Hundebellen | ein Hund | bellt |
cat | das Katzenmiauen | eine Katze | miaut |
chirping_birds | das Vogelzwitschern | ein Vogel | zwitschert |
crickets | das Grillenzirpen | eine Grille | zirpt |
frog | das Froschquaken | ein Frosch | quakt |
crow | das Krähenkrächzen | eine Krähe | krächzt |
insects | das Bienensummen | eine Biene | summt |
cow | das Muhen | eine Kuh | muht |
engine | das Motorengeräusch | ein Motor | läuft |
helicopter | das Hubschraubergeräusch | ein Hubschrauber | fliegt |
chainsaw | das Kettensägengeräusch | eine Kettensäge | sägt |
jackhammer | das Presslufthämmern | ein Presslufthammer | hämmert |
vacuum_cleaner | das Staubsaugergeräusch | ein Staubsauger | saugt |
drilling | das Bohrgeräusch | eine Bohrmaschine | bohrt |
rooster | das Krähen eines Hahns | ein Hahn | kräht |
pig | das Schweinegrunzen | ein Schwein | grunzt |
hen | das Hühnergackern | eine Henne | gackert |
sheep | das Blöken | ein Schaf | blökt |
pouring_water | das Geräusch von fließendem Wasser | jemand | gießt | Wasser in ein Gefäß
toilet_flush | das Geräusch einer Toilettenspülung | eine Toilettenspülung | rauscht |
crying_baby | das Weinen eines Babys | ein Baby | weint |
sneezing | das Niesen | jemand | niest |
breathing | das Atmen | jemand | atmet |
coughing | das Husten | jemand | hustet |
laughing | das Lachen | jemand | lacht |
brushing_teeth | das Zähneputzen | jemand | putzt | Zähne
snoring | das Schnarchen | jemand | schnarcht |
drinking_sipping | das Schlürfen | jemand | schlürft | ein Getränk
mouse_click | der Mausklick | jemand | klickt | mit einer Maus
keyboard_typing | das Tastaturtippen | jemand | tippt | auf einer Tastatur
door_wood_creaks | das Knarren einer Tür | eine Tür | knarrt |
can_opening | das Geräusch einer geöffneten Dose | jemand | öffnet | eine Dose
washing_machine | das Waschmaschinengeräusch | eine Waschmaschine | läuft |
clock_alarm | das Weckerklingeln | ein Wecker | klingelt |
glass_breaking | das Klirren von zerbrechendem Glas | ein Glas | zerbricht |
train | das Zuggeräusch | ein Zug | fährt | vorbei
airplane | das Flugzeuggeräusch | ein Flugzeug | fliegt |
fireworks | das Knallen eines Feuerwerks | ein Feuerwerk | knallt |
hand_saw | das Sägen | jemand | sägt | Holz
air_conditioner | das Brummen einer Klimaanlage | eine Klimaanlage | brummt |
children_playing | der Lärm spielender Kinder | die Kinder | spielen |
gun_shot | der Schuss | jemand | schießt | mit einer Waffe
street_music | die Straßenmusik | ein Straßenmusiker | musiziert |
""",
    columns=4,
)

_ENDINGS = {"der": "er", "die": "e", "das": "es"}  # of an adjective behind "ein", "eine"
ADJECTIVE_STEMS = {
    "high": ("hoh", "hell"),
    "low": ("tief", "dunkl"),
    "fast": ("schnell", "rasch"),
    "slow": ("langsam", "gemächlich"),
    "loud": ("laut", "lautstark"),
    "quiet": ("leis", "schwach"),
}

FRAMES = {
    "single": (
        "{a.noun}.",
        "{a.noun} ist zu hören.",
        "{a.clause}.",
        "In dieser Aufnahme {a.inverted}.",
        "Nur {a.noun}, sonst nichts.",
        "Hier {a.inverted}.",
    ),
    "then": (
        "{a.clause}, dann {b.inverted}.",
        "Zuerst {a.noun}, dann {b.noun}.",
        "{a.noun} und danach {b.noun}.",
        "Bevor {b.subordinate}, {a.inverted}.",
        "Am Anfang {a.noun}, am Ende {b.noun}.",
        "Anfangs {a.inverted}; einen Moment später {b.inverted}.",
        "{b.noun} und kurz davor {a.noun}.",
    ),
    "together": (
        "{a.clause}, während {b.subordinate}.",
        "{a.noun} und {b.noun} zur gleichen Zeit.",
        "Gleichzeitig {a.inverted} und {b.inverted}.",
        "{a.noun}, dazu {b.noun}.",
        "Zwei Geräusche überlagern sich: {a.noun} und {b.noun}.",
        "Während {b.subordinate}, {a.inverted}.",
    ),
}


class German(Germanic):
    WORDS = WORDS
    AND = "und"
    ADVERBS: ClassVar[Synonyms] = {
        "high": ("in hoher Tonlage", "mit hohem Ton"),
        "low": ("in tiefer Tonlage", "mit tiefem Ton"),
        "fast": ("schnell", "in raschem Tempo"),
        "slow": ("langsam", "in gemächlichem Tempo"),
        "loud": ("laut", "lautstark"),
        "quiet": ("leise", "mit geringer Lautstärke"),
        "near": ("in der Nähe", "ganz nah"),
        "far": ("in der Ferne", "weit weg"),
    }

    @property
    def noun(self) -> str:
        definite, noun = WORDS[self.kind][0].split(" ", 1)
        stems = self.said(ADJECTIVE_STEMS, "level", "pace", "pitch")
        adjectives = ", ".join(stem + _ENDINGS[definite] for stem in stems)
        article = "eine" if definite == "die" else "ein"
        return spaced(article, adjectives, noun, *self.said(self.ADVERBS, "distance"))


LANGUAGE = Language(
    code="deu",
    words=WORDS,
    frames=FRAMES,
    spoken=German,
    class_names=class_names(WORDS),
    prompt="Das ist ein Geräusch: {}.",
)
