"""Catalan captions."""

from __future__ import annotations

from typing import ClassVar

from supclap.data.soundscenes.captions.grammar import Language, Synonyms, table
from supclap.data.soundscenes.captions.romance import Adjectives, Romance, class_names

# kind | article and head noun | complement | clause
WORDS = table(
    """
beep | un bip | d'aparell | un aparell fa bip
whistle | un xiulet | de persona | algú xiula
church_bells | un toc | de campana | una campana sona
siren | un udol | de sirena | una sirena udola
car_horn | un toc | de botzina | un cotxe toca la botzina
flute | una melodia | de flauta | una flauta sona
guitar | una melodia | de guitarra | una guitarra sona
rain | un so | de pluja | la pluja cau
wind | un buf | de vent | el vent bufa
sea_waves | un so | d'onades | les onades trenquen
steam | una fuita | de vapor | el vapor s'escapa
thunderstorm | un retruny | de tro | el tro retruny
door_wood_knock | un so | de cops a la porta | algú truca a una porta
clapping | un picament | de mans | algú pica de mans
footsteps | un so | de passos | algú camina
hammer | un soroll | de martell | un martell pica
drum | un redoble | de tambor | un tambor redobla
clock_tick | un tic-tac | de rellotge | un rellotge fa tic-tac
water_drops | un degoteig | d'aigua | l'aigua degota
crackling_fire | un crepitar | de foc | el foc crepita
dog | un lladruc | de gos | un gos borda
cat | un miol | de gat | un gat miola
chirping_birds | una piulada | d'ocell | un ocell piula
crickets | un cant | de grill | un grill canta
frog | un rauc | de granota | una granota rauca
crow | un grall | de corb | un corb gralla
insects | un brunzit | d'abella | una abella brunzeix
cow | un mugit | de vaca | una vaca mugeix
engine | un soroll | de motor | un motor funciona
helicopter | un soroll | d'helicòpter | un helicòpter vola
chainsaw | un soroll | de motoserra | una motoserra funciona
jackhammer | un soroll | de martell pneumàtic | un martell pneumàtic pica el terra
vacuum_cleaner | un soroll | d'aspiradora | una aspiradora funciona
drilling | un soroll | de trepant | un trepant gira
rooster | un cant | de gall | un gall canta
pig | un gruny | de porc | un porc gruny
hen | un escataineig | de gallina | una gallina escataina
sheep | un bel | d'ovella | una ovella bela
pouring_water | un so | d'aigua abocada | algú aboca aigua
toilet_flush | un soroll | de cisterna | algú estira la cadena
crying_baby | un plor | de nadó | un nadó plora
sneezing | un esternut | | algú esternuda
breathing | una respiració | | algú respira
coughing | una tos | | algú tus
laughing | una rialla | | algú riu
brushing_teeth | un so | de raspall de dents | algú es raspalla les dents
snoring | un ronc | | algú ronca
drinking_sipping | un so | de glop | algú beu a glops
mouse_click | un clic | de ratolí | algú fa clic amb un ratolí
keyboard_typing | un so | de teclat | algú tecleja
door_wood_creaks | un grinyol | de porta | una porta grinyola
can_opening | un so | de llauna oberta | algú obre una llauna
washing_machine | un soroll | de rentadora | una rentadora funciona
clock_alarm | un timbre | de despertador | un despertador sona
glass_breaking | un so | de vidre trencat | un vidre es trenca
train | un soroll | de tren | un tren passa
airplane | un soroll | d'avió | un avió vola
fireworks | un esclat | de focs artificials | uns focs artificials esclaten
hand_saw | un soroll | de serra | algú serra fusta
air_conditioner | un soroll | d'aire condicionat | un aire condicionat funciona
children_playing | un so | de nens que juguen | uns nens juguen
gun_shot | un tret |  | algú dispara una arma
street_music | un so | de música de carrer | un músic de carrer toca
""",
    columns=3,
)

FRAMES = {
    "single": (
        "{a.noun}.",
        "Se sent {a.noun}.",
        "{a.clause}.",
        "En aquest enregistrament {a.clause}.",
        "Només {a.noun}, res més.",
        "Aquí {a.clause}.",
    ),
    "then": (
        "{a.clause} i després {b.clause}.",
        "Primer {a.noun}, després {b.noun}.",
        "{a.noun}, i després d'això {b.noun}.",
        "Abans d'{b.noun}, {a.noun}.",  # every noun phrase begins with "un" or "una"
        "Al principi {a.noun}, al final {b.noun}.",
        "Al principi {a.clause}; un moment més tard {b.clause}.",
        "{b.noun}, i just abans {a.noun}.",
    ),
    "together": (
        "{a.clause} mentre {b.clause}.",
        "{a.noun} i {b.noun} alhora.",
        "Alhora {a.clause} i {b.clause}.",
        "{a.noun}, juntament amb {b.noun}.",
        "Dos sons se superposen: {a.noun} i {b.noun}.",
        "Mentre {b.clause}, {a.clause}.",
    ),
}


class Catalan(Romance):
    WORDS = WORDS
    AND = "i"
    ADJECTIVES: ClassVar[Adjectives] = {
        "high": (("agut", "aguda"), ("estrident", "estrident")),
        "low": (("greu", "greu"), ("profund", "profunda")),
        "fast": (("ràpid", "ràpida"), ("accelerat", "accelerada")),
        "slow": (("lent", "lenta"), ("pausat", "pausada")),
        "loud": (("fort", "forta"), ("intens", "intensa")),
        "quiet": (("feble", "feble"), ("suau", "suau")),
    }
    ADVERBS: ClassVar[Synonyms] = {
        "high": ("en to agut", "amb un to alt"),
        "low": ("en to greu", "amb un to baix"),
        "fast": ("de pressa", "a ritme ràpid"),
        "slow": ("a poc a poc", "a ritme lent"),
        "loud": ("sorollosament", "a volum alt"),
        "quiet": ("suaument", "a volum baix"),
        "near": ("a prop", "a poca distància"),
        "far": ("al lluny", "a la llunyania"),
    }


LANGUAGE = Language(
    code="cat",
    words=WORDS,
    frames=FRAMES,
    spoken=Catalan,
    class_names=class_names(WORDS),
    prompt="Això és un so: {}.",
)
