"""French captions."""

from __future__ import annotations

from typing import ClassVar

from supclap.data.soundscenes.captions.grammar import Language, Synonyms, table
from supclap.data.soundscenes.captions.romance import Adjectives, Romance, class_names

# kind | article and head noun | complement | clause
WORDS = table(
    """
beep | un bip | | un appareil bipe
whistle | un sifflement | | quelqu'un siffle
church_bells | un tintement | de cloche | une cloche sonne
siren | un hurlement | de sirène | une sirène hurle
car_horn | un coup de klaxon |  | une voiture klaxonne
flute | une mélodie | de flûte | une flûte joue
guitar | une mélodie | de guitare | une guitare joue
rain | un bruit | de pluie | la pluie tombe
wind | un souffle | de vent | le vent souffle
sea_waves | un bruit | de vagues | les vagues déferlent
steam | un jet de vapeur |  | la vapeur s'échappe
thunderstorm | un grondement | de tonnerre | le tonnerre gronde
door_wood_knock | un bruit | de coups à la porte | quelqu'un frappe à une porte
clapping | un applaudissement |  | quelqu'un tape dans ses mains
footsteps | un bruit | de pas | quelqu'un marche
hammer | un bruit | de marteau | un marteau frappe
drum | un roulement | de tambour | un tambour résonne
clock_tick | un tic-tac | d'horloge | une horloge fait tic-tac
water_drops | un bruit | de gouttes d'eau | l'eau goutte
crackling_fire | un crépitement | de feu | un feu crépite
dog | un aboiement | de chien | un chien aboie
cat | un miaulement | de chat | un chat miaule
chirping_birds | un gazouillis | d'oiseau | un oiseau gazouille
crickets | une stridulation | de grillon | un grillon stridule
frog | un coassement | de grenouille | une grenouille coasse
crow | un croassement | de corbeau | un corbeau croasse
insects | un bourdonnement | d'abeille | une abeille bourdonne
cow | un meuglement | de vache | une vache meugle
engine | un bruit | de moteur | un moteur tourne
helicopter | un bruit | d'hélicoptère | un hélicoptère vole
chainsaw | un bruit | de tronçonneuse | une tronçonneuse tourne
jackhammer | un bruit | de marteau-piqueur | un marteau-piqueur martèle le sol
vacuum_cleaner | un bruit | d'aspirateur | un aspirateur fonctionne
drilling | un bruit | de perceuse | une perceuse tourne
rooster | un chant | de coq | un coq chante
pig | un grognement | de cochon | un cochon grogne
hen | un caquètement | de poule | une poule caquette
sheep | un bêlement | de mouton | un mouton bêle
pouring_water | un bruit | d'eau versée | quelqu'un verse de l'eau
toilet_flush | un bruit | de chasse d'eau | quelqu'un tire la chasse d'eau
crying_baby | un pleur | de bébé | un bébé pleure
sneezing | un éternuement | | quelqu'un éternue
breathing | une respiration | | quelqu'un respire
coughing | une toux | | quelqu'un tousse
laughing | un rire | | quelqu'un rit
brushing_teeth | un bruit | de brosse à dents | quelqu'un se brosse les dents
snoring | un ronflement | | quelqu'un ronfle
drinking_sipping | un bruit | de gorgée | quelqu'un boit une gorgée
mouse_click | un clic | de souris | quelqu'un clique avec une souris
keyboard_typing | un bruit | de clavier | quelqu'un tape au clavier
door_wood_creaks | un grincement | de porte | une porte grince
can_opening | un bruit | de canette ouverte | quelqu'un ouvre une canette
washing_machine | un bruit | de machine à laver | une machine à laver tourne
clock_alarm | une sonnerie | de réveil | un réveil sonne
glass_breaking | un bruit | de verre brisé | du verre se brise
train | un bruit | de train | un train passe
airplane | un bruit | d'avion | un avion vole
fireworks | une explosion | de feu d'artifice | un feu d'artifice éclate
hand_saw | un bruit | de scie | quelqu'un scie du bois
air_conditioner | un ronronnement | de climatiseur | un climatiseur ronronne
children_playing | un bruit | d'enfants qui jouent | des enfants jouent
gun_shot | un coup de feu | | quelqu'un tire un coup de feu
street_music | un air | de musique de rue | un musicien de rue joue
""",
    columns=3,
)

FRAMES = {
    "single": (
        "{a.noun}.",
        "On entend {a.noun}.",
        "{a.clause}.",
        "Dans cet enregistrement, {a.clause}.",
        "Seulement {a.noun}, rien d'autre.",
        "Ici, {a.clause}.",
    ),
    "then": (
        "{a.clause}, puis {b.clause}.",
        "D'abord {a.noun}, puis {b.noun}.",
        "{a.noun}, et après cela {b.noun}.",
        "Avant {b.noun}, {a.noun}.",
        "Au début {a.noun}, à la fin {b.noun}.",
        "Au début, {a.clause} ; un instant plus tard, {b.clause}.",
        "{b.noun}, et juste avant {a.noun}.",
    ),
    "together": (
        "{a.clause} pendant {b.that}.",
        "{a.noun} et {b.noun} en même temps.",
        "En même temps, {a.clause} et {b.clause}.",
        "{a.noun}, avec {b.noun}.",
        "Deux sons se superposent : {a.noun} et {b.noun}.",
        "Tandis {b.that}, {a.clause}.",
    ),
}


class French(Romance):
    WORDS = WORDS
    AND = "et"
    ADJECTIVES: ClassVar[Adjectives] = {
        "high": (("aigu", "aiguë"), ("strident", "stridente")),
        "low": (("grave", "grave"), ("profond", "profonde")),
        "fast": (("rapide", "rapide"), ("précipité", "précipitée")),
        "slow": (("lent", "lente"), ("ralenti", "ralentie")),
        "loud": (("fort", "forte"), ("sonore", "sonore")),
        "quiet": (("faible", "faible"), ("discret", "discrète")),
    }
    ADVERBS: ClassVar[Synonyms] = {
        "high": ("dans l'aigu", "sur un ton aigu"),
        "low": ("dans le grave", "sur un ton grave"),
        "fast": ("rapidement", "à un rythme rapide"),
        "slow": ("lentement", "à un rythme lent"),
        "loud": ("bruyamment", "à fort volume"),
        "quiet": ("doucement", "à faible volume"),
        "near": ("tout près", "à proximité"),
        "far": ("au loin", "à distance"),
    }

    @property
    def that(self) -> str:
        """The clause behind "que", which loses its vowel before another."""
        clause = self.clause
        return f"qu'{clause}" if clause[0] in "aeiouéèê" else f"que {clause}"


LANGUAGE = Language(
    code="fra",
    words=WORDS,
    frames=FRAMES,
    spoken=French,
    class_names=class_names(WORDS),
    prompt="Ceci est un son : {}.",
)
